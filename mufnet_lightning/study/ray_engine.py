"""Jobs on a Ray cluster, or on this machine as Ray sees it; a job whose machine is lost begins again.

What has to be shared between the machines, and is looked at before anything begins: the working folder
(with `mlruns/`, where checkpoints lie) and the crop store, by the same paths, and an MLflow server.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.engines import JobEvent, JobLines
from mufnet_lightning.study.job import FoldJob, JobEnd
from mufnet_lightning.study.local_engine import LocalEngine
from mufnet_lightning.study.ray_machines import Seen, differences, look
from mufnet_lightning.system.network import silence_of
from mufnet_lightning.system.processes import cores
from mufnet_lightning.tracking.liveness import machine
from mufnet_lightning.tracking.opening import database_of
from mufnet_lightning.tracking.runs import STORE_FOLDER, tracking_uri

RETRIES = 3
"""How often a job begins again whose worker, or machine, is lost."""
_QUEUED = 16
"""Jobs that a cluster is given at least, so that one that grows by itself knows what is wanted."""
_A_LOOK = 0.5
_PROBE = 600.0  # seconds for a machine to answer: its first worker reads all libraries, maybe by NFS
_PATIENCE = 20.0  # seconds before a line says what is waited for
_PASSED_ON = ("MLFLOW_", "MUFNET_")
"""Environment variables of this process that jobs on other machines get."""
log = logging.getLogger(__name__)


@dataclass
class _Queued:
    job: FoldJob
    task: Any
    left: int


class RayEngine:
    """See the top of this module.

    Args:
        address: of a running cluster, as `auto` or `HOST:6379`; None: this machine alone.
        jobs: at once, and queued; None: twice as many as there is room for.

    Raises:
        InputFault: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str | None = None, jobs: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault(
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1"
        )  # no GPU where none is asked for
        try:
            import ray
        except ImportError:
            raise InputFault("the engine ray needs Ray: pip install 'mufnet-lightning[ray]'") from None
        if address is not None and "://" in address:
            raise InputFault(
                f"--ray-address {address}: Ray's client cannot tell how far a job is; call this on a "
                "machine of the cluster, with --ray-address auto or HOST:6379"
            )
        if address is not None and (reason := silence_of(address)):
            raise InputFault(f"--ray-address {address}: no cluster answers ({reason})")
        self._ray: Any = ray  # its decorators are typed for functions that are known
        own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
        handler = signal.getsignal(signal.SIGTERM)  # Ray takes it, and ends without closing a run
        try:
            ray.init(
                address or "local",
                **(own if address is None else {}),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputFault(
                f"--ray-address {address}: no cluster answers ({reason}); if it asks for a token, this "
                "machine needs the same one (see docs/cluster.md)"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
        self._jobs = jobs
        self._events: SimpleQueue[tuple[_Queued, JobEvent | None]] = SimpleQueue()
        self._queued: dict[str, _Queued] = {}
        self._left: dict[str, int] = {}
        """How often each job may still begin again."""
        self._closed = False

    def reach(self, folders: Sequence[Path]) -> None:
        """Look from each machine whether it sees the working folder, these folders, and this program.

        Raises:
            InputFault: one does not, or the runs are recorded in a file that only this machine may
                write.
        """
        token = STORE_FOLDER / "locks" / f"ray-{uuid.uuid4().hex}"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text("", encoding="utf-8")
        wanted = [token.resolve(), *(folder.resolve() for folder in folders)]
        try:
            seen = self._look_from_each(wanted)
        finally:
            token.unlink(missing_ok=True)
        faults = []
        for node, answer in seen.items():
            if isinstance(answer, str):
                faults.append(f"machine {node}: {answer}")
            else:
                faults += differences(node, answer, wanted, folders)
        others = [node for node, one in seen.items() if not isinstance(one, str) and not one.is_here]
        if others and not faults and database_of(tracking_uri()) is not None:
            faults.append(
                f"jobs would run on other machines ({', '.join(others)}), and runs are recorded in a "
                "SQLite file, which only one machine may write; start `mlflow server` where all of "
                "them reach it, and name it in MLFLOW_TRACKING_URI (see docs/cluster.md)"
            )
        if faults:
            raise InputFault(faults)

    def takes(self, job: FoldJob) -> bool:
        """Whether it may be queued."""
        if self._jobs is not None:
            return len(self._queued) < self._jobs
        there = self._ray.cluster_resources()
        kind, needed = ("GPU", job.devices) if self._on_gpu(job) else ("CPU", job.threads)
        return len(self._queued) < max(_QUEUED, 2 * int(there.get(kind, 0)) // needed)

    def begin(self, job: FoldJob) -> None:
        """Queue it.

        Raises:
            InputFault: it asks for more GPUs than any machine has.
        """
        most = self._largest("GPU")
        if self._on_gpu(job) and job.devices > most:
            raise InputFault(f"{job.name} asks for {job.devices} GPUs, and no machine has over {most}")
        one = _Queued(job, None, self._left.setdefault(job.name, RETRIES))
        self._queued[job.name] = one
        self._submit(one)

    def events(self, seconds: float) -> list[JobEvent]:
        """See `Engine`."""
        events: list[JobEvent] = []
        wait = seconds
        with suppress(Empty):
            while True:
                one, event = self._events.get(timeout=wait)
                wait = 0.0
                if event is not None and not (isinstance(event, JobEnd) and self._again(one, event)):
                    events.append(event)
        return events

    def stop(self, job: FoldJob) -> None:
        """See `Engine`."""
        one = self._queued.get(job.name)
        if one is not None:
            one.left = 0
            self._ray.cancel(one.task)

    def close(self) -> None:
        """Stop all jobs, those in the queue too, and leave the cluster."""
        self._closed = True
        for one in self._queued.values():
            with suppress(Exception):  # it has just ended
                self._ray.cancel(one.task)
        with suppress(Exception):
            left = [one.task.completed() for one in self._queued.values()]
            self._ray.wait(left, num_returns=len(left), timeout=15.0)  # each closes its run
        self._ray.shutdown()

    def _largest(self, kind: str) -> int:
        """Of what the machines have each."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        return max((int(node["Resources"].get(kind, 0)) for node in nodes), default=0)

    def _on_gpu(self, job: FoldJob) -> bool:
        return job.devices > 0 and self._ray.cluster_resources().get("GPU", 0) > 0

    def _submit(self, one: _Queued) -> None:
        on_gpu = self._on_gpu(one.job)
        options = {
            # on a machine that has fewer cores it computes with as many threads, and the same bits
            "num_cpus": 1 if on_gpu else min(one.job.threads, max(1, self._largest("CPU"))),
            "num_gpus": one.job.devices if on_gpu else 0,
            "max_retries": 0,  # a stream would be told from its beginning; see `_again`
            "num_returns": "streaming",
            "name": one.job.name,
        }
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        environment["MLFLOW_TRACKING_URI"] = tracking_uri()
        task = self._ray.remote(**options)(_run_job)
        one.task = task.remote(one.job, str(Path.cwd()), environment)
        threading.Thread(
            target=self._hear, args=(one, one.task), daemon=True, name=f"ray {one.job.name}"
        ).start()

    def _hear(self, one: _Queued, task: Any) -> None:
        """Pass on what a job tells, to its end."""
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        ended = False
        try:
            for batch in task:
                for event in self._ray.get(batch):
                    ended = ended or isinstance(event, JobEnd)
                    self._events.put((one, event))
            if not ended:
                self._events.put((one, JobEnd(one.job, "lost", ("ended without a word",))))
        except TaskCancelledError:
            self._events.put((one, JobEnd(one.job, "stopped")))
        except RayTaskError as error:
            log.error("%s: %s", one.job.name, error)
            self._events.put((one, JobEnd(one.job, "failed")))
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            self._events.put((one, JobEnd(one.job, "lost", (f"its worker is lost ({reason})",))))
        except Exception as error:
            if not self._closed:  # else Ray is shut down
                self._events.put((one, JobEnd(one.job, "lost", (f"cannot be heard ({error})",))))

    def _again(self, one: _Queued, end: JobEnd) -> bool:
        """Begin a job again whose worker is lost; whether it is."""
        self._queued.pop(one.job.name, None)
        if end.outcome != "lost" or not one.left:
            return False
        log.warning("warning: %s: %s; it begins again", one.job.name, "; ".join(end.faults))
        one.left -= 1
        self._left[one.job.name] = one.left
        self._queued[one.job.name] = one
        self._submit(one)
        return True

    def _look_from_each(self, paths: Sequence[Path]) -> Mapping[str, Seen | str]:
        """What each machine of the cluster says, by its name."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(num_cpus=0, max_retries=0)(look)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        asked = {
            f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})": task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(str(Path.cwd()), [str(path) for path in paths], machine())
            for node in nodes
        }
        answers: dict[str, Seen | str] = {}
        names = {answer: name for name, answer in asked.items()}
        until, is_told = time.monotonic() + _PROBE, False
        while names and (left := until - time.monotonic()) > 0:
            there, _ = self._ray.wait(list(names), timeout=left if is_told else min(left, _PATIENCE))
            for answer in there:
                answers[names.pop(answer)] = self._answer(answer)
            if not there and not is_told:
                is_told = True
                log.info(
                    "waiting for the first answer of machine %s (up to %.0f s)",
                    ", ".join(names.values()),
                    _PROBE,
                )
        for answer, name in names.items():
            self._ray.cancel(answer)
            answers[name] = f"no worker of it answered within {_PROBE:.0f} s"
        return answers

    def _answer(self, answer: Any) -> Seen | str:
        try:
            seen: Seen = self._ray.get(answer)
        except Exception as error:
            return f"cannot run a job: {str(error).strip().splitlines()[-1]}"
        return seen


def _run_job(job: FoldJob, folder: str, environment: Mapping[str, str]) -> Iterator[list[JobEvent]]:
    """On a worker: the job in a process of its own, and what it tells."""
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(_PASSED_ON)]:
        del os.environ[name]
    os.environ.update(environment)
    lines: SimpleQueue[str] = SimpleQueue()
    engine = LocalEngine(1, lines.put)
    ended = False
    try:
        engine.begin(job)
        while not ended:
            events = engine.events(_A_LOOK)
            ended = any(isinstance(event, JobEnd) for event in events)
            said = []
            with suppress(Empty):
                while True:
                    said.append(lines.get_nowait())
            if said:
                events.insert(0, JobLines(job, tuple(said)))
            if events:
                yield events
    finally:
        engine.close()
