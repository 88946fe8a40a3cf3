"""What the machine does while a run is made: CPU, memory, disk and GPU, every few seconds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from mufnet_lightning.tracking.journal import milliseconds
from mufnet_lightning.tracking.outbox_client import MACHINE

if TYPE_CHECKING:
    from mufnet_lightning.tracking.outbox_client import OutboxClient

log = logging.getLogger(__name__)


class MachineMonitor(SystemMetricsMonitor):
    """MLflow's monitor, which neither asks nor tells a server: its points go into the journal.

    Args:
        client: of the run.
        run_id: of the run.
        step: of its first point; a run that goes on has some.
    """

    def __init__(self, client: OutboxClient, run_id: str, step: int = 0) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            run_id, sampling_interval=5, tracking_uri=client.outbox.sender.uri
        )
        self._client = client
        self._logging_step = step

    def monitor(self) -> None:
        """Until `finish`."""
        while not self._shutdown_event.is_set():
            for _ in range(self.samples_before_logging):
                self.collect_metrics()  # type: ignore[no-untyped-call]
                if self._shutdown_event.wait(self.sampling_interval):
                    return
            try:
                self.publish_metrics(self.aggregate_metrics())  # type: ignore[no-untyped-call]
            except Exception as error:  # it must not end a training
                log.debug("the machine is not watched any more: %s", error)
                return

    def finish(self) -> None:
        """Stop."""
        self._shutdown_event.set()
        if self._process is not None:
            self._process.join()
            self._process = None

    def publish_metrics(self, metrics: dict[str, Any]) -> None:
        """Write a point of each into the journal."""
        from mlflow.entities import Metric

        prefix = MACHINE + (f"{self.node_id}/" if self.node_id else "")
        now, step = milliseconds(), self._logging_step
        points = [Metric(f"{prefix}{name}", value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, points)
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()
