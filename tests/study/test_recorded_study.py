"""A study as it was laid down: which runs are its arms, and which of its tests are still to come."""

from __future__ import annotations

from pathlib import Path

from mufnet_lightning.study.recorded_study import RecordedStudy, latest_arms
from mufnet_lightning.tracking.runs import find_runs, mlflow_client, open_study
from mufnet_lightning.tracking.tags import run_tags


def test_an_arm_that_was_laid_down_is_not_the_earlier_one_of_its_name(work: Path) -> None:
    client, study = mlflow_client(), open_study("kidney")

    def cv(arm: str, key: str, status: str) -> str:
        tags = run_tags("cv", "kidney", arm=arm, cv_key=key)
        run = client.create_run(study, tags=tags, run_name=f"{arm}-cv")
        client.set_terminated(run.info.run_id, status)
        return str(run.info.run_id)

    for arm in ("bmode", "ceus", "fused"):
        cv(arm, f"{arm} of before", "FINISHED")
    ceus, bmode = cv("ceus", "ceus now", "FINISHED"), cv("bmode", "bmode now", "FINISHED")
    cv("fused", "fused now", "FAILED")
    own = cv("mine", "of my own", "FINISHED")
    pairs = (("fused", "bmode"), ("fused", "ceus"), ("ceus", "bmode"))
    laid_down = {arm: f"{arm} now" for arm in ("bmode", "ceus", "fused")}
    recorded = RecordedStudy(laid_down, pairs)
    arms = latest_arms(find_runs(study), recorded)
    assert {name: run.id for name, run in arms.items()} == {"bmode": bmode, "ceus": ceus, "mine": own}
    assert recorded.tests_of(arms.keys()) == ((("ceus", "bmode"),), 2)
    assert RecordedStudy(laid_down, None).tests_of({"bmode", "ceus", "mine"}) == (None, 3)
    assert set(latest_arms(find_runs(study), None)) == {"bmode", "ceus", "fused", "mine"}
