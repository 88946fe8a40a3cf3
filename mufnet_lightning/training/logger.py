"""The MLflow run that a training writes into."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from mufnet_lightning.tracking.runs import Tracking, open_study, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RunLogger(MLFlowLogger):
    """An MLflow run that is closed once, by whoever opened it.

    Lightning would close it after `fit`, before validation and test are scored; a run that broke off
    there would look finished.
    """

    def __init__(
        self,
        where: Tracking,
        run_name: str,
        tags: Mapping[str, str],
        resumed_run: str | None = None,
    ) -> None:
        super().__init__(
            experiment_name=where.study,
            run_name=where.run_name or run_name,
            tracking_uri=tracking_uri(),
            tags=dict(tags),
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
        return super().experiment

    @property
    def run(self) -> str:
        """The run's id, on the process that records."""
        return str(self.run_id)

    @property
    def opened(self) -> bool:
        """Whether there is a run yet; it is created on first use."""
        return self._initialized

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
