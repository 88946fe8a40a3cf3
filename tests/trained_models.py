"""A trained model of every kind, made once: a cross-validation of two folds, whose folds are fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


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
    from mufnet_lightning.study.cross_validate import cross_validate
    from mufnet_lightning.tracking.runs import find_run, finished_folds

    folder = tmp_path_factory.mktemp("models")
    (folder / "mlruns").mkdir()
    (folder / "mlruns" / "mlflow.db").write_bytes(empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        options = [o.replace("configs/", "").replace(".yaml", "") for o in tiny_options]
        more = ["--data.n_folds=2", "--model.modality_dropout=0.3", "--trainer.max_epochs=2"]
        cv = cross_validate([*options, *more])
        first, second = finished_folds(find_run(cv)).values()
    return Models(folder, cv, (first.id, second.id))
