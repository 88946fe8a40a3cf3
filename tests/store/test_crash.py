"""A `prepare` that is killed, or refused by the disk, at any write: the next call makes it whole.

The long version, with more kinds of faults and the real processes, is benchmarks/crash.py.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.inputs import SEEN
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.system import drafts
from mufnet_lightning.system.write_points import FAULT, LOG, WIDTH


@pytest.fixture
def pairs(files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two patients, and a `prepare` of theirs in this process, which reads their tables once."""
    (tmp_path / "here").mkdir()
    prefix = "mufnet_lightning.store.prepare"
    monkeypatch.setattr(f"{prefix}.in_processes", lambda work, jobs, *others: [work(j) for j in jobs])
    monkeypatch.setattr(f"{prefix}.read_cohort", cache(read_cohort))
    monkeypatch.setattr(f"{prefix}.look_of", lambda *asked: "as it looks")
    cohort: Path = files.write_pairs_cohort(tmp_path / "here/cohort")
    return cohort


@pytest.fixture
def point_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Sets the fault of the next call; gives the log of its points."""

    def set_fault(fault: str) -> Path:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        monkeypatch.setenv(FAULT, fault)
        monkeypatch.setenv(LOG, str(log))
        return log

    return set_fault


def made(store: Path) -> dict[str, Any]:
    """What the inputs of a store decide."""
    content = json.loads((store / "store.json").read_text())
    about = {k: v for k, v in content.items() if k not in ("created", "seal", "cohort")}
    files = {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name not in ("store.json", SEEN)
    }
    return {**files, "about": about, "is named": "cohort" in content}


def killed(work: Callable[[], object]) -> bool:
    """Do it in a fork of this process; whether that was killed."""
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)  # for faults that end the whole group
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_every_write_may_fail_and_every_next_one_kill(
    pairs: Path, point_log: Callable[[str], Path]
) -> None:
    here, store = pairs.parent, pairs.parent / "store"
    before, log = {path.name for path in pairs.iterdir()}, point_log("count")
    prepare_store(pairs, store)
    whole, points = made(store), log.stat().st_size // WIDTH
    assert points > 40
    assert whole["is named"]
    for number in range(1, points + 1):
        shutil.rmtree(store)
        (pairs / "cohort.json").unlink()
        log = point_log(f"ENOSPC:{number}")
        try:
            prepare_store(pairs, store)
        except InputFault as raised:
            (fault,) = raised.faults
            assert re.match(r"cannot write .*: No space left on device \(", fault)
            assert str(here) in fault
        else:  # a full disk keeps nobody from removing, and the look saves time alone
            point = log.read_text().splitlines()[number - 1]
            assert point.startswith("remove ") or point.strip().endswith(SEEN)
        point_log(f"kill:{number}")
        killed(lambda: prepare_store(pairs, store))
        point_log("count")
        drafts._seen.clear()  # as in a new process
        prepare_store(pairs, store)
        assert made(store) == whole, number
        names = {path.name for path in (*here.iterdir(), *pairs.iterdir())}
        assert names == {*before, "cohort.json", "cohort", "store"}, number


@pytest.mark.parametrize("fault", ["EACCES:1+", "ENOSPC:1+", "EIO:7+"])
def test_a_folder_that_takes_nothing_more_is_told_in_one_sentence(
    pairs: Path, point_log: Callable[[str], Path], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_log(fault)
    store = pairs.parent / "store"
    with pytest.raises(InputFault) as raised:
        prepare_store(pairs, store)
    (sentence,) = raised.value.faults
    assert sentence.startswith(f"cannot write {store}: ")
    assert str(pairs.parent) in sentence
    assert not store.exists()
    monkeypatch.delenv(FAULT)
    prepare_store(pairs, store)
    assert sorted(path.name for path in pairs.parent.iterdir()) == ["cohort", "store"]


def test_everything_is_on_the_disk_before_it_has_its_name(
    pairs: Path, point_log: Callable[[str], Path]
) -> None:
    log = point_log("count")
    store = pairs.parent / "store"
    prepare_store(pairs, store)
    lines = [line.split(maxsplit=4) for line in log.read_text().splitlines()]
    kinds = [(kind, Path(path.strip())) for kind, _, _, _, path in lines]
    synced = {(int(inode), int(time)) for kind, inode, time, *_ in lines if kind == "sync"}
    assert [path for kind, path in kinds if kind == "rename"][-2:] == [store, store / SEEN]
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) > 9
    for path in files:
        status = path.stat()
        assert (status.st_ino, status.st_mtime_ns) in synced, path
    for place, (kind, path) in enumerate(kinds):
        if kind == "rename" and path != store:
            assert kinds[place - 1][0] == "sync", path


def test_crops_that_a_power_cut_made_zeros_are_cut_again(
    pairs: Path, point_log: Callable[[str], Path]
) -> None:
    here, store = pairs.parent, pairs.parent / "store"
    prepare_store(pairs, store)
    whole = made(store)
    shutil.rmtree(store)
    log = point_log("count")
    assert not killed(lambda: prepare_store(pairs, store))
    links = [line.startswith("link ") for line in log.read_text().splitlines()].index(True)
    shutil.rmtree(store)
    point_log(f"kill:{links + 3}")
    assert killed(lambda: prepare_store(pairs, store))
    (partial,) = (path for path in here.iterdir() if path.name.endswith(".partial"))
    crops = sorted(partial.glob("parts/*/*.png"))
    assert len(crops) == 7
    for crop in crops[::2]:
        crop.write_bytes(bytes(crop.stat().st_size))
    point_log("count")
    prepare_store(pairs, store)
    assert made(store) == whole


def test_a_draft_of_a_process_that_is_gone_is_removed(
    pairs: Path, point_log: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    log = point_log("count")
    assert not killed(lambda: prepare_store(pairs, pairs.parent / "first"))
    names = [line.split()[0] + line.split()[4][-11:] for line in log.read_text().splitlines()]
    (number,) = (n for n, name in enumerate(names, 1) if name == "synccohort.json")
    (pairs / "cohort.json").unlink()
    point_log(f"torn:{number}")
    assert killed(lambda: prepare_store(pairs, pairs.parent / "second"))
    assert len([path for path in pairs.iterdir() if "partial" in path.name]) == 1
    drafts._seen.clear()
    point_log("count")
    with caplog.at_level(logging.INFO):
        store = prepare_store(pairs, pairs.parent / "second")
    assert json.loads((pairs / "cohort.json").read_text())["id"] == store.cohort
    assert not [path for path in pairs.iterdir() if "partial" in path.name]
