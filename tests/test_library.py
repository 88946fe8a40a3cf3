"""As a library: ten names that load only what they need, and the lines of docs/library.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import mufnet_lightning

DOCS = Path(__file__).parents[1] / "docs" / "library.md"
LINES = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
HEAVY = {"torch", "lightning", "mlflow", "pandas", "numpy", "scipy", "cv2", "timm", "matplotlib"}


def loaded_by(statement: str) -> set[str]:
    """The heavy libraries that a statement loads in a new interpreter."""
    # and leaves at once: to take torch apart takes longer than many an import
    code = f"{statement}\nimport os, sys; print(*sys.modules, flush=True); os._exit(0)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(answer.stdout.split())


def test_the_package_alone_loads_nothing() -> None:
    assert loaded_by("import mufnet_lightning; dir(mufnet_lightning)") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "without"),
    [
        (
            "read_predictions, compare_arms",
            {"torch", "lightning", "mlflow", "cv2", "timm", "matplotlib"},
        ),
        ("roc_figure", {"torch", "lightning", "mlflow", "cv2", "timm"}),
        ("prepare_store", {"torch", "lightning", "mlflow", "timm", "matplotlib"}),
        ("MufNetModule", {"mlflow", "cv2"}),
    ],
)
def test_a_name_loads_only_what_it_needs(name: str, without: set[str]) -> None:
    assert not without & loaded_by(f"from mufnet_lightning import {name}")


def test_there_are_ten_names_and_each_is_there() -> None:
    assert len(mufnet_lightning.__all__) == 10
    assert set(mufnet_lightning.__all__) <= set(dir(mufnet_lightning))
    for name in mufnet_lightning.__all__:
        assert getattr(mufnet_lightning, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        _ = mufnet_lightning.fit
    documented = DOCS.read_text(encoding="utf-8").partition("## The ten names")[2]
    assert all(f"| `{name}" in documented for name in mufnet_lightning.__all__)


@pytest.mark.slow
def test_fifteen_lines_train_score_record_and_draw_and_the_command_takes_it_from_there(
    work: Path, phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mufnet_lightning.cli import main
    from mufnet_lightning.tracking.runs import find_run
    from mufnet_lightning.training.logger import RunLogger

    (lines,) = LINES
    assert sum(bool(line.strip()) for line in lines.splitlines()) <= 15
    (work / "demo").mkdir()
    (work / "demo" / "store").symlink_to(phantom_store)
    names: dict[str, object] = {}
    exec(compile(lines, str(DOCS), "exec"), names)

    assert (work / "roc.png").read_bytes().startswith(b"\x89PNG")
    logger = names["run"]
    assert isinstance(logger, RunLogger)
    run = find_run(logger.run)
    assert run.is_finished
    assert (run.arm, run.fold, run.verb) == ("fused", 0, "fit")
    assert {"test/auc", "test/patient_auc_ci_low", "train/loss", "val/auc"} <= run.metrics.keys()
    scores = names["scores"]
    assert isinstance(scores, pd.DataFrame)
    assert set(scores["split"]) == {"test"}

    # the checkpoint file, and the run, score the next patients
    file = next((work / "mlruns" / "artifacts").rglob("selected.ckpt"))
    for reference in (str(file), f"runs:/{run.id}"):
        capsys.readouterr()
        assert main(["predict", f"--ckpt_path={reference}", "--output=next.csv"]) == 0
        printed = " ".join(capsys.readouterr().err.split())
        table = pd.read_csv("next.csv")
        assert len(table) == 90
        train = table.loc[table["split"] == "train", "patient_id"].nunique()
        assert f"{train} of these patients trained this checkpoint" in printed
        both = table.merge(scores, on="pair_id", suffixes=("", "_then"))
        assert len(both) == len(scores)
        assert (both["score"] - both["score_then"]).abs().max() < 1e-6
    assert main(["test", f"--ckpt_path={file}"]) == 0
