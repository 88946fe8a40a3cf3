"""What is left when a write fails, or the command is killed: does the next call make it whole?

    python benchmarks/crash.py prepare|fit|cv ... [--kinds kill torn ...] [--points N ...]
    python benchmarks/crash.py prepare|fit|cv ... --sigkill 50

Runs a command on a tiny phantom once undisturbed, which counts its write points (see
`mufnet_lightning.system.write_points`), then once for each point and each kind of fault, and after each
of these once more, undisturbed, as its user would go on. What is there in the end is held against the
undisturbed run, bit for bit. `prepare`: crops and every table of the store. `fit` and `cv`: of every
run that is FINISHED the predictions and the histories of its metrics (no point doubled, none missing),
how many such runs there are, and whether one is left RUNNING. Of a fault that is an error of the system
the command has to tell in one sentence; nothing half-written may be left beside what it made.

    kill        SIGKILL to the process at the point, be it the command or one of its workers
    killgroup   to the command and its workers
    torn        what is written there is written by half, then killgroup
    power       killgroup, and every file that was not brought to the disk is full of zeros
    ENOSPC, EIO, EACCES     the system refuses this one step
    full        ENOSPC at this step and every later one that takes room

The commands are forked from a process that has imported everything. `--sigkill` starts the real one and
kills it (or its group, in turn) at a random time after its first write. Prints Markdown; exits with 1
where anything was lost.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mufnet_lightning import cli
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.store.inputs import SEEN
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.system import processes
from mufnet_lightning.system.processes import cores, progress_bar
from mufnet_lightning.system.write_points import FAULT, LOG, WIDTH
from mufnet_lightning.tracking.opening import open_client

KINDS = ("kill", "killgroup", "torn", "power", "ENOSPC", "full", "EIO", "EACCES")
ERRORS = KINDS[4:]
COMMANDS = ("prepare", "fit", "cv")
FOLDERS = ("store", "cohort", "mlruns")
UNNAMED = "so nothing names this cohort"
"""What is said where the cohort's folder is read-only: then a store without a cohort is right."""
NO_FAULTS = tuple(f"mufnet: {word}" for word in ("warning: ", "risks: ", "cv does not count "))
"""What is said besides a fault."""
State = dict[str, object]


@dataclass(frozen=True)
class End:
    """How a command ended: exit code (negative: by a signal, None: not in time), what it said."""

    code: int | None
    said: str

    @property
    def sentences(self) -> list[str]:
        """Its faults."""
        lines = [line for line in self.said.splitlines() if line.startswith("mufnet: ")]
        return [line for line in lines if not line.startswith(NO_FAULTS)]


