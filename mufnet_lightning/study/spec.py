"""A study, laid down in one YAML file: its arms, what is tested between them, and what is written.

study: kidney
config: [my]              # laid over every arm
settings:
  data.store: my_store
arms:
  bmode: {config: bmode}
  ceus: {config: ceus}
  fused: {config: fused, settings: {model.dropout: 0.5}}
grid:                     # every arm with each of these, and each combination of several
  model.encoder: [efficientnet_b3, resnet50]
seeds: [0]
reference: fused          # the others are tested against it; or planned: [[fused, ceus], ...]
patients: my_cohort/patients.csv
out: results
"""

from __future__ import annotations

import itertools
import json
import re
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.system.configs import find_config, guard_settings, read_config
from mufnet_lightning.training.messages import one_sentence, suggestion
from mufnet_lightning.vocabulary import ARM_SIGNS, ARMS

MOST_ARMS = 200
_OWN = {
    "seed_everything": "say it as `seeds`",
    "tracking.study": "say it as `study`",
    "tracking.arm": "it is the arm's name",
    **dict.fromkeys(
        ("tracking.parent_run", "tracking.run_name", "data.fold", "data.folds_from"),
        "the study gives it to each of its folds",
    ),
}
"""Settings that are not the study's jobs' to have."""


@dataclass(frozen=True)
class ArmEntry:
    """An arm as a file has it.

    Args:
        config: configurations by name or path, each laid over the one before.
        settings: of `mufnet fit`, by dotted name or nested.
    """

    config: list[str] | str = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyFile:
    """What stands in a study file.

    Args:
        arms: by name; a text alone is the configuration.
        study: name of the MLflow experiment; that of the configurations unless given.
        config: configurations that are laid over each arm's.
        settings: of `mufnet fit`, of all arms.
        grid: values of settings; every arm is trained with each combination of them.
        seeds: every arm is trained with each.
        reference: the arm that each other one is tested against.
        planned: the pairs of arms that are tested, where no reference says so; each two unless given.
        patients: patients.csv in the cohort's folder, for Table 1 and the report.
        out: folder for tables, figures and report.
    """

    arms: dict[str, ArmEntry | str]
    study: str | None = None
    config: list[str] | str = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    reference: str | None = None
    planned: list[tuple[str, str]] | None = None
    patients: str | None = None
    out: str = "results"


