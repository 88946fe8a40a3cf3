"""Arms, looked at as a whole before one of their folds is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.identity import identity, with_folds
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.artifacts import beside_baseline
from mufnet_lightning.training.messages import quiet_libraries

if TYPE_CHECKING:
    from mufnet_lightning.study.spec import StudyArm
    from mufnet_lightning.training.cli import MufnetCLI


@dataclass(frozen=True)
class CheckedArms:
    """Arms that can be trained.

    Attributes:
        study: that they are filed in.
        keys: what each arm's cross-validation is known by (see `identity`), by the arm's name.
    """

    study: str
    keys: Mapping[str, str]


def check_arms(arms: Sequence[StudyArm]) -> CheckedArms:
    """Build each arm on the first one's folds, and find what would be wrong with any; records nothing.

    Raises:
        InputFault: an arm cannot be run as asked, with its name; two are the same, or filed in
            different studies; or they would be scored on different images.
    """
    keys: dict[str, str] = {}
    pairs: dict[str, tuple[str, ...]] = {}
    studies: dict[str, str] = {}
    with quiet_libraries(), TemporaryDirectory() as scratch, progress_bar("arms", len(arms)) as advance:
        split = Path(scratch) / "folds.csv"
        for arm in arms:
            try:
                cli = built_arm(arm, split)
                check_every_fold(cli)
            except InputFault as fault:
                raise InputFault([f"arm {arm.name}: {one}" for one in fault.faults]) from None
            data = cli.datamodule
            pairs[arm.name] = tuple(data.store.manifest.iloc[data.usable_rows]["pair_id"])
            studies[arm.name] = cli.config.tracking.study
            key = identity(cli.composed_config(), data.store.digest, csv_text(data.folds))
            key = with_folds(key, arm.of_folds)
            for other, known in keys.items():
                if key == known:
                    raise InputFault(
                        f"the arms {other} and {arm.name} train the very same: they differ in nothing "
                        "that changes a weight"
                    )
            keys[arm.name] = key
            advance()
    _check_pairs(pairs)
    (study, *others) = dict.fromkeys(studies.values())
    if others:
        raise InputFault(
            f"the arms are filed in different studies ({study}, {', '.join(others)}); "
            "--tracking.study names one"
        )
    return CheckedArms(study, keys)


def built_arm(arm: StudyArm, split: Path) -> MufnetCLI:
    """An arm's data, network and trainer on the folds in a file, which the first arm writes.

    Args:
        arm: to be built.
        split: folds.csv; made where it is not there.

    Raises:
        InputFault: it cannot be built as asked.
    """
    from mufnet_lightning.training.cli import MufnetCLI

    given = [f"--data.folds_from={split}"] if split.exists() else []
    cli = MufnetCLI([*arm.arguments, *given], run=False)
    if not given:
        split.write_text(csv_text(cli.datamodule.folds), encoding="utf-8")
    return cli


def _check_pairs(pairs: Mapping[str, tuple[str, ...]]) -> None:
    first = next(iter(pairs.values()))
    if all(one == first for one in pairs.values()):
        return
    counts = ", ".join(f"{arm} {len(one)}" for arm, one in pairs.items())
    how = "different numbers of pairs" if len({*map(len, pairs.values())}) > 1 else "different pairs"
    raise InputFault(
        f"the arms can use {how} ({counts}), since some pairs lack a modality; set data.complete_pairs "
        "to true to use those that have both"
    )


def check_every_fold(cli: MufnetCLI) -> list[int]:
    """Find what would be wrong with any fold of an arm, before one is trained.

    Args:
        cli: of the arm, parsed and built.

    Returns:
        The folds' numbers.

    Raises:
        InputFault: with what is wrong.
    """
    check_recorded(cli)
    data = cli.datamodule
    if not data.with_test:
        raise InputFault("cv cannot take --data.with_test false: it pools the folds' test scores")
    folds = sorted(int(fold) for fold in data.folds["fold"].unique())
    for fold in folds:
        data.fold = fold
        cli.check_before_training()
    baseline = cli.evaluation.baseline
    if baseline:  # what is compared in the end is what all folds scored together
        tested = data.folds.loc[data.folds["part"] == "test", "patient_id"]
        manifest = data.store.manifest.iloc[data.usable_rows]
        rows = manifest[manifest["patient_id"].isin(set(tested))].reset_index(drop=True)
        baseline.part("test")  # says so if there is none
        beside_baseline("this arm", rows.assign(score=0.5), baseline, "test")
    cli.model.initialise_weights()
    return folds


def check_recorded(cli: MufnetCLI, verb: str = "cv") -> None:
    """Find what would keep a fit from leaving a whole run.

    Args:
        cli: of the fit, parsed and built.
        verb: that pools, or searches, what the runs hold.

    Raises:
        InputFault: with what is wrong.
    """
    devices_of(cli)
    trainer = cli.config.trainer
    for name, refused in (("logger", False), ("fast_dev_run", True), ("enable_checkpointing", False)):
        if trainer[name] is not None and bool(trainer[name]) is refused:
            raise InputFault(
                f"{verb} cannot take --trainer.{name} {str(trainer[name]).lower()}: "
                "it pools what each fold leaves in its run"
            )
    for name in ("limit_val_batches", "limit_test_batches"):
        if trainer[name] not in (None, 1.0) or isinstance(trainer[name], int):
            raise InputFault(f"{verb} cannot take --trainer.{name}: it pools whole parts")


def devices_of(cli: MufnetCLI) -> int:
    """GPUs that a fit takes where there are any; 0: none whatever there is.

    Raises:
        InputFault: they are listed by number: which ones a job has is its engine's to say.
    """
    trainer = cli.config.trainer
    if trainer.accelerator not in ("auto", "gpu", "cuda"):
        return 0
    devices = trainer.devices
    if isinstance(devices, str) and devices.strip().isdecimal():
        devices = int(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, list | tuple) or (isinstance(devices, str) and "," in devices):
        raise InputFault(
            f"trainer.devices is {devices}: say how many GPUs a fold takes; which ones there are to "
            "choose from, CUDA_VISIBLE_DEVICES says"
        )
    return max(1, int(cli.trainer.num_devices))  # "auto", -1: all that are there
