"""A study as it was laid down: its arms and planned tests, kept as a run of its own for each report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import comb

from mufnet_lightning.study.spec import Pairs
from mufnet_lightning.tracking.artifacts import artifact_text, log_json
from mufnet_lightning.tracking.runs import TrackedRun, find_runs, mlflow_client
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.written_directly import new_run
from mufnet_lightning.vocabulary import ARMS

STUDY = "study.json"
_VERB = "study"


@dataclass(frozen=True)
class RecordedStudy:
    """What was to be done.

    Attributes:
        arms: the key of each arm's cross-validation (its tag `cv_key`), by the arm's name.
        planned: pairs of names that are tested; None: each two.
    """

    arms: Mapping[str, str]
    planned: Pairs | None

    def tests_of(self, names: Set[str]) -> tuple[Pairs | None, int]:
        """The tests of arms that have come to their end, and how many wait for others.

        Args:
            names: of the arms that have.

        Returns:
            The pairs, where they were planned; None: each two.
        """
        if self.planned is None:
            return None, comb(len(names | set(self.arms)), 2) - comb(len(names), 2)
        here = tuple((a, b) for a, b in self.planned if {a, b} <= names)
        return here, len(self.planned) - len(here)


def record_study(
    experiment_id: str, arms: Mapping[str, str], planned: Sequence[tuple[str, str]] | None
) -> None:
    """Keep a study before it is trained; where the last one is the same nothing is added.

    Args:
        experiment_id: that its runs are filed in.
        arms, planned: see `RecordedStudy`.
    """
    pairs = None if planned is None else [[*pair] for pair in planned]
    content = {"arms": dict(arms), "planned": pairs}
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    for last in find_runs(experiment_id, finished=True, most=1, verb=_VERB):
        if last.tags.get("study_key") == key:
            return
    study = mlflow_client().get_experiment(experiment_id).name
    tests = "each two of them" if planned is None else f"{len(planned)} planned pairs"
    note = f"A study as it was laid down: {len(arms)} arms, tested: {tests}. `{STUDY}` has all of it."
    with new_run(experiment_id, _VERB, run_tags(_VERB, study, note=note, study_key=key)) as run_id:
        log_json(mlflow_client(), run_id, content, STUDY)


def recorded_study(experiment_id: str) -> RecordedStudy | None:
    """The last study that was begun there; None where arms were trained one by one."""
    for last in find_runs(experiment_id, finished=True, most=1, verb=_VERB):
        content = json.loads(artifact_text(last.id, STUDY))
        planned = content["planned"]
        pairs = None if planned is None else tuple((str(a), str(b)) for a, b in planned)
        return RecordedStudy(dict(content["arms"]), pairs)
    return None


def latest_arms(runs: Sequence[TrackedRun], recorded: RecordedStudy | None) -> dict[str, TrackedRun]:
    """The run of each arm, by the arm's name: the latest that came to its end.

    Of an arm a cross-validation goes before a fit. Those of a study that was laid down have its names,
    and come first, in its order; then bmode, ceus and fused, and those with names of their own. An arm
    as it was laid down is known by what trains it: an earlier one that only has its name is left out.

    Args:
        runs: of the experiment, the latest first.
        recorded: the study; None where arms were trained one by one.
    """
    planned: dict[str, TrackedRun] = {}
    for name, key in (recorded.arms if recorded else {}).items():
        for run in runs:
            if run.tags.get("cv_key") == key and run.is_finished:
                planned.setdefault(name, run)
    known = {run.id for run in planned.values()}
    latest: dict[str, TrackedRun] = {}
    for verb in ("cv", "fit"):
        for run in runs:
            if run.verb == verb and run.parent_id is None and run.is_finished and run.id not in known:
                latest.setdefault(run.arm, run)
    others = sorted((run for arm, run in latest.items() if arm not in ARMS), key=lambda run: run.start)
    order = [*(arm for arm in ARMS if arm in latest), *(run.arm for run in others)]
    laid_down = recorded.arms if recorded else {}
    return {**planned, **{arm: latest[arm] for arm in order if arm not in laid_down}}
