"""How many jobs run at once on this machine, with which GPUs and how many threads."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study import local_engine
from mufnet_lightning.study.job import FoldJob, JobEnd
from mufnet_lightning.study.local_engine import LocalEngine, default_threads, visible_gpus


def job(fold: int, devices: int = 0, threads: int = 1) -> FoldJob:
    """Of an arm with three folds."""
    return FoldJob("fused", fold, (0, 1, 2), "0" * 32, (), devices, threads)


def ends(engine: LocalEngine, count: int) -> list[JobEnd]:
    made: list[JobEnd] = []
    until = time.monotonic() + 120
    while len(made) < count:
        assert time.monotonic() < until
        made += [event for event in engine.events(1.0) if isinstance(event, JobEnd)]
    return made


def nothing(job: FoldJob) -> JobEnd:
    """Instead of a fold."""
    return JobEnd(job, "done")


def look(job: FoldJob) -> JobEnd:
    """Write down what this process may use."""
    text = f"{os.environ['CUDA_VISIBLE_DEVICES']} {torch.get_num_threads()}"
    Path("seen", str(job.fold)).write_text(text)
    return JobEnd(job, "done")


def die(_: FoldJob) -> JobEnd:
    """As a job does when memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_the_cores_are_shared_out_and_a_number_that_is_asked_for_counts(
    monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    monkeypatch.setattr(local_engine, "cores", lambda: 8)
    monkeypatch.setattr(local_engine, "visible_gpus", list)
    monkeypatch.setattr(local_engine, "_jobs_in_memory", lambda: 4)
    assert [default_threads(jobs, {}) for jobs in (1, 3, 8, 15)] == [8, 2, 1, 1]
    assert default_threads(15, {"OMP_NUM_THREADS": "3"}) == 3
    assert default_threads(15, {"OMP_NUM_THREADS": "0"}) == 1

    def begun(engine: LocalEngine, threads: int) -> int:
        count = 0
        while engine.takes(job(count, threads=threads)):
            engine.begin(job(count, threads=threads))
            count += 1
        assert {end.outcome for end in ends(engine, count)} == {"done"}
        assert engine.takes(job(0, threads=threads))
        engine.close()
        return count

    assert begun(LocalEngine(work=nothing), 3) == 2
    assert begun(LocalEngine(work=nothing), 16) == 1  # one runs in any case
    assert begun(LocalEngine(work=nothing), 1) == 4  # no more than memory is enough for
    assert begun(LocalEngine(6, work=nothing), 3) == 6


def test_each_job_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    """What a job sees is asked of the job."""
    seen = Path("seen")
    seen.mkdir()
    monkeypatch.setattr(local_engine, "cores", lambda: 9)
    monkeypatch.setattr(local_engine, "visible_gpus", lambda: ["4", "GPU-a", "7"])
    engine = LocalEngine(work=look)
    with pytest.raises(InputFault, match="fused fold 0 asks for 4 GPUs, and there are 3"):
        engine.begin(job(0, 4))
    engine.begin(job(0, 2))
    assert not engine.takes(job(1, 2))
    assert engine.takes(job(1, 1))
    engine.begin(job(1, 1))
    assert not engine.takes(job(2, 1))
    ends(engine, 2)
    engine.begin(job(2, 3))
    assert [end.outcome for end in ends(engine, 1)] == ["done"]
    texts = [(seen / str(fold)).read_text() for fold in range(3)]
    assert texts[:2] == ["4,GPU-a 3", "7 3"]
    assert sorted(texts[2].split()[0].split(",")) == ["4", "7", "GPU-a"]
    engine.close()


def test_the_gpus_are_those_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert visible_gpus() == []


def test_a_job_that_is_killed_is_lost_and_says_so(work: Path) -> None:
    engine = LocalEngine(1, work=die)
    engine.begin(job(0))
    (end,) = ends(engine, 1)
    assert end.outcome == "lost"
    assert end.faults == (
        "was ended from outside (signal 9; is the memory full?); the same command goes on with it",
    )
    assert engine.takes(job(1))
    engine.close()
