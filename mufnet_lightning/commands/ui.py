"""`mufnet ui`: MLflow's pages, opened on the comparison."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from mufnet_lightning.commands.options import option, word
from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    import psutil

log = logging.getLogger(__name__)

LIGHT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its processes judge traces of language models
    "PYTHONWARNINGS": "ignore",  # of what MLflow imports
}
"""Of the server's environment, where the user's own says nothing else (telemetry is off already)."""
SECONDS_TO_ANSWER = 120.0
SECONDS_TO_ASK = 5.0
"""For a server that is not ours; it runs already, or does not."""
SECONDS_TO_CLOSE = 3
UVICORN = f"--log-level warning --lifespan off --timeout-graceful-shutdown {SECONDS_TO_CLOSE}"
"""A lifespan is for containers of MLflow's assistant; Ctrl-C breaks into it with a traceback."""


@dataclass(frozen=True)
class Ui:
    """Serve MLflow's pages over the runs of this folder, to this machine alone, until Ctrl-C.

    They open on the study's arms with their test AUC. Where MLFLOW_TRACKING_URI names a server, nothing
    is started: its pages are opened.

    Args:
        study: that is opened; the one with the latest run unless given
        port: of the address
        no_browser: print the address and open nothing
    """

    study: Annotated[str | None, word("STUDY")] = None
    port: Annotated[int, option("N")] = 5000
    no_browser: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise InputFault(f"--port is {self.port}, expected 1 to 65535")

    def run(self) -> None:
        """Print the addresses, open the first in a browser where there is one, serve until stopped."""
        import psutil

        from mufnet_lightning.tracking.left_over import send_left_over
        from mufnet_lightning.tracking.views import HOST, is_remote, server_address

        send_left_over(0)
        server = server_address()
        if is_remote():
            _check_answers(server)
            with _faults_of(server):
                addresses = self._addresses(server)
            self._show(server, addresses)
            return
        server = f"http://{HOST}:{self.port}"
        _check_free(HOST, self.port)
        with _faults_of("the store"):  # a study that is not there is told before anything starts
            addresses = self._addresses(server)
        os.environ.update({name: os.environ.get(name, value) for name, value in LIGHT.items()})

        started: list[psutil.Process] = []  # by MLflow; a browser that is opened is the user's

        def show_when_it_answers() -> None:
            if _answers(f"{server}/health"):
                started.extend(psutil.Process().children(recursive=True))
                log.info("serving until Ctrl-C")
                self._show(server, addresses)

        threading.Thread(target=show_when_it_answers, daemon=True).start()
        if not _serve(HOST, self.port, started):
            raise InputFault("MLflow's server ended by itself; its own words stand above")

    def _show(self, server: str, addresses: Mapping[str, str]) -> None:
        """Print them, a line a study, and open the first: MLflow's own list leads to its AI pages."""
        first, *more = addresses.values() or [f"{server}/#/experiments"]
        for name, address in addresses.items() if more else [("", first)]:
            print(f"{name}  {address}".strip(), flush=True)
        if not self.no_browser and _can_open():
            import webbrowser

            webbrowser.open(first)

    def _addresses(self, server: str) -> dict[str, str]:
        """By study: of the one that is asked for, or of all, that with the latest run first.

        Views are written into the first alone. The others, which on a server may be somebody else's,
        are left as they are.
        """
        from mufnet_lightning.tracking.runs import find_study, tracking_uri
        from mufnet_lightning.tracking.views import experiment_link, runs_page

        if self.study is not None:
            return {self.study: experiment_link(find_study(self.study), server=server)}
        names = _experiments()
        latest = _latest_study(names)
        if latest is None:
            log.info("there is no study with runs in %s yet", tracking_uri())
            return {}
        first = {names.pop(latest): experiment_link(latest, server=server)}
        others = sorted((name, study) for study, name in names.items() if name != "Default")
        return first | {name: runs_page(study, server) for name, study in others}


