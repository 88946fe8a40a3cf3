"""Jobs that begin hours after their call read what it read, or do not begin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.study.cross_validation import CrossValidation
from mufnet_lightning.study.job import do_job
from mufnet_lightning.tracking.runs import children_of, resolve_artifact
from mufnet_lightning.training.messages import quiet_libraries

BLOCK = """
from torch.nn import BCEWithLogitsLoss

class Loss(BCEWithLogitsLoss):
    def __init__(self, weight=2.0):
        super().__init__()
"""


def test_a_job_whose_call_read_something_else_is_not_begun(
    work: Path, tiny: list[str], phantom_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(work))
    block = Path("block_of_mine.py")
    block.write_text(BLOCK)
    shutil.copytree(phantom_store, "store")
    Path("configs").unlink()  # now the package's own are taken
    own = Path("own.yaml")
    own.write_text("model: {dropout: 0.1, loss: block_of_mine.Loss}  # for now\n")
    settings = [word for word in tiny if not word.startswith("--config=")]
    named = ["--config=fused", "--config=demo", "--config=own.yaml"]
    words = [*named, *settings, "--data.store=store", "--data.n_folds=2"]
    with quiet_libraries():
        whole = CrossValidation.find(words)
    split = Path("split.csv")
    shutil.copy(resolve_artifact(whole.parent.id, "folds.csv"), split)
    with quiet_libraries():
        cv = CrossValidation.find([*words, "--data.folds_from=split.csv"])
    assert cv.parent.id == whole.parent.id
    assert cv.parent.status == "SCHEDULED"
    job = cv.job(0)
    own.write_text("# nothing was changed\nmodel:\n  dropout: 0.1\n  loss: block_of_mine.Loss\n")
    job.inputs.check()

    def refused() -> str:
        end = do_job(job)
        assert end.outcome == "refused"
        assert not children_of(cv.parent)
        return "; ".join(end.faults)

    own.write_text("model: {dropout: 0.5}\n")
    assert refused().startswith("configuration own.yaml changed since this call began")
    own.unlink()
    assert "own.yaml cannot be read" in refused()
    own.write_text("model: {dropout: 0.1, loss: block_of_mine.Loss}\n")
    block.write_text(BLOCK.replace("weight=2.0", "weight=3.0"))
    assert refused().startswith("module block_of_mine changed since")
    block.unlink()
    assert refused().startswith("module block_of_mine ")
    block.write_text(BLOCK)
    hides = Path("configs", "demo.yaml")
    hides.parent.mkdir()
    hides.write_text("model: {dropout: 0.5}\n")
    assert refused().startswith("configuration demo changed since")
    hides.unlink()
    # what the package's `fused` extends lies beside it, and is not looked up here
    hides.with_name("paper.yaml").write_text("model: {dropout: 0.5}\n")
    job.inputs.check()
    split.write_text(split.read_text() + "\n")
    assert refused().startswith("the split split.csv changed since")
    split.unlink()
    assert refused().startswith("the split split.csv cannot be read")
    shutil.copy(resolve_artifact(whole.parent.id, "folds.csv"), split)
    job.inputs.check()
    shutil.rmtree("store")
    assert main(["prepare", str(phantom_store.parent / "cohort"), "store", "--margin=0.5"]) == 0
    assert refused().startswith("the store store changed since")