@dataclass(frozen=True)
class Case:
    """A fault, and what became of it; `problems` is empty where nothing was lost."""

    command: str
    kind: str
    number: int
    step: str = ""
    problems: tuple[str, ...] = field(default=())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("commands", nargs="+", choices=COMMANDS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--points", nargs="+", type=int, help="numbers of write points [all]")
    parser.add_argument("--sigkill", type=int, default=0, help="random SIGKILLs of the real command")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds a command may take [300]")
    parser.add_argument("--jobs", type=int, default=cores(), help="cases at the same time [all cores]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", nargs="+", choices=("steps", "points"), default=["steps"])
    options = parser.parse_args()
    _import_all(options.commands)
    lost = 0
    with scratch_folder() as folder:
        for command in options.commands:
            attack = make_attack(command, folder, options.timeout, long=options.sigkill > 0)
            print(f"{command}: {attack.points} write points", flush=True)
            start = time.perf_counter()
            if options.sigkill:
                cases = killed_at_random(attack, options)
            else:
                cases = failed_at_every_point(attack, options)
            print("\n".join(tables(command, cases, options.tables)))
            print(f"\n{len(cases)} cases in {time.perf_counter() - start:.0f} s.\n", flush=True)
            lost += sum(bool(case.problems) for case in cases)
    return int(lost > 0)


def _import_all(commands: Sequence[str]) -> None:
    """What the forked commands need, once."""
    import mufnet_lightning.commands.prepare

    if set(commands) - {"prepare"}:
        import mufnet_lightning.commands.cv
        import mufnet_lightning.commands.lightning
        import mufnet_lightning.commands.sync
        import mufnet_lightning.study.cross_validate
        import mufnet_lightning.training.cli  # noqa: F401
        from mufnet_lightning.evaluation.figures import STYLE

        STYLE["pdf.fonttype"] = 3  # to cut fonts to a PDF's letters is a fifth of a case's time


def _import_more(attack: Attack) -> None:
    """And what it imports on its way, which each forked command would do again."""
    with copy_of(attack.template) as folder:
        names = folder.with_name("modules")
        forked(attack.words(), folder, attack.timeout, {}, names)
        for name in names.read_text().split():
            if name not in sys.modules and "__main__" not in name:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


@dataclass(frozen=True)
class Attack:
    """A command in a folder of its own, and what it makes there undisturbed.

    Attributes:
        command: verb.
        template: the folder as it is before.
        points: that it passes.
        state: what is there afterwards, where two undisturbed runs agree.
        seconds: from its first write to its end, of the real command; 0 where it was not measured.
        timeout: seconds.
    """

    command: str
    template: Path
    timeout: float
    points: int = 0
    state: State = field(default_factory=dict)

    def words(self) -> list[str]:
        """The command."""
        if self.command == "prepare":
            return ["prepare", "cohort", "store"]
        tiny = ["--config=fused", "--config=demo", "--data.store=store", "--data.image_size=64"]
        tiny += ["--data.batch_size=8", "--trainer.max_epochs=3", "--trainer.accelerator=cpu"]
        tiny += ["--explain.enabled=false", "--tracking.figures=false", "--data.n_folds=2"]
        tiny += ["--data.protocol=nested"]
        if self.command == "cv":
            tiny += ["--jobs=1"]  # two folds at once would pass their points in another order each time
        return [self.command, *tiny]

    def words_again(self, folder: Path) -> list[list[str]]:
        """How its user goes on, by turns: what is refused is followed by the next."""
        if self.is_done(folder):
            return [["sync"]]
        if self.command == "fit":
            stopped = [run for run, status in runs_of(folder) if status != "FINISHED"]
            return [[*self.words(), f"--ckpt_path=runs:/{run}"] for run in stopped] + [self.words()]
        return [self.words()]

    def is_done(self, folder: Path) -> bool:
        """Whether its work is done, so that only `mufnet sync` is left to call."""
        return self.command == "fit" and "FINISHED" in [status for _, status in runs_of(folder)]

    def begun(self, folder: Path) -> bool:
        """Whether it has written anything."""
        if self.command == "prepare":
            return (folder / ".store.partial").exists() or (folder / "store").exists()
        return bool(runs_of(folder))


def make_attack(command: str, work: Path, timeout: float, long: bool = False) -> Attack:
    """Make the phantom, and run the command twice undisturbed.

    Args:
        command: verb.
        work: an empty folder.
        timeout: seconds.
        long: let `prepare` work for some seconds, to be killed in.
    """
    template = work / f"{command} before"
    template.mkdir()
    patients = {"prepare": 12 if long else 2}.get(command, 20)
    frames = 60 if command == "prepare" and long else 2
    phantom = PhantomOptions(
        patients=patients,
        high_share=0.5,
        frames=frames,
        clip_length=2 * frames,
        pane_size=128,
        frames_spread=0,
    )
    with contextlib.redirect_stdout(None):
        write_phantom(template / "cohort", phantom)
        if command == "prepare":
            (template / "cohort/cohort.json").unlink()  # it is a write of the command's
        else:
            prepare_store(template / "cohort", template / "store")
            database = f"sqlite:///{template.resolve()}/mlruns/mlflow.db"
            (template / "mlruns").mkdir()
            made = multiprocessing.get_context("fork").Process(target=open_client, args=(database,))
            made.start()  # its tables take a second to make, none of it at a write point
            made.join()
            (template / "mlruns/.mlflow.db.lock").unlink(missing_ok=True)
    attack = Attack(command, template, timeout)
    _import_more(attack)
    states, points = [], 0
    for _ in range(2):
        with copy_of(template) as folder:
            log = folder.with_name(f"{folder.name}.log")
            end = forked(attack.words(), folder, timeout, {FAULT: "count", LOG: str(log)})
            if end.code != 0:
                raise SystemExit(f"mufnet {command} ended with {end.code} undisturbed:\n{end.said}")
            points = log.stat().st_size // WIDTH if log.exists() else 0
            states.append(state_of(command, folder))
            log.unlink(missing_ok=True)
    same = {name: value for name, value in states[0].items() if states[1].get(name) == value}
    return Attack(command, template, timeout, points, same)


@contextlib.contextmanager
def copy_of(template: Path) -> Iterator[Path]:
    """The folder of a case: always of the same name, as paths are in what is logged."""
    with scratch_folder(template.parent) as scratch:
        yield Path(shutil.copytree(template, scratch / "work"))


@contextlib.contextmanager
def scratch_folder(within: Path | None = None) -> Iterator[Path]:
    """No TemporaryDirectory: that would go with the first forked command that ends."""
    scratch = Path(tempfile.mkdtemp(prefix="mufnet-crash-", dir=within))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def failed_at_every_point(attack: Attack, options: argparse.Namespace) -> list[Case]:
    """A case for each point and kind."""
    numbers = options.points or range(1, attack.points + 1)
    cases = [(attack, kind, number) for number in numbers for kind in options.kinds]
    return _side_by_side(one_fault, cases, f"{attack.command}: write points", options.jobs)


def killed_at_random(attack: Attack, options: argparse.Namespace) -> list[Case]:
    """So many SIGKILLs of the real command, at random times after its first write."""
    random_times = random.Random(options.seed)
    with copy_of(attack.template) as folder:
        process = real(attack.words(), folder)
        wait_until(lambda: attack.begun(folder) or process.poll() is not None, attack.timeout)
        start = time.perf_counter()
        if process.wait(attack.timeout) != 0:
            raise SystemExit(f"mufnet {attack.command} ended with {process.returncode} undisturbed")
        length = time.perf_counter() - start
    cases = [
        (attack, ("SIGKILL", "SIGKILL to the group")[number % 2], random_times.uniform(0, length))
        for number in range(options.sigkill)
    ]
    return _side_by_side(one_sigkill, cases, f"{attack.command}: SIGKILLs", options.jobs)


def _side_by_side(
    work: Callable[..., Case], cases: Sequence[tuple[object, ...]], title: str, jobs: int
) -> list[Case]:
    made = []
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, context) as pool, progress_bar(title, len(cases)) as advance:
        for future in as_completed([pool.submit(work, *case) for case in cases]):
            made.append(case := future.result())
            if case.problems:
                print(_told(case), flush=True)
            if len(made) % 50 == 0:
                bad = sum(bool(one.problems) for one in made)
                print(f"{title}: {len(made)} of {len(cases)} cases, {bad} not whole", flush=True)
            advance()
    return sorted(made, key=lambda case: (case.number, case.kind))


