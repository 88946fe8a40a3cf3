"""The jobs of several arms: none twice, none lost, and a fault costs its own arm alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study import job_loop, schedule
from mufnet_lightning.study.arm_checks import devices_of
from mufnet_lightning.study.job import FoldJob, JobEnd, Outcome
from mufnet_lightning.study.schedule import run_jobs


@dataclass
class Arm:
    """What the scheduler asks of a cross-validation; others may be at work on some of its folds."""

    arm: str
    folds: tuple[int, ...]
    before: frozenset[int] = frozenset()
    others: dict[int, int] = field(default_factory=dict)
    """Folds that another process is at, and after how many looks it has ended."""
    ended: set[int] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)
    store: Path = Path("store")

    @property
    def wanted(self) -> tuple[int, ...]:
        return self.folds

    @property
    def parent(self) -> Any:
        return SimpleNamespace(id=self.arm)

    def begin(self) -> list[int]:
        self.ended |= self.before
        return [fold for fold in self.folds if fold not in self.ended]

    def job(self, fold: int) -> FoldJob:
        return FoldJob(self.arm, fold, self.folds, self.arm, ())

    def done(self) -> set[int]:
        return self.ended

    def is_elsewhere(self, fold: int) -> bool:
        self.others[fold] -= 1
        return self.others[fold] > 0

    def finish(self) -> None:
        assert self.ended == set(self.folds)
        self.closed.append("finished")

    def break_off(self, error: BaseException) -> None:
        self.closed.append(type(error).__name__)

    def state(self) -> str:
        return f"{len(self.ended)} folds are done"


@dataclass
class Places:
    """So many jobs at once; each ends as it is said to, the last one begun first."""

    most: int
    arms: dict[str, Arm]
    ends: dict[tuple[str, int], Outcome]
    begun: Counter[tuple[str, int]] = field(default_factory=Counter)
    running: list[FoldJob] = field(default_factory=list)
    closed: int = 0

    def reach(self, folders: Any) -> None:
        assert list(folders) == [Path("store")]

    def takes(self, job: FoldJob) -> bool:
        return len(self.running) < self.most

    def begin(self, job: FoldJob) -> None:
        assert len(self.running) < self.most
        assert job not in self.running
        self.running.append(job)
        self.begun[job.arm, job.fold] += 1

    def events(self, seconds: float) -> list[JobEnd]:
        if not self.running:
            return []
        job = self.running.pop()
        key, arm = (job.arm, job.fold), self.arms[job.arm]
        if arm.others.get(job.fold, 0) > 0:
            return [JobEnd(job, "elsewhere")]
        outcome = self.ends.get(key, "done")
        if outcome == "done":
            assert job.fold not in arm.ended, "a fold was trained twice"
            arm.ended.add(job.fold)
        return [JobEnd(job, outcome, ("no good",) if outcome in ("refused", "lost") else ())]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def quick(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_ELSEWHERE", -1.0)
    monkeypatch.setattr(job_loop, "await_answer", lambda uri: None)


COUNTS = st.integers(1, 4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(COUNTS, min_size=1, max_size=4), COUNTS, st.data())
def test_every_fold_is_trained_once_and_every_arm_finished(
    sizes: list[int], places: int, data: st.DataObject
) -> None:
    arms = {}
    for number, size in enumerate(sizes):
        folds = st.sets(st.integers(0, size - 1))
        others = {fold: data.draw(COUNTS) for fold in data.draw(folds)}
        before = frozenset(data.draw(folds) - others.keys())
        arms[f"arm {number}"] = Arm(f"arm {number}", tuple(range(size)), before, others)
    engine = Places(places, arms, {})
    run_jobs([lambda arm=arm: arm for arm in arms.values()], len(arms), engine)  # type: ignore
    assert [arm.closed for arm in arms.values()] == [["finished"]] * len(arms)
    assert engine.closed == 1
    for arm in arms.values():
        for fold in arm.folds:
            tries = 0 if fold in arm.before else 1 + (fold in arm.others)
            assert engine.begun[arm.arm, fold] == tries


@pytest.mark.parametrize("outcome", ["refused", "lost", "failed"])
def test_a_fold_that_cannot_be_run_ends_its_own_arm_alone(outcome: Outcome) -> None:
    arms = {name: Arm(name, (0, 1, 2, 3)) for name in ("bmode", "ceus", "fused")}
    engine = Places(2, arms, {("ceus", 1): outcome})
    kind = RuntimeError if outcome == "failed" else InputFault
    with pytest.raises(kind, match="ceus fold 1") as error:
        run_jobs([lambda arm=arm: arm for arm in arms.values()], 3, engine)  # type: ignore
    if isinstance(error.value, InputFault):
        assert error.value.faults[0] == "ceus fold 1: no good"
        assert "fold 1 does not count; 1 folds are done, and nothing is pooled" in str(error.value)
    assert arms["bmode"].closed == arms["fused"].closed == ["finished"]
    assert arms["ceus"].closed == ["InputFault"]
    assert arms["ceus"].ended == {0}  # it ran at the same time, and came to its end
    assert engine.closed == 1


def test_a_stop_closes_every_arm_that_was_begun() -> None:
    arms = {name: Arm(name, (0, 1)) for name in ("bmode", "ceus", "fused")}
    engine = Places(3, arms, {("ceus", 0): "stopped"})
    with pytest.raises(KeyboardInterrupt):
        run_jobs([lambda arm=arm: arm for arm in arms.values()], 3, engine)  # type: ignore
    assert [arm.closed for arm in arms.values()] == [["KeyboardInterrupt"]] * 2 + [[]]
    assert engine.closed == 1


def test_a_server_that_is_away_stops_no_fold_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {name: Arm(name, (0, 1, 2)) for name in ("bmode", "fused")}
    engine = Places(2, arms, {})
    looks = 0

    def absent(uri: str) -> str | None:
        nonlocal looks
        assert engine.running, "where nothing runs it is waited for"
        looks += 1
        return "no answer" if looks % 3 else None

    begin = engine.begin

    def begun(job: FoldJob) -> None:
        assert looks % 3 == 0 or not engine.running, "a fold was begun while nobody could record it"
        begin(job)

    monkeypatch.setattr(job_loop, "absent", absent)
    monkeypatch.setattr(engine, "begin", begun)
    run_jobs([lambda arm=arm: arm for arm in arms.values()], 2, engine)  # type: ignore
    assert looks > 3
    assert [arm.closed for arm in arms.values()] == [["finished"]] * 2


def test_an_arm_that_cannot_be_opened_costs_itself_unless_it_has_the_folds_of_all() -> None:
    def refused() -> Any:
        raise InputFault("the store is another one")

    arm = Arm("fused", (0, 1))
    engine = Places(2, {"fused": arm}, {})
    with pytest.raises(InputFault, match="another one"):
        run_jobs([lambda: arm, refused], 2, engine)  # type: ignore
    assert arm.closed == ["finished"]
    other = Arm("fused", (0, 1))
    engine = Places(2, {"fused": other}, {})
    with pytest.raises(InputFault, match="another one"):
        run_jobs([refused, lambda: other], 2, engine)  # type: ignore
    assert other.closed == []
    assert not engine.begun


@pytest.mark.parametrize(
    ("accelerator", "devices", "expected"),
    [("cpu", 4, 0), ("auto", 2, 2), ("gpu", "3", 3), ("cuda", "auto", 5), ("gpu", -1, 5)],
)
def test_a_job_takes_as_many_gpus_as_its_trainer_says(
    accelerator: str, devices: int | str, expected: int
) -> None:
    assert devices_of(built(accelerator, devices)) == expected


@pytest.mark.parametrize("devices", [[1], "1,", "2,3"])
def test_gpus_by_their_numbers_are_refused(devices: list[int] | str) -> None:
    with pytest.raises(InputFault, match="which ones there are to choose from, CUDA_VISIBLE_DEVICES"):
        devices_of(built("auto", devices))


def built(accelerator: str, devices: Any) -> Any:
    """What is asked of a command line that was built; its trainer has found five devices."""
    trainer = SimpleNamespace(accelerator=accelerator, devices=devices)
    config = SimpleNamespace(trainer=trainer)
    return SimpleNamespace(config=config, trainer=SimpleNamespace(num_devices=5))
