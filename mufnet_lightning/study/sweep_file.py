"""A sweep, laid down in one YAML file: what is chosen, from which values, by how many trials.

study: kidney
arm: fused                 # or {config: fused, settings: {model.dropout: 0.5}}
config: [my]               # laid over it
settings:
  data.store: my_store
space:                     # see `space`
  optimizer.init_args.lr: {low: 0.001, high: 0.1, log: true}
  model.fusion: [softmax, sigmoid]
trials: 40
metric: val/auc            # of the validation patients; the largest is chosen
pruner: median             # or none
seed: 0
nested: false              # true: a search inside each outer fold
patients: my_cohort/patients.csv
out: sweep
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.study.space import Space
from mufnet_lightning.study.spec import StudyArm, StudySpec
from mufnet_lightning.study.study_file import (
    ArmEntry,
    StudyFile,
    entry_of,
    flat,
    keys_of,
    names_in,
    not_given,
)
from mufnet_lightning.system.configs import read_config
from mufnet_lightning.training.messages import one_sentence
from mufnet_lightning.vocabulary import METRIC_NAMES

_SCORED = "it decides who is scored, and on which pictures"
_NOT_CHOSEN = {
    **dict.fromkeys(
        (
            "data.store",
            "data.modalities",
            "data.protocol",
            "data.fold",
            "data.folds_from",
            "data.n_folds",
            "data.split_seed",
            "data.complete_pairs",
            "data.group_duplicates",
        ),
        _SCORED,
    ),
    "data.with_test": "no sweep looks at the test part",
    "data.watch_test": "no sweep looks at the test part",
    "seed_everything": "a seed is no setting to choose by its score",
    "checkpoint.monitor": "the sweep has its own `metric`",
}
_NO_WEIGHT = ("tracking.", "explain.", "trainer.logger", "ckpt_path")
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class SweepFile:
    """What stands in a sweep's file.

    Args:
        arm: that is trained; a text alone is its configuration.
        space: values of settings to choose from, by dotted name.
        study: name of the MLflow experiment; that of the configurations unless given.
        config: configurations that are laid over the arm's.
        settings: of `mufnet fit`.
        trials: of each search.
        metric: of the validation patients.
        pruner: what ends trials early.
        seed: of the draws.
        nested: whether each outer fold has a search of its own.
        patients: patients.csv in the cohort's folder, for Table 1 and the report.
        out: folder for the chosen configuration, tables, figures and report.
    """

    arm: ArmEntry | str
    space: dict[str, Any]
    study: str | None = None
    config: list[str] | str = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    trials: int = 30
    metric: str = "val/auc"
    pruner: Literal["median", "none"] = "median"
    seed: int = 0
    nested: bool = False
    patients: str | None = None
    out: str = "sweep"


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, laid down before anything is trained.

    Attributes:
        arm: without what is chosen.
        space: what is chosen, from which values.
        trials, metric, pruner, seed, nested: see `SweepFile`.
        patients: patients.csv; None where there is none.
        out: folder for all that is written.
    """

    arm: StudyArm
    space: Space
    trials: int
    metric: str
    pruner: Literal["median", "none"]
    seed: int
    nested: bool
    patients: Path | None
    out: Path

    @classmethod
    def read(cls, file: Path, config: Sequence[str] = (), fit: Sequence[str] = ()) -> SweepSpec:
        """Of a sweep's file.

        Args:
            file: YAML, see the top of this module.
            config: configurations that are laid over the file's own.
            fit: further options of `mufnet fit`, of all trials.

        Raises:
            InputFault: it cannot be read, or what it says does not fit together.
        """
        content = read_config(file)
        try:
            said = parsed_sweep(content)
            return cls.of(replace(said, config=[*names_in(said.config), *config]), fit)
        except InputFault as fault:
            raise InputFault([f"{file}: {one}" for one in fault.faults]) from None

    @classmethod
    def of(cls, said: SweepFile, fit: Sequence[str] = ()) -> SweepSpec:
        """Of what a sweep's file says.

        Raises:
            InputFault: with all that does not fit together.
        """
        faults = list(_faults(said, fit))
        try:
            space = Space.of(said.space)
        except InputFault as fault:
            raise InputFault([*faults, *fault.faults]) from None
        if space.size is not None and said.trials > space.size:
            faults.append(
                f"trials: {said.trials} are more than the space has combinations ({space.size}); "
                "the `grid` of a study (`mufnet study`) trains each"
            )
        if faults:
            raise InputFault(faults)
        study = StudyFile(
            {_arm_name(said): said.arm},
            said.study,
            said.config,
            said.settings,
            patients=said.patients,
            out=said.out,
        )
        spec = StudySpec.of(study, fit)
        return cls(
            spec.arms[0],
            space,
            said.trials,
            said.metric,
            said.pruner,
            said.seed,
            said.nested,
            spec.patients,
            spec.out,
        )


