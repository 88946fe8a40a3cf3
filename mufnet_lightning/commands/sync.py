"""`mufnet sync`: what runs could not tell the tracking store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress


@dataclass(frozen=True)
class Sync:
    """Send what runs recorded while the tracking server was away; close those that were killed.

    So are cross-validations, comparisons and reports that were killed here. A run whose process still
    works sends by itself, and is left alone.
    """

    def run(self) -> None:
        """Send the journals in mlruns/outbox, a line a run; each is removed when all of it arrived.

        Raises:
            InputFault: the store cannot be reached, or used; what was sent stays sent.
        """
        from mufnet_lightning.tracking.journal import journals
        from mufnet_lightning.tracking.opening import absent
        from mufnet_lightning.tracking.runs import STORE_FOLDER, tracking_uri
        from mufnet_lightning.tracking.written_directly import close_killed, left_directly

        closed = close_killed()
        for name in closed:
            print(f"run {name}: its process was killed; it is closed as KILLED")
        away = absent(tracking_uri()) if left_directly() else ""
        if not journals(STORE_FOLDER):
            if away:
                raise InputFault(f"runs whose process was killed cannot be closed: {away}")
            if not closed:
                print("nothing to send")
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        from mufnet_lightning.system.log import console
        from mufnet_lightning.tracking.left_over import left_over
        from mufnet_lightning.training.messages import quiet_libraries

        all_of_them, waiting = journals(STORE_FOLDER), left_over()
        for folder in all_of_them:
            if folder not in waiting:
                print(f"run {folder.name} is being made, and sends by itself")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with quiet_libraries(), Progress(*columns, console=console(), transient=True) as progress:
            faults: list[str] = []
            for folder in waiting:
                try:
                    _send(folder, progress)
                except InputFault as fault:
                    faults += fault.faults
        if faults:
            raise InputFault(faults)


def _send(folder: Path, progress: Progress) -> None:
    from mufnet_lightning.inference.logged_model import keep_last_model
    from mufnet_lightning.tracking.left_over import LeftOver
    from mufnet_lightning.tracking.liveness import held
    from mufnet_lightning.tracking.mlflow_calls import Unsent
    from mufnet_lightning.tracking.opening import without_password
    from mufnet_lightning.tracking.views import run_link_line

    with held(folder.name, to_send=True):
        run = LeftOver(folder, keep_last_model)
        count = run.left
        task = progress.add_task(run.name, total=count)
        try:
            gone = run.send(lambda number: progress.advance(task, number))
        except Unsent as reason:
            raise InputFault(
                f"{without_password(run.sender.uri)} does not take the records of run {run.name}: "
                f"{reason}; {run.left} of them are kept in {folder}"
            ) from None
        progress.remove_task(task)
        if run.sender.run_id is None:  # killed before its first record was whole
            return
        run_link_line(str(run.sender.run_id))  # gives the study its views and colours, as a fit does
        if run.superseded:
            print(
                f"run {run.name} {run.sender.run_id}: {run.status}; went on elsewhere, nothing is sent"
            )
        elif gone or count:
            rest = "" if gone else "; what its last epoch said waits, in case it is gone on with"
            records = f"{count} record{'' if count == 1 else 's'}"
            print(f"run {run.name} {run.sender.run_id}: {records} sent, {run.status}{rest}")
