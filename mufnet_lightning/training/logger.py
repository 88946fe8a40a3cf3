"""The MLflow run that a training writes into."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.logged_model import keep_last_model, keep_model
from mufnet_lightning.system.signals import closing, stopping
from mufnet_lightning.tracking.checkpoints import last_checkpoint
from mufnet_lightning.tracking.left_over import send_left_over
from mufnet_lightning.tracking.liveness import RESUMED, heartbeat
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.outbox import Outbox
from mufnet_lightning.tracking.outbox_client import MACHINE, OutboxClient
from mufnet_lightning.tracking.runs import Tracking, client_of, mlflow_client, tracking_uri
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.training.divergence import Diverged
from mufnet_lightning.training.machine import MachineMonitor
from mufnet_lightning.vocabulary import START, arm_name

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from types import TracebackType

    from mlflow.entities import Run

    from mufnet_lightning.data.datamodule import RoiPairDataModule


class RunLogger(MLFlowLogger):
    """An MLflow run that is closed once, by whoever opened it.

    Lightning would close it after `fit`, before validation and test are scored; a run that broke off
    there would look finished. As a context it closes itself:

        with RunLogger(Tracking(study="notebook")) as logger:
            trainer = Trainer(logger=logger, callbacks=[RunRecord(), PredictionWriter(), Evaluation()])
            trainer.fit(module, datamodule=data)

    What is logged goes into a journal on this disk (mlruns/outbox) and from there, behind the training,
    to the tracking store: a server that is slow or away holds nothing up, and nothing is lost.

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
        client_of(tracking_uri())  # a database is made by one process at a time
        by = {"mlflow.user": where.user} if where.user else {}
        by |= {} if where.trial is None else {"trial": str(where.trial)}
        super().__init__(
            experiment_name=where.study,
            run_name=where.run_name or run_name,
            tracking_uri=tracking_uri(),
            tags={**run_tags("fit", where.study), **(tags or {}), **by},
            run_id=resumed_run,
        )
        self.resumed = resumed_run is not None
        self._noted = False
        self._monitor: MachineMonitor | None = None
        self._outbox: Outbox | None = None
        self._client: OutboxClient | None = None
        self._model_due: list[str | None] = []
        self._closes = threading.RLock()  # several threads may end a run; one does

    @property
    @rank_zero_experiment
    def experiment(self) -> OutboxClient:
        """The client; on first use the run is opened.

        Raises:
            InputFault: somebody works on the run that is gone on with, or nothing can be recorded.
        """
        if self._client is None:
            self._open()
        assert self._client is not None
        return self._client

    def _open(self) -> None:
        recorded: dict[tuple[str, int], float] = {}
        if self.resumed:
            run = mlflow_client().get_run(str(self._run_id))
            tags, recorded = dict(run.data.tags), _recorded(run)
            self._outbox = Outbox.resume(run, keep_last_model)
            recorded |= self._outbox.journal.points()
            self._experiment_id = str(run.info.experiment_id)
        else:
            from mlflow.tracking.context.registry import resolve_tags

            tags = {name: str(value) for name, value in resolve_tags(self.tags).items()}
            self._outbox = Outbox.begin(self._experiment_name, self._run_name, tags, keep_last_model)
            # of a run that the server does not know yet nobody knows it
            self._experiment_id = self._outbox.sender.experiment_id or self._experiment_name
        self._run_id = self._outbox.run_id
        self._client = OutboxClient(self._outbox, tags, recorded, self.resumed)
        self._initialized = True
        if self.resumed:
            self._client.update_run(self._run_id, status="RUNNING")
            if "reason" in tags:
                self._client.delete_tag(self._run_id, "reason")  # why it broke off; it goes on
        send_left_over(0)

    @property
    def experiment_id(self) -> str | None:
        """The id of the study in the store; its name, as long as the store has not been there."""
        if self.experiment is not None and self._outbox is not None:  # on the process that records
            self._experiment_id = self._outbox.sender.experiment_id or self._experiment_id
        return self._experiment_id

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
            start = self.experiment.tags.get(START, "")  # of a run that goes on, too
            said = f"{text} **{start[:1].upper()}{start[1:]}.**" if start else text
            self.experiment.set_tag(self.run, NOTE, said)

    @rank_zero_only
    def state_start(self, sentence: str) -> None:
        """Keep what must be known of the weights that the training begins with, as a tag."""
        self.experiment.set_tag(self.run, START, sentence)

    @rank_zero_only
    def watch_machine(self) -> None:
        """Log CPU, memory, disk and GPU use every few seconds until the run is closed."""
        if self._monitor is None:
            step = self.experiment.next_step(MACHINE) if self.resumed else 0
            self._monitor = MachineMonitor(self.experiment, self.run, step)
            self._monitor.start()  # type: ignore[no-untyped-call]

    @rank_zero_only
    def start_training(self, epoch: int, holds: bool, checkpoint: str = "") -> None:
        """A training begins, at the begin or behind a checkpoint.

        Args:
            epoch: its first one, counted from 0.
            holds: `confirm` is called for each epoch; what is logged in an epoch is sent then.
            checkpoint: file that it goes on behind.

        Raises:
            InputFault: the run has later epochs: those of another training would be lost beside them.
        """
        there = self.experiment.next_step("train/") if self.resumed and holds else 0
        if there > epoch and Path(checkpoint).resolve() == last_checkpoint(self.run).resolve():
            log.warning(
                "warning: run %s has %s epochs, and its last checkpoint here is behind %s of them: the "
                "others were trained elsewhere, or by an earlier version; they are trained again, and "
                "their curves stay as they are",
                self.run,
                there,
                epoch,
            )
        elif there > epoch:
            raise InputFault(
                f"run {self.run} has {there} epochs, and this checkpoint goes on behind {epoch} of "
                f"them: --ckpt_path runs:/{self.run} goes on behind the last one, and "
                "--model.init_from trains a run of its own from these weights"
            )
        self._note_resumed()
        self.experiment.start_training(epoch, holds)

    def _note_resumed(self) -> None:
        """Say where and when the run was gone on with: what another folder has of it is of before."""
        if self.resumed and not self._noted:
            self._noted = True
            self.experiment.set_tag(self.run, RESUMED, heartbeat())

    @rank_zero_only
    def begin_epoch(self, epoch: int) -> None:
        """What is logged from now on belongs to this epoch."""
        self.experiment.begin_epoch(epoch)

    @rank_zero_only
    def confirm(self, epoch: int) -> None:
        """The checkpoint of an epoch is on the disk: nobody will train it again."""
        self.experiment.confirm(epoch)

    @rank_zero_only
    def end_training(self) -> None:
        """The training has come to its end."""
        self.experiment.end_training()

    @rank_zero_only
    def keep_model(self, register: str | None = None) -> None:
        """Log the trained model, now, or when the server has the rest of the run (see `keep_model`)."""
        assert self._outbox is not None
        if self._outbox.flush(_FOR_THE_MODEL):
            keep_model(self.run, register, anew=True)
        else:
            self._model_due = [register]

    def finalize(self, status: str = "success") -> None:
        """Lightning calls this after each of its passes; the run goes on."""

    @rank_zero_only
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run as `FINISHED`, `FAILED` or `KILLED` (interrupted), with the reason as a tag."""
        with self._closes:
            self._close(status, reason)

    def _close(self, status: str, reason: str | None) -> None:
        outbox, client = self._outbox, self._client
        if outbox is None or client is None or outbox.closed:
            return
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        said = {"reason": reason[:5000]} if reason else {}
        if status == "FINISHED" and self.resumed and not self._noted:  # nothing was left to train
            said[RESUMED] = heartbeat()
        ended = client.end(status, said, self._model_due)
        if outbox.close(self.title, status == "FINISHED", ended):
            self._run_id = outbox.sender.run_id

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
            if isinstance(error, Diverged) and self._client is not None:
                with contextlib.suppress(InputFault):  # the disk is full; why it ended is said anyway
                    self._client.show_diverged()
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
            if stopped or stopping():
                closing()
                _let_go(error)
                raise KeyboardInterrupt from None
            raise


_FOR_THE_MODEL = 5.0  # seconds without progress for the rest of the run, which the model is made from


def _recorded(run: Run) -> dict[tuple[str, int], float]:
    """The points that the server has of a run."""
    client = mlflow_client()
    points = list(run.data._metric_objs)  # the last of each; the machine's are many
    for name in run.data.metrics:
        if not name.startswith(MACHINE):
            points += client.get_metric_history(run.info.run_id, name)
    return {(p.key, int(p.step)): float(p.value) for p in points}


def _let_go(error: BaseException) -> None:
    """Free what the interrupted calls hold: one in the middle of a commit keeps SQLite locked."""
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__context__
