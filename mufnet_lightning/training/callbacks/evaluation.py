"""What a reviewer asks of each part: clustered intervals, figures, and the test against a baseline."""

from __future__ import annotations

import logging

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.evaluation.predictions import MatchedScores
from mufnet_lightning.evaluation.risks import RecordedRecalibration, with_risks
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.artifacts import beside_baseline, record_part, record_risks
from mufnet_lightning.training.callbacks.notes import (
    run_note,
    scored_note,
    scored_selection,
    weights_note,
)
from mufnet_lightning.training.callbacks.predictions import part_table
from mufnet_lightning.training.callbacks.selection import choosers, what_chose
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import METRIC_NAMES, Part, arm_name

log = logging.getLogger(__name__)


class Evaluation(Callback):
    """After validation and after test: metrics, `evaluation/PART.json` and `figures/PART_*`.

    Each image counts once, whatever the number of processes; the first one does it.

    Args:
        baseline: an arm to test against (DeLong over patients, Obuchowski over images); the metrics
            are then also `auc_difference` (this arm minus the baseline) and `auc_difference_p`.
        figures: draw them.
        arm: what it is called beside the baseline; bmode, ceus or fused unless given.
    """

    def __init__(
        self, baseline: ScoredArm | None = None, figures: bool = True, arm: str | None = None
    ) -> None:
        self.baseline = baseline
        self.arm = arm
        self.figures = figures
        self.choosers: frozenset[str] | None = None
        """Patients who chose the epoch that is scored; unless set, it is asked of the trainer."""
        self.chosen: set[Part] = set()
        """The parts scored so far that hold some of them."""
        self.recorded: RecordedRecalibration | None = None
        """What gives test patients who are scored alone their risks; without, validation patients."""
        self._validated: list[pd.DataFrame] = []

    def check_baseline(self, data: RoiPairDataModule, *parts: Part) -> None:
        """Refuse a baseline that was not scored on the images of this run's parts.

        Raises:
            InputFault: it says in which image, patient or label they differ.
        """
        if self.baseline and not any(self.baseline.has(part) for part in parts):
            self.baseline.part(parts[-1], data.fold)  # says what is not there
        for part in parts if self.baseline else ():
            rows = data.store.manifest.iloc[data.part_rows(part)]
            columns = ["pair_id", "patient_id", "clip_id", "frame", "label"]
            expected = rows[columns].reset_index(drop=True).assign(score=0.5)
            self._matched(expected, part, data)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Another training has other weights, and maybe other patients."""
        if stage == "fit":
            self._validated = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `validate`, not after the passes inside training."""
        if trainer.state.fn == "validate":
            self._record(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `test`."""
        self._record(trainer, pl_module, "test")

    def _record(self, trainer: Trainer, pl_module: LightningModule, part: Part) -> None:
        logger = trainer.logger
        if not isinstance(logger, RunLogger) or not trainer.is_global_zero:
            return
        before = self._validated if part == "test" else []
        table = pd.concat([*before, part_table(trainer, pl_module, part)])
        risks = self.recorded.risks(table) if self.recorded else with_risks(table)
        table = risks.table[risks.table["split"] == part].reset_index(drop=True)
        if part == "val":
            self._validated = [table]
        else:
            record_risks(logger.experiment, logger.run, risks)
        try:
            arms = self._matched(table, part, trainer.datamodule)  # type: ignore[attr-defined]
        except EvaluationError as error:  # a part that was cut short; the training is not lost with it
            logger.experiment.set_tag(logger.run, f"not_evaluated_{part}", str(error)[:5000])
            log.warning("%s is not evaluated: %s", part, error)
            self._note(trainer, part, f"The {part} part is not evaluated: {error}")
            return
        chosen = self._is_chosen(trainer, table)
        self.chosen = {*self.chosen, part} if chosen else self.chosen - {part}
        numbers = record_part(
            logger.experiment, logger.run, part, arms, table, chosen=chosen, draw=self.figures
        )
        # the module has logged the others
        prefix = pl_module.metric_prefix(part)  # type: ignore[operator]
        added = {f"{prefix}/{k}": v for k, v in numbers.items() if k not in METRIC_NAMES}
        logger.log_metrics(added, step=pl_module.weights_epoch)  # type: ignore[arg-type]
        scored = scored_note(part, prefix, table, numbers, chosen)
        weights = weights_note(trainer, pl_module, part if chosen else None)
        self._note(trainer, part, f"{scored}, scored by {weights}.")

    def _note(self, trainer: Trainer, part: Part, second: str) -> None:
        """Say in the run what one is looking at; of a training that is its test."""
        logger, trained = trainer.logger, trainer.current_epoch > 0
        assert isinstance(logger, RunLogger)
        if part == "test" or not trained:
            data: RoiPairDataModule = trainer.datamodule  # type: ignore[attr-defined]
            protocol = logger.tag("protocol", data.protocol)
            first = run_note(data, protocol, logger.tag("arm"), None if trained else part)
            logger.note(f"{first} {second}")

    def _is_chosen(self, trainer: Trainer, table: pd.DataFrame) -> bool:
        """Whether some of the patients who are scored chose the epoch."""
        choose = self.choosers
        if choose is None:
            selection = scored_selection(trainer)
            choose = frozenset[str]()
            if selection is not None:
                kind = what_chose(selection, trainer.callbacks)  # type: ignore[attr-defined]
                choose = choosers(trainer.datamodule, kind)  # type: ignore[attr-defined]
        return not choose.isdisjoint(table["patient_id"].astype(str))

    def _matched(self, table: pd.DataFrame, part: Part, data: RoiPairDataModule) -> MatchedScores:
        arm = self.arm or arm_name(data.modalities)
        return beside_baseline(arm, table, self.baseline, part, data.fold)