def one_fault(attack: Attack, kind: str, number: int) -> Case:
    """Fail once, go on, compare."""
    with copy_of(attack.template) as folder:
        log = folder.with_name("points")
        start = time.time_ns()
        asked = {"power": f"killgroup:{number}", "full": f"ENOSPC:{number}+"}
        environment = {FAULT: asked.get(kind, f"{kind}:{number}"), LOG: str(log)}
        end = forked(attack.words(), folder, attack.timeout, environment)
        seen = log.read_text().splitlines() if log.exists() else []
        step = _step(seen[number - 1]) if number <= len(seen) else "not passed"
        if kind == "power":
            cut_power(folder, seen[: number - 1], start)
        problems = [*_said_problems(kind, end), *_after(attack, folder, end)]
        return Case(attack.command, kind, number, step, tuple(problems))


def one_sigkill(attack: Attack, kind: str, delay: float) -> Case:
    """Kill the real command, go on with it, compare; earlier, where it had ended by then."""
    while True:
        with copy_of(attack.template) as folder:
            if killed_while_it_ran(attack, kind, delay, folder):
                problems = tuple(_after(attack, folder, None))
                return Case(attack.command, kind, int(delay * 1000), "while it ran", problems)
        delay *= 0.7


def killed_while_it_ran(attack: Attack, kind: str, delay: float, folder: Path) -> bool:
    """Start the real command, and kill it so many seconds after its first write."""
    process = real(attack.words(), folder)
    wait_until(lambda: attack.begun(folder) or process.poll() is not None, attack.timeout)
    time.sleep(delay)
    ran = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        if kind == "SIGKILL":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_group(process.pid)
    return ran


