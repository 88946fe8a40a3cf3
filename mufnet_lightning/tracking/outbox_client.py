"""The client of a run being made: MLflow's, whose writes go into the run's journal."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.durable_client import DurableClient
from mufnet_lightning.tracking.journal import milliseconds
from mufnet_lightning.tracking.opening import unwritable
from mufnet_lightning.tracking.outbox import Outbox
from mufnet_lightning.tracking.run_id_calls import asks_by_store_id

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
    from mlflow.entities.logged_model_input import LoggedModelInput

MACHINE, DIVERGED = "system/", "diverged/"
"""Names of points that belong to no epoch begin so: of the machine, and of an epoch that broke off."""
log = logging.getLogger(__name__)
_TO_READ = 20.0  # seconds to send what was written before it is read


@asks_by_store_id
class OutboxClient(DurableClient):
    """Writes of its own run are kept here and sent behind the training; all else asks the server.

    A point of a metric (its name and step) is recorded once. In a training that keeps checkpoints the
    points of an epoch are sent when `confirm` says that its checkpoint is on the disk.

    Args:
        outbox: of the run.
        tags: of the run, as far as they are known.
        recorded: values that the run has already, by name and step.
        resumed: the run was begun by an earlier process.
    """

    def __init__(
        self,
        outbox: Outbox,
        tags: Mapping[str, str],
        recorded: Mapping[tuple[str, int], float],
        resumed: bool,
    ) -> None:
        super().__init__(outbox.sender.uri)
        self.outbox = outbox
        self.tags = dict(tags)
        self._recorded = dict(recorded)
        self._resumed = resumed
        self._trains = self._warned = False
        self._epoch: int | None = None  # that points wait for
        self._one_point = threading.Lock()

    # the course of a training

    def start_training(self, epoch: int, holds: bool) -> None:
        """A training begins with this epoch, the first or the one behind a checkpoint's.

        Args:
            epoch: counted from 0.
            holds: its points wait for `confirm`.
        """
        self._trains = True
        if self._resumed and holds:
            kept = [one for one in self.outbox.journal.waiting() if one["epoch"] < epoch]
            self._recorded |= {(p[0], p[3]): p[1] for one in kept for p in one["points"]}
            self._append("resume", epoch=epoch)
        self._epoch = epoch if holds else None

    def begin_epoch(self, epoch: int) -> None:
        """An epoch of the training begins."""
        if self._epoch is not None:
            self._epoch = epoch

    def confirm(self, epoch: int) -> None:
        """The checkpoint of an epoch is on the disk: a resume goes on behind it."""
        self._append("confirm", epoch=epoch)

    def end_training(self) -> None:
        """The training has come to its end, so nothing of it is repeated."""
        if self._epoch is not None:
            self._append("confirm", epoch=None)
        self._trains, self._epoch = False, None

    def show_diverged(self) -> None:
        """Send points of the epoch that broke off, by names of their own: a resume trains it again."""
        for one in self.outbox.journal.waiting():
            rows = [(DIVERGED + name, *rest) for name, *rest in one["points"]]
            new = [row for row in rows if (row[0], row[3]) not in self._recorded]
            if new:
                self._append("metrics", points=new, epoch=None)

    # what is written

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> None:
        """Points, parameters and tags."""
        if not self.own(run_id):
            super().log_batch(self.there(run_id), metrics, params, tags, synchronous)
            return
        machine = [m for m in metrics if m.key.startswith(MACHINE)]
        trained = [m for m in metrics if not m.key.startswith(MACHINE)]
        for group, epoch in ((machine, None), (trained, self._epoch)):
            self._log_points(group, epoch)
        if params:
            self._append("params", params={p.key: str(p.value) for p in params})
        for tag in tags:
            self.set_tag(run_id, tag.key, tag.value)

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: float,
        timestamp: int | None = None,
        step: int | None = None,
        *arguments: Any,
        **options: Any,
    ) -> None:
        """One point."""
        from mlflow.entities import Metric

        self.log_batch(run_id, [Metric(key, value, timestamp or milliseconds(), step or 0)])

    def log_param(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """One parameter."""
        from mlflow.entities import Param

        self.log_batch(run_id, params=[Param(key, str(value))])
        return value

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> None:
        """A tag."""
        if not self.own(run_id):
            super().set_tag(self.there(run_id), key, value, synchronous)
        elif self.tags.get(key) != str(value):
            self._append("tag", name=key, value=str(value))
            self.tags[key] = str(value)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag away."""
        if not self.own(run_id):
            super().delete_tag(self.there(run_id), key)
            return
        self._append("untag", name=key)
        self.tags.pop(key, None)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        """A file, or a folder under its own name."""
        if not self.own(run_id):
            super().log_artifact(self.there(run_id), local_path, artifact_path)
            return
        path = Path(local_path)
        if path.is_dir():
            inner = f"{artifact_path}/{path.name}" if artifact_path else path.name
            self.log_artifacts(run_id, local_path, inner)
            return
        # a checkpoint is never written again, and is large
        still = path.resolve().is_relative_to(checkpoint_folder(self.outbox.run_id))
        try:
            self.outbox.journal.append_file(path, artifact_path, link=still)
        except OSError as error:
            raise InputFault(unwritable(self.outbox.journal.folder, error)) from None

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """The files of a folder, and of those in it."""
        if not self.own(run_id):
            super().log_artifacts(self.there(run_id), local_dir, artifact_path)
            return
        root = Path(local_dir)
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            inner = file.parent.relative_to(root).as_posix()
            parts = [part for part in (artifact_path, inner) if part and part != "."]
            self.log_artifact(run_id, str(file), "/".join(parts) or None)

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[DatasetInput] | None = None,
        models: Sequence[LoggedModelInput] | None = None,
    ) -> None:
        """Data sets of the run; its models are the server's."""
        if not self.own(run_id) or models:
            super().log_inputs(self.there(run_id), datasets, models)
            return
        rows = [
            {
                "dataset": {
                    name: getattr(one.dataset, name)
                    for name in ("name", "digest", "source_type", "source", "schema", "profile")
                },
                "tags": {tag.key: tag.value for tag in one.tags},
            }
            for one in datasets or ()
        ]
        self._append("inputs", datasets=rows)

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """A new name, or a status that is no end."""
        if not self.own(run_id):
            super().update_run(self.there(run_id), status, name)
            return
        if name:
            self._append("name", name=name)
        if status:
            self._append("status", status=status, end=None)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """The end of the run."""
        if not self.own(run_id):
            super().set_terminated(self.there(run_id), status, end_time)
            return
        self._append("status", status=status or "FINISHED", end=end_time or milliseconds())

    def end(
        self, status: str, tags: Mapping[str, str], models: Sequence[str | None] = ()
    ) -> Callable[[], None] | None:
        """The end of the run, with what it says last; the journal takes nothing behind it.

        Args:
            status: FINISHED, FAILED or KILLED.
            tags: that say why.
            models: names under which its model is to be registered; None for a model without a name.

        Returns:
            None; where the disk is full, what tells the store of the end without a journal.
        """
        now, run_id = milliseconds(), self.outbox.run_id
        try:
            for name, value in tags.items():
                self.set_tag(run_id, name, value)
            self.set_terminated(run_id, status, now)
            for register in models:
                self._append("model", register=register)
        except InputFault:
            return lambda: self.outbox.sender.end(status, tags, now)
        return None

    # what is read

    def get_run(self, run_id: str) -> Run:
        """A run as the server has it, after what was written here has been sent.

        Raises:
            InputFault: the server does not answer.
        """
        if self.own(run_id):
            self.flush(files=False)
        return super().get_run(self.there(run_id))

    def get_metric_history(self, run_id: str, key: str, *arguments: Any, **options: Any) -> Any:
        """The points of a metric, as the server has them; see `get_run`."""
        if self.own(run_id):
            self.flush(files=False)
        return super().get_metric_history(self.there(run_id), key, *arguments, **options)

    def list_artifacts(self, run_id: str, path: str | None = None) -> Any:
        """The artifacts, as the server has them; see `get_run`."""
        if self.own(run_id):
            self.flush()
        return super().list_artifacts(self.there(run_id), path)

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        """A copy of an artifact, or of a folder of them; see `get_run`."""
        if self.own(run_id):
            self.flush()
        return str(super().download_artifacts(self.there(run_id), path, dst_path))

    def next_step(self, prefix: str) -> int:
        """The first step at which no metric of this begin has a point."""
        return max((step + 1 for name, step in self._recorded if name.startswith(prefix)), default=0)

    def flush(self, *, files: bool = True) -> None:
        """Wait until the server has what was written.

        Args:
            files: those, too, that it has refused so far.

        Raises:
            InputFault: it does not answer in time.
        """
        if not self.outbox.flush(_TO_READ, files=files):
            raise InputFault(
                f"run {self.outbox.run_id} is not on the tracking server yet, which takes nothing now"
            )

    def _log_points(self, metrics: Iterable[Metric], epoch: int | None) -> None:
        with self._one_point:
            new = [m for m in metrics if self._is_new(m.key, int(m.step or 0), float(m.value))]
            rows = [
                (m.key, float(m.value), int(m.timestamp or milliseconds()), int(m.step or 0))
                for m in new
            ]
            if rows:
                self._append("metrics", points=rows, epoch=epoch)
                self._recorded |= {(row[0], row[3]): row[1] for row in rows}

    def _is_new(self, name: str, step: int, value: float) -> bool:
        """Whether a point is none of the run's. Outside a training another value is another score."""
        known = self._recorded.get((name, step))
        if known is None:
            return True
        if known == value or (math.isnan(known) and math.isnan(value)) or self._resumed:
            return False
        if self._trains and not self._warned:
            self._warned = True
            log.warning(
                "warning: run %s has %s of step %s already, so %s is left out; another training needs "
                "a run of its own",
                self.outbox.run_id,
                name,
                step,
                value,
            )
        return not self._trains

    def _append(self, op: str, **content: Any) -> None:
        if self.outbox.closed:
            return
        try:
            self.outbox.journal.append(op, **content)
        except OSError as error:
            raise InputFault(unwritable(self.outbox.journal.folder, error)) from None

    def own(self, run_id: str) -> bool:
        """Whether this is the client's own run, which is still written."""
        own = run_id in (self.outbox.run_id, self.outbox.sender.run_id)
        return own and not self.outbox.closed

    def there(self, run_id: str) -> str:
        """The store's id of a run."""
        known = self.outbox.sender.run_id
        return known if known is not None and run_id == self.outbox.run_id else run_id
