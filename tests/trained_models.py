"""A trained model of every kind, made once: a cross-validation of two folds, whose folds are fits."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from working_folder import enter, make_working_folder


@dataclass(frozen=True)
class Models:
    """A working folder, and ids of runs in its mlruns/: fused networks that grade with one modality."""

    folder: Path
    cv: str
    fits: tuple[str, str]


@pytest.fixture(scope="session")
def models(
    tiny_options: tuple[str, ...],
    empty_tracking: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Models:
    """Read only; `monkeypatch.chdir(models.folder)` to use them."""
    # one for all workers of a run of the suite: whoever comes first trains
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, note = shared / "models", shared / "models.json"
    with FileLock(shared / "models.lock"):
        if not note.is_file():
            note.write_text(json.dumps(_train(folder, tiny_options, empty_tracking)))
    cv, *fits = json.loads(note.read_text())
    return Models(folder, cv, (fits[0], fits[1]))


def _train(folder: Path, tiny_options: tuple[str, ...], empty_tracking: bytes) -> list[str]:
    """Ids of the cross-validation and of its folds."""
    from mufnet_lightning.study.cross_validate import cross_validate
    from mufnet_lightning.tracking.runs import find_run, finished_folds

    make_working_folder(folder, empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        more = ["--data.n_folds=2", "--model.modality_dropout=0.3", "--trainer.max_epochs=2"]
        cv = cross_validate([*tiny_options, *more])
        return [cv, *(run.id for run in finished_folds(find_run(cv)).values())]