def _said_problems(kind: str, end: End) -> Iterator[str]:
    """Of the call that failed."""
    if end.code is None:
        yield "hangs"
    elif "Traceback" in end.said or end.code == 1:
        yield "traceback: " + " ".join(end.said.split())[-200:]
    elif kind in ERRORS and end.code == 2:
        if len(end.sentences) != 1:
            yield f"{len(end.sentences)} sentences"
        elif not any(name in end.sentences[0] for name in FOLDERS):
            yield f"names no folder: {end.sentences[0]}"
    elif kind in ERRORS and end.code != 0:
        yield f"exit code {end.code}"


def _after(attack: Attack, folder: Path, first: End | None) -> list[str]:
    """Go on as its user would, and hold what is there against the undisturbed run."""
    end, whole = End(0, ""), False
    for words in attack.words_again(folder):
        end = forked(words, folder, attack.timeout, {})
        whole = words != ["sync"] and attack.is_done(folder)  # so that it is refused, once
        if end.code != 2 or whole:
            break
    if end.code != 0 and not (end.code == 2 and whole):
        return [f"the next call ends with {end.code}: {' '.join(end.said.split())[-300:]}"]
    state = state_of(attack.command, folder)
    expected = dict(attack.state)
    if first is not None and UNNAMED in first.said:
        expected["named"] = False
    names = sorted(expected)
    problems = [f"{name} is lost" for name in names if name not in state]
    problems += [f"{name} differs" for name in names if name in state and state[name] != expected[name]]
    return problems + left_over(attack, folder)


def left_over(attack: Attack, folder: Path) -> list[str]:
    """What is half-written and still there."""
    drafts = [path for path in folder.rglob(".*") if "partial" in path.name or ".lock" in path.name]
    return [f"{path.relative_to(folder)} is left" for path in drafts]


def state_of(command: str, folder: Path) -> State:
    """What is compared."""
    if command == "prepare":
        return store_state(folder)
    if not (folder / "mlruns/mlflow.db").is_file():
        return {}
    return tracking_state(folder)


def store_state(folder: Path) -> State:
    """Every file of a store by its digest; of store.json what its inputs decide."""
    store = folder / "store"
    state: State = {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file() and path.name not in (SEEN, "store.json")
    }
    content = json.loads((store / "store.json").read_text())
    content["named"] = content.pop("cohort", None) is not None
    named = (folder / "cohort/cohort.json").is_file()
    changing = ("created", "seal", "named")
    decided = {name: value for name, value in content.items() if name not in changing}
    return state | {"store.json": decided, "named": content["named"] and named}


