"""All folds under one parent: resumed without running a finished fold again."""

from __future__ import annotations

import pandas as pd
import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.tracking import client, resolve_artifact


def runs() -> dict[str, object]:
    store = client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return {run.info.run_id: run for run in store.search_runs(ids)}


def test_cv_runs_every_fold_once_and_goes_on_where_it_stopped(work, tiny, capfd):
    words = ["cv", *tiny, "--data.n_folds=2", "--trainer.max_epochs=2"]
    assert main(words) == 0
    printed = capfd.readouterr().out
    (parent,) = [run for run in runs().values() if run.data.tags["verb"] == "cv"]
    children = [run for run in runs().values() if run is not parent and run.data.tags["verb"] == "fit"]
    assert sorted(run.data.tags["fold"] for run in children) == ["0", "1"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    values = pd.Series([run.data.metrics["test/auc"] for run in children])
    assert parent.data.metrics["test/auc"] == pytest.approx(values.mean())
    assert parent.data.metrics["test/auc_sd"] == pytest.approx(values.std())
    assert "mean" in printed
    table = pd.read_csv(resolve_artifact(parent.info.run_id, "folds_results.csv"), index_col=0)
    assert list(table.index) == ["0", "1", "mean", "sd"]

    # as if it had been killed in fold 1: that fold alone is run again, and gives the same
    (second,) = [run for run in children if run.data.tags["fold"] == "1"]
    client().set_terminated(second.info.run_id, "FAILED")
    client().update_run(parent.info.run_id, status="RUNNING")
    before = set(runs())
    assert main(words) == 0
    (new,) = [runs()[run_id] for run_id in set(runs()) - before]
    assert new.data.tags["fold"] == "1"
    assert new.data.metrics["test/auc"] == second.data.metrics["test/auc"]
    assert runs()[parent.info.run_id].info.status == "FINISHED"

    # nothing left to do
    before = set(runs())
    assert main(words) == 0
    assert set(runs()) == before


def test_a_configuration_that_no_fold_can_run_opens_no_run(work, tiny, capfd):
    assert main(["cv", *tiny, "--data.batch_size=1000"]) == 2
    assert "data.batch_size is 1000" in capfd.readouterr().err
    assert runs() == {}


@pytest.mark.parametrize(
    "word",
    [
        "--ckpt_path=last.ckpt",
        "--trainer.logger=false",
        "--trainer.fast_dev_run=true",
        "--trainer.enable_checkpointing=false",
    ],
)
def test_what_leaves_nothing_to_pool_is_refused(work, tiny, capfd, word):
    assert main(["cv", *tiny, word]) == 2
    assert f"cv cannot take {word.split('=')[0]}" in capfd.readouterr().err
    assert runs() == {}
