"""What a sweep chooses from: settings of `mufnet fit`, each with values or within bounds.

space:
  model.fusion: [softmax, sigmoid]                              # one of these
  optimizer.init_args.lr: {low: 0.0001, high: 0.1, log: true}   # a number
  data.batch_size: {low: 8, high: 32, step: 8}                  # whole, where both bounds are
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.training.messages import suggestion

if TYPE_CHECKING:
    from optuna.trial import Trial

_KEYS = ("low", "high", "log", "step")
_PLAIN = (str, int, float, bool, type(None))
_HAIR = 1e-9  # of a step, by which sums of decimal fractions miss


Values = dict[str, object]
"""Of a combination, by setting."""


@dataclass(frozen=True)
class Choice:
    """A setting with values.

    Attributes:
        name: of the setting, dotted.
        values: two or more.
    """

    name: str
    values: tuple[Any, ...]

    @property
    def corners(self) -> tuple[Any, ...]:
        """What is built before anything trains: each value."""
        return self.values

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    def draw(self, trial: Trial) -> Any:
        """The value of a trial."""
        if all(isinstance(value, _PLAIN) for value in self.values):
            return trial.suggest_categorical(self.name, self.values)
        texts = [json.dumps(value) for value in self.values]  # Optuna keeps plain values alone
        return self.values[texts.index(str(trial.suggest_categorical(self.name, texts)))]


@dataclass(frozen=True)
class Range:
    """A setting within bounds, both of them included.

    Attributes:
        name: of the setting, dotted.
        low, high: whole numbers both, or not.
        log: whether its logarithm is drawn evenly.
        step: from one value to the next; None: any number, or any whole one.
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.low, int)

    @property
    def corners(self) -> tuple[Any, ...]:
        """What is built before anything trains: both bounds."""
        return self.low, self.high

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than can be counted."""
        step = self.step or (1 if self.is_whole else None)
        return None if step is None else round((self.high - self.low) / step) + 1

    def draw(self, trial: Trial) -> float:
        """The value of a trial."""
        if self.is_whole:
            step = int(self.step or 1)
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Space:
    """All settings that a sweep chooses.

    Attributes:
        settings: each by itself; a value of one does not exclude any of another.
    """

    settings: tuple[Choice | Range, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Space:
        """Of what a sweep's file says.

        Raises:
            InputFault: with all that cannot be.
        """
        settings: list[Choice | Range] = []
        faults: list[str] = []
        for name, what in given.items():
            try:
                settings.append(_setting(str(name), what))
            except InputFault as fault:
                faults += [f"space: {name} {one}" for one in fault.faults]
        if not given:
            faults.append("space: there is no setting to choose")
        if faults:
            raise InputFault(faults)
        return cls(tuple(settings))

    @property
    def size(self) -> int | None:
        """How many combinations there are; None: more than can be counted."""
        sizes = [setting.size for setting in self.settings]
        return None if None in sizes else math.prod(size or 1 for size in sizes)

    def draw(self, trial: Trial) -> Values:
        """The values of a trial, by setting; those that it has already are kept."""
        return {setting.name: setting.draw(trial) for setting in self.settings}

    def corners(self) -> Iterator[Values]:
        """Each value, and each bound, once, with the first of all other settings."""
        base = {setting.name: setting.corners[0] for setting in self.settings}
        yield base
        for setting in self.settings:
            for value in setting.corners[1:]:
                yield {**base, setting.name: value}


def words_of(values: Mapping[str, object]) -> tuple[str, ...]:
    """Settings as options of `mufnet fit`.

    >>> words_of({"model.fusion": "sigmoid", "data.batch_size": 8})
    ('--model.fusion=sigmoid', '--data.batch_size=8')
    """
    return tuple(
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in values.items()
    )


def _setting(name: str, what: Any) -> Choice | Range:
    if isinstance(what, Sequence) and not isinstance(what, str):
        return _choice(name, what)
    if isinstance(what, Mapping):
        return _range(name, what)
    raise InputFault(f"is {what!r}, expected a list of values, or low and high")


def _choice(name: str, values: Sequence[Any]) -> Choice:
    texts = [json.dumps(value, sort_keys=True, default=str) for value in values]
    if len(set(texts)) < len(texts):
        raise InputFault("has a value twice")
    if len(values) < 2:
        raise InputFault(f"has {len(values) or 'no'} value, so there is nothing to choose")
    return Choice(name, tuple(values))


def _range(name: str, given: Mapping[Any, Any]) -> Range:
    strange = [str(key) for key in given if key not in _KEYS]
    if strange:
        raise InputFault([f"has no {key}{suggestion(key, _KEYS)}" for key in strange])
    lacking = [key for key in ("low", "high") if given.get(key) is None]
    if lacking:
        raise InputFault(f"lacks {' and '.join(lacking)}")
    numbers = {
        key: _number(given[key]) for key in ("low", "high", "step") if given.get(key) is not None
    }
    for key, value in numbers.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise InputFault(f"has {key} {value!r}, expected a number")
    log = given.get("log") or False
    if not isinstance(log, bool):
        raise InputFault(f"has log {log!r}, expected true or false")
    low, high, step = numbers["low"], numbers["high"], numbers.get("step")
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    if low >= high:
        raise InputFault(f"goes from {low:g} to {high:g}, expected low below high")
    if log and low <= 0:
        raise InputFault(f"has log, and low {low:g}, expected more than 0")
    if step is not None:
        _check_step(low, high, step, log)
    return Range(name, low, high, log, step)


def _number(value: Any) -> Any:
    """YAML takes 1e-4, without a point, for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _check_step(low: float, high: float, step: float, log: bool) -> None:
    if log:
        raise InputFault("has both log and step, expected one of them")
    if step <= 0:
        raise InputFault(f"has step {step:g}, expected more than 0")
    if isinstance(low, int) and not isinstance(step, int):
        raise InputFault(
            f"has whole bounds, and step {step:g}; write low as {low:.1f} if it is not whole"
        )
    steps = (high - low) / step
    if abs(steps - round(steps)) > _HAIR * max(1.0, steps) or round(steps) < 1:
        raise InputFault(f"does not come from {low:g} to {high:g} by steps of {step:g}")