def _check_answers(server: str) -> None:
    """Ask a tracking server once, and shortly: MLflow itself would try for minutes, in silence.

    Raises:
        InputFault: it does not answer.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    from mufnet_lightning.tracking.runs import tracking_uri

    try:
        answer = http_request(
            get_default_host_creds(tracking_uri()),
            "/version",
            "GET",
            max_retries=0,
            timeout=SECONDS_TO_ASK,
            raise_on_status=False,
        )
    except (MlflowException, OSError) as error:
        log.debug("%s", error)
        raise InputFault(
            f"{server}, which MLFLOW_TRACKING_URI names, does not answer: "
            "expected an MLflow server that runs"
        ) from None
    if answer.status_code >= 500:
        raise InputFault(
            f"{server}, which MLFLOW_TRACKING_URI names, answers with HTTP {answer.status_code}: "
            "expected an MLflow server that runs"
        )


@contextmanager
def _faults_of(store: str) -> Iterator[None]:
    """What MLflow raises, in one sentence and without the password that an address may hold."""
    from mlflow.exceptions import MlflowException

    from mufnet_lightning.tracking.runs import tracking_uri

    try:
        yield
    except MlflowException as error:
        text = str(error.message).replace(tracking_uri().rstrip("/"), store)
        first = (text.strip().splitlines() or [type(error).__name__])[0]
        raise InputFault(f"{store} cannot be asked for its runs; MLflow says: {first[:300]}") from None


def _experiments() -> dict[str, str]:
    """The name of each experiment by its id."""
    from mufnet_lightning.tracking.runs import mlflow_client

    names: dict[str, str] = {}
    page = None
    while True:
        answer = mlflow_client().search_experiments(page_token=page)
        names |= {str(experiment.experiment_id): str(experiment.name) for experiment in answer}
        page = answer.token
        if not page:
            return names


def _latest_study(names: Mapping[str, str]) -> str | None:
    """The id of the experiment with the latest run of ours: one whose tag `study` is its name.

    Args:
        names: of the experiments, by id.
    """
    from mufnet_lightning.tracking.runs import TrackedRun, mlflow_client

    if not names:
        return None
    tagged = mlflow_client().search_runs([*names], "tags.study LIKE '%'", max_results=100)
    runs = (TrackedRun.of(run) for run in tagged)
    return next((run.experiment_id for run in runs if run.study == names[run.experiment_id]), None)


def _serve(host: str, port: int, started: Sequence[psutil.Process]) -> bool:
    """Run MLflow's server until it ends; nothing that it started is left.

    It runs in this process and one more: MLflow's command starts a worker and waits for it.

    Args:
        host, port: where it listens.
        started: its processes, once it answers.

    Returns:
        Whether it was stopped by a signal.
    """
    import click
    import psutil
    from mlflow.cli import cli

    from mufnet_lightning.tracking.runs import tracking_uri

    uri = tracking_uri()
    words = [
        "server",
        f"--host={host}",
        f"--port={port}",
        "--workers=1",
        f"--backend-store-uri={uri}",
        f"--registry-store-uri={uri}",
        f"--uvicorn-opts={UVICORN}",
    ]
    with _signals() as came:
        try:
            cli.main(words, prog_name="mlflow", standalone_mode=False)
        except SystemExit as stop:
            log.debug("MLflow's command ended with %s", stop.code)
        except click.ClickException as error:
            raise InputFault(f"MLflow's command says: {error.format_message()}") from None
        finally:
            family = [*started] or psutil.Process().children(recursive=True)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
            _, alive = psutil.wait_procs(family, SECONDS_TO_CLOSE + 1)
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        return came()


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Tell, afterwards, whether a signal to end came, whoever handled it (MLflow has its own way)."""
    here, there = socket.socketpair()
    there.setblocking(False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)  # until MLflow's is in place
    wakeup = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)

    def came() -> bool:
        ready, _, _ = select.select([here], [], [], 0)
        return bool(ready) and bool(set(here.recv(64)) & {signal.SIGINT, signal.SIGTERM})

    try:
        yield came
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        here.close()
        there.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check_free(host: str, port: int) -> None:
    """Refuse a port that somebody listens on, before anything is started."""
    reason = _why_taken(host, port)
    if reason:
        other = next(
            (n for n in range(port + 1, min(port + 50, 65536)) if not _why_taken(host, n)), None
        )
        raise InputFault(
            f"port {port} of {host} cannot be had ({reason}): end what uses it, perhaps another "
            "`mufnet ui`, or give another port" + (f" (--port {other})" if other else "")
        )


def _why_taken(host: str, port: int) -> str:
    """What the system says when one listens there; empty where one can."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # there it would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _answers(address: str) -> bool:
    """Wait until it does."""
    from urllib.request import ProxyHandler, build_opener

    ask = build_opener(ProxyHandler({})).open  # a proxy has no business with this machine's own pages
    end = time.monotonic() + SECONDS_TO_ANSWER
    while time.monotonic() < end:
        try:
            with ask(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.2)
    return False


def _can_open() -> bool:
    """Whether somebody sits before a display: a terminal, and where windows open."""
    display = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return sys.stdout.isatty() and display