def parsed_sweep(content: Any) -> SweepFile:
    """What a YAML file says, by the types above.

    Raises:
        InputFault: it is no sweep, or has a key or a value of another kind.
    """
    from jsonargparse import ArgumentParser

    content = keys_of(content, SweepFile, "sweep", "`arm`, `space`")
    lacking = [name for name in ("arm", "space") if name not in content]
    if lacking:
        raise InputFault(f"a sweep needs {' and '.join(lacking)}; docs/sweep.md tells more")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SweepFile, "sweep_file")
    try:
        parser.parse_object({"sweep_file": deepcopy(content)})
    except (ArgumentError, TypeError, ValueError) as error:
        raise InputFault(one_sentence(str(error)).replace("sweep_file.", "")) from None
    arm = content["arm"]
    said = SweepFile(**{**content, "arm": arm if isinstance(arm, str) else ArmEntry(**not_given(arm))})
    check_finite({"settings": said.settings, "space": said.space})
    return said


def _faults(said: SweepFile, fit: Sequence[str]) -> list[str]:
    faults = []
    if not 1 <= said.trials <= MOST_TRIALS:
        faults.append(f"trials: {said.trials} is not in bounds, expected 1 to {MOST_TRIALS:,}")
    if said.seed < 0:
        faults.append(f"seed: {said.seed} is not in bounds, expected 0 or more")
    part, _, name = said.metric.partition("/")
    known = [one for one in METRIC_NAMES if one != "loss"]
    if part != "val" or name not in known:
        faults.append(
            f"metric: {said.metric} is not known, expected val/ and one of {', '.join(known)}"
        )
    own = {_short(name) for name, _ in flat({**said.settings, **entry_of(said.arm).settings})}
    own |= {_short(word.partition("=")[0].removeprefix("--")) for word in fit}
    for name in ("data.with_test", "tracking.trial"):
        if name in own:
            faults.append(f"{name} has no place here; the sweep gives it to each of its trials")
    for name in said.space:
        reason = _why_not_chosen(_short(name))
        if reason is not None:
            faults.append(f"space: {name} cannot be chosen; {reason}")
        if _short(name) in own:
            faults.append(f"space: {name} is given as a setting too")
    return faults


def _why_not_chosen(name: str) -> str | None:
    if name in _NOT_CHOSEN:
        return _NOT_CHOSEN[name]
    held = [one for one in (*_NOT_CHOSEN, *_NO_WEIGHT) if one.startswith(f"{name}.")]
    if name == "config" or held or name.endswith(".init_args"):
        return "a space is of single settings, as model.dropout"
    return "it changes no weight" if name.startswith(_NO_WEIGHT) else None


def _short(name: str) -> str:
    """Without what only names a class's arguments."""
    return name.replace("init_args.", "")


def _arm_name(said: SweepFile) -> str:
    configs = names_in(entry_of(said.arm).config)
    return Path(configs[-1]).stem if configs else "arm"
