"""Next patients: what cannot be read takes nobody else with it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.store import cut_apart as module
from mufnet_lightning.store.cut import ImageJob, lost_job
from mufnet_lightning.store.cut_apart import cut_apart


def test_a_picture_that_cannot_be_read_leaves_the_others_of_its_patient(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = files.write_pairs_cohort(tmp_path / "cohort")
    (cohort / "images/2 bmode.png").write_bytes(b"no picture")
    store, left_out = cut_apart(read_cohort(cohort, with_grades=False), 0.0, tmp_path / "store")
    assert [(one.patient, one.pairs) for one in left_out] == [("P1", 1)]
    assert store.manifest["patient_id"].tolist() == ["P1", "P2", "P2"]
    for modality in ("bmode", "ceus"):  # each crop has its digest
        assert len(store.cache(modality, 32)) == 3


def test_an_image_that_ends_its_worker_is_named_and_the_others_are_there(
    files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = files.write_pairs_cohort(tmp_path / "cohort")

    def in_processes(work: object, jobs: list[ImageJob], *_: object) -> list[list[str]]:
        """Of P1's second pair no worker survives."""
        return [
            lost_job(job) if "images/2 " in str(job.images[0][1]) else work(job)  # type: ignore[operator]
            for job in jobs
        ]

    monkeypatch.setattr(module, "in_processes", in_processes)
    store, left_out = cut_apart(read_cohort(cohort, with_grades=False), 0.0, tmp_path / "store")
    ((patient, reason),) = [(one.patient, one.reason) for one in left_out]
    assert patient == "P1"
    assert "the process that read it was ended from outside, twice" in reason
    assert store.manifest["patient_id"].tolist() == ["P1", "P2", "P2"]
