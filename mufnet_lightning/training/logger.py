"""The MLflow run that a training writes into."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import Tracking, open_study, tracking_uri
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.vocabulary import START, arm_name

if TYPE_CHECKING:
    from types import TracebackType

    from mlflow import MlflowClient

    from mufnet_lightning.data.datamodule import RoiPairDataModule


class RunLogger(MLFlowLogger):
    """An MLflow run that is closed once, by whoever opened it.

    Lightning would close it after `fit`, before validation and test are scored; a run that broke off
    there would look finished. As a context it closes itself:

        with RunLogger(Tracking(study="notebook")) as logger:
            trainer = Trainer(logger=logger, callbacks=[RunRecord(), PredictionWriter(), Evaluation()])
            trainer.fit(module, datamodule=data)

    Args:
        where: study, name, parent run and baseline.
        run_name: where `where` has none.
        tags: of the run; what is missing of arm, fold, protocol and code is added from the data.
        resumed_run: id of a run to go on with.
    """

    def __init__(
        self,
        where: Tracking | None = None,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        resumed_run: str | None = None,
    ) -> None:
        where = where or Tracking()
        by = {"mlflow.user": where.user} if where.user else {}
        super().__init__(
            experiment_name=where.study,
            run_name=where.run_name or run_name,
            tracking_uri=tracking_uri(),
            tags={**run_tags("fit", where.study), **(tags or {}), **by},
            run_id=resumed_run,
        )
        self.resumed = resumed_run is not None
        self._monitor: Any = None

    @property
    def experiment(self) -> MlflowClient:
        """The client; on first use the run is opened."""
        if not self._initialized and getattr(rank_zero_only, "rank", 0) == 0:
            if self.resumed:
                store, run_id = self._mlflow_client, str(self._run_id)
                store.update_run(run_id, status="RUNNING")
                if "reason" in store.get_run(run_id).data.tags:
                    store.delete_tag(run_id, "reason")  # why it broke off; it goes on
            else:
                open_study(self._experiment_name)
        client: MlflowClient = super().experiment
        return client

    @property
    def run(self) -> str:
        """The run's id, on the process that records."""
        return str(self.run_id)

    @property
    def title(self) -> str:
        """The run's name."""
        return str(self._run_name)

    @property
    def opened(self) -> bool:
        """Whether there is a run yet; it is created on first use."""
        return self._initialized

    def tag(self, name: str, otherwise: str = "") -> str:
        """A tag that the run was opened or described with."""
        return str((self.tags or {}).get(name, otherwise))

    @rank_zero_only
    def describe(self, data: RoiPairDataModule, selection: str = "validation") -> None:
        """Name and tag the run, as far as that was left open; Lightning opens it before any data."""
        if self.resumed:
            return
        arm = arm_name(data.modalities)
        known = {"arm": arm, "fold": str(data.fold), "protocol": data.protocol, "selection": selection}
        tags = dict(self.tags or {})
        for name, value in known.items():
            if name not in tags:
                self.experiment.set_tag(self.run, name, value)
        self.tags = {**known, **tags}
        if self._run_name is None:
            self._run_name = f"{arm}-fold{data.fold}"
            self.experiment.update_run(self.run, name=self._run_name)

    @rank_zero_only
    def note(self, text: str) -> None:
        """Say what the MLflow UI shows as the run's description, where nobody gave it another one."""
        if NOTE not in (self.tags or {}):
            known = self.experiment.get_run(self.run).data.tags  # of a run that goes on, too
            start = known.get(START, "")
            said = f"{text} **{start[:1].upper()}{start[1:]}.**" if start else text
            self.experiment.set_tag(self.run, NOTE, said)

    @rank_zero_only
    def state_start(self, sentence: str) -> None:
        """Keep what must be known of the weights that the training begins with, as a tag."""
        self.experiment.set_tag(self.run, START, sentence)

    @rank_zero_only
    def watch_machine(self) -> None:
        """Log CPU, memory, disk and GPU use every few seconds until the run is closed."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if self._monitor is None:
            self._monitor = SystemMetricsMonitor(self.run, sampling_interval=5)
            self._monitor.start()

    def finalize(self, status: str = "success") -> None:
        """Lightning calls this after each of its passes; the run goes on."""

    @rank_zero_only
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run as `FINISHED`, `FAILED` or `KILLED` (interrupted), with the reason as a tag."""
        if not self.opened:
            return
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        if reason:
            with contextlib.suppress(Exception):  # the status matters more than its reason
                self.experiment.set_tag(self.run, "reason", reason[:5000])
        self.experiment.set_terminated(self.run, status)

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close("FINISHED")
        elif isinstance(error, KeyboardInterrupt | SIGTERMException | SystemExit):  # Lightning exits
            self.close("KILLED", "interrupted")
        else:
            self.close("FAILED", f"{type(error).__name__}: {error}")


@contextmanager
def recorded(trainer: Trainer) -> Iterator[None]:
    """Close the trainer's run when the block ends, however it ends.

    Raises:
        KeyboardInterrupt: the training was stopped, which Lightning turns into other exceptions.
    """
    with contextlib.ExitStack() as runs:
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                runs.enter_context(logger)
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SIGTERMException) or (
                isinstance(error, SystemExit) and trainer.interrupted
            )
            if stopped:
                _let_go(error)
                raise KeyboardInterrupt from None
            raise


def _let_go(error: BaseException) -> None:
    """Free what the interrupted calls hold: one in the middle of a commit keeps SQLite locked."""
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__context__
