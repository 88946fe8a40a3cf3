"""Jobs in processes come back in order, and a warm process starts with its modules there."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mufnet_lightning.system.processes import cores, in_processes, warm_context

JOBS = """
import os, sys, time

def double(number):
    print("FFmpeg says this", file=sys.stderr)
    time.sleep(0.2 if number == 0 else 0)
    return 2 * number, os.getpid()

def die(number):
    if number == 3:
        os.kill(os.getpid(), 9)
    time.sleep(0.05)
    return 2 * number

def die_once(number):
    if number in (1, 4) and not os.path.exists(f"died at {number}"):
        open(f"died at {number}", "w").close()
        os.kill(os.getpid(), 9)
    time.sleep(0.05)
    return 2 * number

def fail(number):
    if number == 3:
        raise OSError(28, "No space left on device", "crop.png")
    time.sleep(0.01)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """A module of jobs, as worker processes import them."""
    (tmp_path / "jobs_of_a_test.py").write_text(JOBS)
    return tmp_path


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(code)
    return subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=120,
    )


def test_results_come_in_the_order_of_the_jobs_and_workers_are_quiet(jobs: Path) -> None:
    done = run(
        jobs,
        "import os\n"
        "from jobs_of_a_test import double\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        "    results = in_processes(double, range(6), 'doubling')\n"
        "    print([number for number, _ in results], os.getpid() in dict(results).values())\n",
    )
    assert (done.stdout, done.stderr) == ("[0, 2, 4, 6, 8, 10] False\n", "")


def test_the_first_fault_of_a_job_is_raised_here(jobs: Path) -> None:
    done = run(
        jobs,
        "from jobs_of_a_test import fail\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        in_processes(fail, range(200), 'failing')\n"
        "    except OSError as error:\n"
        "        print(error.filename, error.strerror)\n",
    )
    assert (done.stdout, done.stderr) == ("crop.png No space left on device\n", "")


def test_it_works_where_there_are_no_signal_masks(jobs: Path) -> None:
    done = run(
        jobs,
        "import signal\n"
        "if hasattr(signal, 'pthread_sigmask'):\n"
        "    del signal.pthread_sigmask\n"  # as on Windows
        "from jobs_of_a_test import double\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        "    print([number for number, _ in in_processes(double, [3], 'doubling')])\n",
    )
    assert (done.stdout, done.stderr) == ("[6]\n", "")


@pytest.mark.parametrize(("work", "expected"), [("die", -1), ("die_once", 6)])
def test_a_worker_that_is_killed_costs_its_own_job_alone(jobs: Path, work: str, expected: int) -> None:
    done = run(
        jobs,
        f"from jobs_of_a_test import {work}\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        f"    print(in_processes({work}, range(8), 'dying', lambda number: -1))\n",
    )
    results = [2 * number for number in range(8)]
    results[3] = expected
    assert (done.stdout, done.stderr) == (f"{results}\n", "")


def test_where_nobody_says_what_a_lost_job_gives_it_is_a_fault_and_no_hang(jobs: Path) -> None:
    done = run(
        jobs,
        "from jobs_of_a_test import die\n"
        "from mufnet_lightning.errors import InputFault\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        in_processes(die, range(8), 'dying')\n"
        "    except InputFault as fault:\n"
        "        print(fault)\n",
    )
    assert done.stdout.startswith("a worker process was ended from outside")
    assert done.stderr == ""


def test_no_jobs_start_no_process() -> None:
    assert in_processes(len, [], "nothing") == []


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_warm_process_has_its_modules_and_a_state_of_its_own(jobs: Path) -> None:
    (jobs / "heavy_of_a_test.py").write_text("import os\nimported_by = os.getpid()\n")
    done = run(
        jobs,
        "import os, sys\n"
        "from mufnet_lightning.system.processes import warm_context\n"
        "def tell(pipe):\n"
        "    there = 'heavy_of_a_test' in sys.modules\n"
        "    import heavy_of_a_test\n"
        "    pipe.send((there, heavy_of_a_test.imported_by, os.getpid()))\n"
        "if __name__ == '__main__':\n"
        "    os.environ['PYTHONPATH'] = os.getcwd()\n"
        "    context = warm_context(['heavy_of_a_test'])\n"
        "    answers = []\n"
        "    for _ in range(2):\n"
        "        ours, theirs = context.Pipe()\n"
        "        process = context.Process(target=tell, args=(theirs,))\n"
        "        process.start()\n"
        "        answers.append(ours.recv())\n"
        "        process.join()\n"
        "        assert process.exitcode == 0\n"
        "    (warm, server, first), (also, same, second) = answers\n"
        "    print(warm, also, server == same, len({server, first, second, os.getpid()}))\n",
    )
    assert (done.stdout, done.stderr) == ("True True True 4\n", "")


def test_where_there_is_no_fork_each_process_starts_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])  # as on Windows
    assert warm_context(["json"]).get_start_method() == "spawn"


def test_a_long_name_of_the_temporary_folder_stops_nothing(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = jobs / ("t" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    done = run(
        jobs,
        "from jobs_of_a_test import double\n"
        "from mufnet_lightning.system.processes import in_processes\n"
        "if __name__ == '__main__':\n"
        "    print([number for number, _ in in_processes(double, [3], 'doubling')])\n",
    )
    assert (done.stdout, done.stderr) == ("[6]\n", "")