def tracking_state(folder: Path) -> State:
    """Predictions and histories of all runs that are FINISHED, by their names; not of the machine."""
    state: State = {}
    with contextlib.closing(sqlite3.connect(folder / "mlruns/mlflow.db", timeout=60)) as database:
        runs = database.execute(
            "SELECT run_uuid, name, status FROM runs ORDER BY start_time"
        ).fetchall()
        state["runs FINISHED"] = sorted(name for _, name, status in runs if status == "FINISHED")
        state["runs left RUNNING"] = sum(status == "RUNNING" for _, _, status in runs)
        for run, name, status in runs:
            if status != "FINISHED":
                continue
            rows = database.execute(
                "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step, value",
                (run,),
            ).fetchall()
            points: dict[str, list[tuple[int, float]]] = {}
            for key, step, value in rows:
                if key.startswith("system/"):  # of the machine, by the clock
                    continue
                points.setdefault(key, []).append((step, value))
            for key, history in points.items():
                state[f"{name} {key}"] = history
                state[f"{name} steps of {key}"] = [step for step, _ in history]
            for file in sorted((folder / "mlruns/artifacts" / run).rglob("predictions*.csv")):
                state[f"{name} {file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return state


def runs_of(folder: Path) -> list[tuple[str, str]]:
    """Runs and their statuses."""
    file = folder / "mlruns/mlflow.db"
    if not file.is_file():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as db:
            return db.execute("SELECT run_uuid, status FROM runs ORDER BY start_time").fetchall()
    except sqlite3.Error:  # its tables are being made
        return []


def cut_power(folder: Path, passed: Sequence[str], start: int) -> None:
    """Fill with zeros whatever was written since `start` and not brought to the disk.

    Of a journal, to which lines are added, that is what lies behind the last size that was.
    """
    synced: dict[tuple[int, int], int] = {}
    sizes: dict[int, int] = {}
    for line in passed:
        kind, inode, modified, size, _ = line.split(maxsplit=4)
        if kind == "sync":
            synced[int(inode), int(modified)] = sizes[int(inode)] = int(size)
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or ".db" in path.name:  # SQLite has ways of its own
            continue
        status = path.stat()
        if status.st_mtime_ns >= start and (status.st_ino, status.st_mtime_ns) not in synced:
            kept = sizes.get(status.st_ino, 0) if path.suffix == ".jsonl" else 0
            with path.open("r+b") as file:
                file.seek(kept)
                file.write(bytes(max(0, status.st_size - kept)))


def forked(
    words: Sequence[str],
    folder: Path,
    timeout: float,
    environment: dict[str, str],
    modules: Path | None = None,
) -> End:
    """What `mufnet WORDS` does, in a process group of its own that has imported everything."""
    out = folder.with_name("said")
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            os.chdir(folder)
            os.environ.update(environment)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            _fork_workers()
            code = cli.main(words)
            if modules is not None:
                modules.write_text("\n".join(sys.modules))
            atexit._run_exitfuncs()
            sys.stdout.flush()
        finally:
            os._exit(code)
    code: int | None = None
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.005)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not wait_for_group(child):
        code = None
    return End(code, out.read_text(errors="replace") if out.exists() else "")


def _fork_workers() -> None:
    """Let the workers of a forked command be forks of it: the fork server is not its child."""
    before = processes.warm_context
    for module in list(sys.modules.values()):
        if getattr(module, "warm_context", None) is before:
            module.warm_context = lambda preload: multiprocessing.get_context("fork")  # type: ignore


def real(words: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """The real command."""
    line = [sys.executable, "-m", "mufnet_lightning", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True, **quiet)


def wait_for_group(group: int) -> bool:
    """Whether all processes of a group end within five seconds; then those that did not are killed."""

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    if wait_until(gone, 5.0):
        return True
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return False


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether it is so in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.005)
    return False


def _step(line: str) -> str:
    """A point of the log without what differs from run to run."""
    kind, _, _, _, path = line.split(maxsplit=4)
    path = re.sub(r".*/work/", "", path.strip())
    path = re.sub(r"\.partial-[0-9a-f]{6}-\d+-\d+-", "draft of ", path)
    path = re.sub(r"\b[0-9a-f]{16,}\b", "*", path)
    path = re.sub(r"\bp?\d{6}_(bmode|ceus)", "*", path)
    return f"{kind} `{path.replace('.store.partial/', '')}`"


def tables(command: str, cases: Sequence[Case], wanted: Sequence[str]) -> Iterator[str]:
    """In Markdown."""
    kinds = sorted({case.kind for case in cases}, key=lambda kind: (*KINDS, kind).index(kind))
    if "steps" in wanted:
        yield f"\n### {command}: came out whole, of so many\n"
        yield from _table(cases, kinds, lambda case: case.step)
    if "points" in wanted:
        yield f"\n### {command}: every point\n"
        yield from _table(cases, kinds, lambda case: f"{case.number:03d}")
    yield from (f"\n{_told(case)}" for case in cases if case.problems)


def _told(case: Case) -> str:
    return f"- {case.kind} at {case.number} ({case.step}): {'; '.join(case.problems[:4])}"


def _table(cases: Sequence[Case], kinds: Sequence[str], row_of: Callable[[Case], str]) -> Iterator[str]:
    yield f"| | {' | '.join(kinds)} |"
    yield "|---|" + "---|" * len(kinds)
    rows = sorted({row_of(case) for case in cases})
    for row in [*rows, "all"]:
        cells = []
        for kind in kinds:
            own = [case for case in cases if case.kind == kind and row in (row_of(case), "all")]
            whole = sum(not case.problems for case in own)
            cells.append(f"{whole} of {len(own)}" if own else "")
        yield f"| {row} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
