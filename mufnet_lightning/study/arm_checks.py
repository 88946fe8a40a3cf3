"""Arms, looked at as a whole before one of their folds is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.identity import identity
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.tracking.artifacts import beside_baseline

if TYPE_CHECKING:
    from mufnet_lightning.study.spec import StudyArm
    from mufnet_lightning.training.cli import MufnetCLI


def check_arms(arms: Sequence[StudyArm]) -> None:
    """Build each arm, and find what would be wrong with any of its folds; nothing is recorded.

    Raises:
        InputFault: an arm cannot be run as asked, with its name; two are the same; or they would be
            scored on different images.
    """
    from mufnet_lightning.training.cli import MufnetCLI
    from mufnet_lightning.training.messages import quiet_libraries

    pairs: dict[str, int] = {}
    keys: dict[str, str] = {}
    with quiet_libraries(), progress_bar("arms", len(arms)) as advance:
        for arm in arms:
            try:
                cli = MufnetCLI(list(arm.arguments), run=False)
                pairs[arm.name] = len(cli.datamodule.usable_rows)
                check_every_fold(cli)
                key = identity(cli.composed_config(), cli.datamodule.store.digest, "")
            except InputFault as fault:
                raise InputFault([f"arm {arm.name}: {one}" for one in fault.faults]) from None
            if key in keys:
                raise InputFault(
                    f"the arms {keys[key]} and {arm.name} train the very same: they differ in nothing "
                    "that changes a weight"
                )
            keys[key] = arm.name
            advance()
    if len(set(pairs.values())) > 1:
        counts = ", ".join(f"{arm} {count}" for arm, count in pairs.items())
        raise InputFault(
            f"the arms can use different numbers of pairs ({counts}), since some pairs lack a "
            "modality; set data.complete_pairs to true to use those that have both"
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
    data = cli.datamodule
    trainer = cli.config.trainer
    for name, refused in (("logger", False), ("fast_dev_run", True), ("enable_checkpointing", False)):
        if trainer[name] is not None and bool(trainer[name]) is refused:
            raise InputFault(
                f"cv cannot take --trainer.{name} {str(trainer[name]).lower()}: "
                "it pools what each fold leaves in its run"
            )
    for name in ("limit_val_batches", "limit_test_batches"):
        if trainer[name] not in (None, 1.0) or isinstance(trainer[name], int):
            raise InputFault(f"cv cannot take --trainer.{name}: it pools whole parts")
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