@dataclass(frozen=True)
class StudyArm:
    """An arm to be cross-validated.

    Attributes:
        name: of it.
        arguments: of `mufnet fit`.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class StudySpec:
    """A study, laid down before anything is trained.

    Attributes:
        arms: in their order; all take the folds of the first one.
        planned: pairs of names that are tested; None: each two.
        patients: patients.csv in the cohort's folder; None where there is none.
        out: folder for tables, figures and report.
    """

    arms: tuple[StudyArm, ...]
    planned: tuple[tuple[str, str], ...] | None = None
    patients: Path | None = None
    out: Path = Path("results")

    @classmethod
    def read(cls, file: Path, config: Sequence[str] = (), fit: Sequence[str] = ()) -> StudySpec:
        """Of a study file.

        Args:
            file: YAML, see the top of this module.
            config: configurations that are laid over the file's own.
            fit: further options of `mufnet fit`, of all arms.

        Raises:
            InputFault: it cannot be read, or what it says does not fit together.
        """
        content = read_config(file)
        try:
            said = _parsed(content)
            return cls.of(replace(said, config=[*_list(said.config), *config]), fit)
        except InputFault as fault:
            raise InputFault([f"{file}: {one}" for one in fault.faults]) from None

    @classmethod
    def of(cls, said: StudyFile, fit: Sequence[str] = ()) -> StudySpec:
        """Of what a study file says: every arm with each combination of the grid, and each seed.

        Raises:
            InputFault: it does not fit together.
        """
        _check(said)
        cells = list(_cells(said))
        if len(cells) * len(said.arms) > MOST_ARMS:
            raise InputFault(
                f"{len(said.arms)} arms with {len(cells)} combinations each are more than {MOST_ARMS}"
            )
        arms = []
        for cell in cells:
            for name, entry in said.arms.items():
                arms.append(StudyArm(cell.name(name), tuple(_words(said, name, entry, cell, fit))))
        names = [arm.name for arm in arms]
        for name in names:
            if not re.fullmatch(ARM_SIGNS, name):
                raise InputFault(
                    f"an arm is called {name!r}, expected letters, digits, spaces and . _ + -, "
                    "80 at most"
                )
            if names.count(name) > 1:
                raise InputFault(f"two arms are called {name}")
        patients = None if said.patients is None else Path(said.patients)
        if patients is not None and not patients.is_file():
            raise InputFault(f"patients: there is no file {patients}")
        return cls(tuple(arms), _planned(said, cells, names), patients, Path(said.out))

    @classmethod
    def of_configurations(
        cls,
        arms: Sequence[str],
        config: Sequence[str] = (),
        fit: Sequence[str] = (),
        patients: Path | None = None,
        out: Path = Path("results"),
    ) -> StudySpec:
        """Of a configuration an arm.

        Args:
            arms: configurations by name or path.
            config: laid over each of them.
            fit: options of `mufnet fit`, of all arms.
            patients, out: see above.
        """
        made = []
        for arm in arms:
            name = Path(arm).stem
            words = [*(f"--config={file}" for file in (arm, *config)), *fit]
            if name not in ARMS and re.fullmatch(ARM_SIGNS, name):
                words.append(f"--tracking.arm={name}")  # two of the same modalities are told apart
            made.append(StudyArm(name, tuple(words)))
        return cls(tuple(made), None, patients, out)


def _parsed(content: Any) -> StudyFile:
    from jsonargparse import ArgumentParser

    if not isinstance(content, dict):
        raise InputFault("expected a study: `study`, `arms` and what else docs/study.md has")
    names = list(StudyFile.__dataclass_fields__)
    strange = [str(name) for name in content if name not in names]
    if strange:
        raise InputFault([f"there is no {one} in a study{suggestion(one, names)}" for one in strange])
    guard_settings()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StudyFile, "study_file")
    try:
        parser.parse_object({"study_file": deepcopy(content)})
    except (ArgumentError, TypeError, ValueError) as error:
        raise InputFault(one_sentence(str(error)).replace("study_file.", "")) from None
    # the values as they stand there: the parser would make a number of the text "1e3"
    arms = {
        name: arm if isinstance(arm, str) else ArmEntry(**(arm or {}))
        for name, arm in content["arms"].items()
    }
    said = StudyFile(**{**content, "arms": arms})
    check_finite({"settings": said.settings, "grid": said.grid})
    return said


def _check(said: StudyFile) -> None:
    faults = []
    if not said.arms:
        faults.append("arms: there is none")
    entries = {f"arms.{name}.settings": _entry(entry).settings for name, entry in said.arms.items()}
    for where, settings in {"settings": said.settings, "grid": said.grid, **entries}.items():
        for name, _ in _flat(settings):
            if name in _OWN:
                faults.append(f"{where}: {name} has no place here; {_OWN[name]}")
    for name, values in said.grid.items():
        if not values:
            faults.append(f"grid: {name} has no values")
        elif len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
            faults.append(f"grid: {name} has a value twice")
    if len(set(said.seeds)) < len(said.seeds):
        faults.append("seeds: one is there twice")
    if said.reference is not None and said.planned is not None:
        faults.append("reference and planned are both given; one of them says what is tested")
    if said.reference is not None and said.reference not in said.arms:
        faults.append(f"reference: there is no arm {said.reference} (there are {', '.join(said.arms)})")
    of_arms = [name for entry in said.arms.values() for name in _list(_entry(entry).config)]
    for name in dict.fromkeys([*_list(said.config), *of_arms]):
        try:
            find_config(name)
        except InputFault as fault:
            faults += fault.faults
    if faults:
        raise InputFault(faults)


@dataclass(frozen=True)
class _Cell:
    """A combination of the grid, and a seed.

    Attributes:
        settings: values by setting.
        label: what an arm's name says of it: what is the same for all has no place there.
    """

    settings: Mapping[str, Any]
    label: str

    def name(self, arm: str) -> str:
        """Of an arm with it."""
        return f"{arm} {self.label}".strip()


def _cells(said: StudyFile) -> Iterator[_Cell]:
    axes = dict(said.grid)
    if said.seeds:
        axes["seed_everything"] = list(said.seeds)
    changing = [name for name, values in axes.items() if len(values) > 1]
    for values in itertools.product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        yield _Cell(settings, " ".join(_label(name, settings[name]) for name in changing))


def _label(setting: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = Path(text).stem if "/" in text else text
    short = re.sub(r"[^\w.+-]+", "-", text).strip("-")
    if isinstance(value, str):
        return short
    return f"{'seed' if setting == 'seed_everything' else setting.rpartition('.')[2]} {short}"


def _words(
    said: StudyFile, name: str, entry: ArmEntry | str, cell: _Cell, fit: Sequence[str]
) -> Iterator[str]:
    arm = _entry(entry)
    for file in (*_list(arm.config), *_list(said.config)):
        yield f"--config={file}"
    settings = {**dict(_flat(said.settings)), **dict(_flat(arm.settings)), **cell.settings}
    yield from (f"--{key}={_word(value)}" for key, value in settings.items())
    yield from fit
    if said.study is not None:
        yield f"--tracking.study={_word(said.study)}"
    yield f"--tracking.arm={cell.name(name)}"


def _planned(
    said: StudyFile, cells: Sequence[_Cell], names: Sequence[str]
) -> tuple[tuple[str, str], ...] | None:
    pairs = said.planned
    if said.reference is not None:
        pairs = [(said.reference, other) for other in said.arms if other != said.reference]
    if pairs is None:
        return None
    planned: list[tuple[str, str]] = []
    for a, b in pairs:
        if a in said.arms and b in said.arms:
            planned += [(cell.name(a), cell.name(b)) for cell in cells]
            continue
        strange = [name for name in (a, b) if name not in names]
        if strange:
            known = ", ".join(dict.fromkeys((*said.arms, *names)))
            raise InputFault(f"planned: there is no arm {strange[0]} (there are {known})")
        planned.append((a, b))
    seen = [frozenset(pair) for pair in planned]
    for (a, b), pair in zip(planned, seen, strict=True):
        if len(pair) < 2 or seen.count(pair) > 1:
            raise InputFault(f"planned: {a} and {b} {'twice' if len(pair) == 2 else 'are one arm'}")
    return tuple(planned)


def _entry(entry: ArmEntry | str) -> ArmEntry:
    return ArmEntry([entry]) if isinstance(entry, str) else entry


def _list(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted names; a class goes before its arguments."""
    first = {name: settings[name] for name in ("class_path",) if name in settings}
    for name, value in {**first, **settings}.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _word(value: Any) -> str:
    """As a command line has it: text that YAML would read as something else is quoted."""
    import yaml

    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value) == value
        except yaml.YAMLError:
            plain = False
        return value if plain else json.dumps(value)
    return json.dumps(value, default=str)
