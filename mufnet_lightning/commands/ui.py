"""`mufnet ui`: MLflow's pages over the runs."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

from mufnet_lightning.commands.options import option, word
from mufnet_lightning.errors import InputFault

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ui:
    """Serve MLflow's pages over the runs of this folder, to this machine alone, until Ctrl-C.

    Args:
        study: study whose runs the printed address opens; all studies unless given
        port: of the address
    """

    study: Annotated[str | None, word("STUDY")] = None
    port: Annotated[int, option("N")] = 5000

    def run(self) -> None:
        """Serve until interrupted; the address is printed first."""
        from mufnet_lightning.tracking.runs import mlflow_client, tracking_uri

        page = ""
        if self.study is not None:
            experiment = mlflow_client().get_experiment_by_name(self.study)
            if experiment is None:
                raise InputFault(f"there is no study {self.study!r} in {tracking_uri()}")
            page = f"/#/experiments/{experiment.experiment_id}"
        print(f"http://127.0.0.1:{self.port}{page}", flush=True)
        command = [sys.executable, "-m", "mlflow", "ui", "--host=127.0.0.1", f"--port={self.port}"]
        ended = subprocess.run([*command, f"--backend-store-uri={tracking_uri()}"], check=False)
        if ended.returncode:
            raise InputFault(
                f"MLflow's pages ended with exit code {ended.returncode} (is port {self.port} free?)"
            )
