"""Where runs are recorded: MLflow, by default a SQLite file and a folder beside the work."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault, NotRecorded
from mufnet_lightning.tracking.datasets import RecordedDataset
from mufnet_lightning.tracking.downloads import download, is_missing
from mufnet_lightning.tracking.notes import NOTE, study_note
from mufnet_lightning.tracking.opening import first_line, open_client, refuse_absent, unwritable
from mufnet_lightning.tracking.relocation import ARTIFACTS, DATABASE, settle
from mufnet_lightning.tracking.run_ids import server_id
from mufnet_lightning.vocabulary import ARM_SIGNS, CHOSEN_ON, Part, arm_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STORE_FOLDER = Path("mlruns")
PARENT_RUN = "mlflow.parentRunId"
"""MLflow's own tag for the run that one belongs to."""


@dataclass(frozen=True)
class Tracking:
    """How a run is filed.

    Args:
        study: runs of one study stand together: the MLflow experiment and the tag `study`.
        arm: name of the arm in its study; bmode, ceus or fused, by its modalities, unless given.
        run_name: of the run; by default arm and fold, `fused-fold0`.
        parent_run: id of the run that this one is a fold of.
        baseline: an arm to test against after validation and test: a predictions CSV, or a run or
            cross-validation that scored the same images.
        register: name in MLflow's model registry: the trained model becomes a new version of it; of a
            cross-validation, the folds together.
        figures: draw the curves of each part, which the report shows; `false` saves short fits seconds.
        trial: number of it in the sweep that `parent_run` is.
        user: name to show in the UI; a run does not say who made it unless given.
    """

    study: str = "mufnet"
    arm: str | None = None
    run_name: str | None = None
    parent_run: str | None = None
    baseline: str | None = None
    register: str | None = None
    figures: bool = True
    user: str | None = None
    trial: int | None = None

    def __post_init__(self) -> None:
        if self.arm is not None and not re.fullmatch(ARM_SIGNS, self.arm):
            raise InputFault(
                f"tracking.arm is {self.arm!r}, expected letters, digits, spaces and . _ + -, "
                "80 at most"
            )

    def arm_of(self, modalities: Sequence[str]) -> str:
        """What an arm that takes these modalities is called."""
        return self.arm or arm_name(modalities)


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store under mlruns/ in the working folder.

    The latter is told where it is, if it was moved (see `settle`).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    if uri == default_uri():  # MLflow sets the variable by itself too
        try:
            STORE_FOLDER.mkdir(exist_ok=True)
        except OSError as error:
            raise InputFault(unwritable(Path.cwd(), error)) from None
        settle(STORE_FOLDER)
    return uri


def default_uri() -> str:
    """Of the SQLite store in the working folder."""
    return f"sqlite:///{(STORE_FOLDER / DATABASE).resolve().as_posix()}"


def open_study(study: str, store: MlflowClient | None = None) -> str:
    """The id of a study's MLflow experiment, which is made, or described, if it is not yet.

    Args:
        study: its name.
        store: the client to ask; `mlflow_client` unless given.

    Raises:
        InputFault: somebody deleted it, and MLflow keeps the name.
    """
    from mlflow.exceptions import MlflowException

    store = store or mlflow_client()
    experiment = store.get_experiment_by_name(study)
    if experiment is None:
        own = tracking_uri() == default_uri()  # a tracking server knows its own place
        location = (STORE_FOLDER / ARTIFACTS).resolve().as_uri() if own else None
        # the UI then opens on the table of runs, not on what it has for language models
        tags = {"mlflow.experimentKind": "custom_model_development", NOTE: study_note(study)}
        try:
            return store.create_experiment(study, location, tags)
        except MlflowException as error:
            experiment = store.get_experiment_by_name(study)
            if experiment is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise  # else another process has just made it
    if experiment.lifecycle_stage == "deleted":
        raise InputFault(f"study {study!r} was deleted in MLflow; restore it, or choose another name")
    if NOTE not in experiment.tags:
        store.set_experiment_tag(experiment.experiment_id, NOTE, study_note(study))
    return experiment.experiment_id


def find_study(study: str) -> str:
    """The id of a study's MLflow experiment.

    Raises:
        InputFault: there is no such study.
    """
    store = mlflow_client()
    experiment = store.get_experiment_by_name(study)
    if experiment is None:
        names = sorted(e.name for e in store.search_experiments() if e.name != "Default")
        others = f"; there are {', '.join(names)}" if names else ""
        raise InputFault(f"there is no study {study!r} in {tracking_uri()}{others}")
    return str(experiment.experiment_id)


def mlflow_client() -> MlflowClient:
    """A client of the store, to read from it.

    Raises:
        InputFault: the store cannot be used, or its server does not answer.
    """
    uri = tracking_uri()
    refuse_absent(uri)
    return client_of(uri)


def client_of(uri: str) -> MlflowClient:
    """A client of a store, which need not answer now.

    Raises:
        InputFault: it is a database that cannot be used.
    """
    from mlflow import set_tracking_uri

    set_tracking_uri(uri)
    return open_client(uri, STORE_FOLDER / "locks" / "database" if uri == default_uri() else None)


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow keeps it, read once; what changes later is not seen.

    Attributes:
        id, name, experiment_id: of the run.
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        start, end: milliseconds since 1970; `end` is None while it goes on.
        artifact_uri: where its artifacts lie.
        tags, params, metrics: the last value of each.
        datasets: of its inputs: name, digest, and what the profile says.
    """

    id: str
    name: str
    experiment_id: str
    status: str
    start: int
    end: int | None
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: Sequence[RecordedDataset] = ()

    @classmethod
    def of(cls, run: Run) -> TrackedRun:
        """The view of an MLflow run."""
        info, data = run.info, run.data
        return cls(
            str(info.run_id),
            str(info.run_name),
            str(info.experiment_id),
            str(info.status),
            int(info.start_time),
            None if info.end_time is None else int(info.end_time),
            str(info.artifact_uri),
            dict(data.tags),
            dict(data.params),
            dict(data.metrics),
            RecordedDataset.of(run),
        )

    @property
    def verb(self) -> str:
        """What made it: `fit`, `test`, `cv`, `compare`, `report`; empty where nobody said."""
        return self.tags.get("verb", "")

    @property
    def is_cv(self) -> bool:
        """Whether it is a cross-validation's parent run."""
        return self.verb == "cv"

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "FINISHED"

    @property
    def arm(self) -> str:
        """`bmode`, `ceus` or `fused`; empty where nobody said."""
        return self.tags.get("arm", "")

    @property
    def fold(self) -> int:
        """Of a fit.

        Raises:
            KeyError: it has none.
        """
        return int(self.tags["fold"])

    @property
    def parent_id(self) -> str | None:
        """The cross-validation that it is a fold of."""
        return self.tags.get(PARENT_RUN)

    @property
    def protocol(self) -> str:
        """How its patients were split; empty where nobody said."""
        return self.tags.get("protocol", "")

    @property
    def study(self) -> str:
        """The study that it was filed in; empty where nobody said."""
        return self.tags.get("study", "")

    @property
    def chosen_on(self) -> Part | None:
        """The part that chose the epoch of its weights; None where nobody chose, or nobody said."""
        return CHOSEN_ON.get(self.tags.get("selection", ""))

    @property
    def is_optimistic(self) -> bool:
        """Whether its checkpoint was selected on the test set."""
        return self.chosen_on == "test"

    @property
    def commit(self) -> str:
        """Of the code; empty outside git."""
        return self.tags.get("git_commit", "")


def find_run(reference: str) -> TrackedRun:
    """The run that `runs:/ID` or `ID` names.

    Raises:
        NotRecorded: the store has no such run.
        InputFault: it does not answer.
    """
    from mlflow.exceptions import MlflowException

    run_id = server_id(STORE_FOLDER, reference.removeprefix("runs:/").strip("/"))
    try:
        return TrackedRun.of(mlflow_client().get_run(run_id))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            yet = " yet; `mufnet sync` sends it" if (STORE_FOLDER / "outbox" / run_id).is_dir() else ""
            reason = f"neither a file nor a run in {tracking_uri()}{yet}"
            raise NotRecorded(f"{reference}: {reason}") from None
        reason = str(error).splitlines()[0]
        raise InputFault(f"{reference}: cannot be asked of {tracking_uri()}: {reason}") from None


def find_runs(
    experiment_id: str, *, finished: bool | None = None, most: int | None = None, **tags: str
) -> list[TrackedRun]:
    """The runs of a study, the latest first.

    Args:
        experiment_id: of the study.
        finished: those that came to their end alone, or those that did not.
        most: no more than these.
        tags: of the runs, as `verb="fit"`; `parent` is the tag of the parent run.
    """
    names = {"parent": PARENT_RUN}
    wanted = [f"tags.`{names.get(name, name)}` = '{value}'" for name, value in tags.items()]
    if finished is not None:
        wanted.append(f"attributes.status {'=' if finished else '!='} 'FINISHED'")
    runs: list[TrackedRun] = []
    page = None
    while True:
        answer = mlflow_client().search_runs(
            [experiment_id], " AND ".join(wanted), max_results=most or 1000, page_token=page
        )
        runs += [TrackedRun.of(run) for run in answer]
        page = answer.token
        if not page or (most and len(runs) >= most):
            return runs[:most]


def resolve_artifact(reference: str, artifact: str) -> Path:
    """A local file: `reference` itself if it is one, else that artifact of the run that it names.

    Raises:
        NotRecorded: there is no such run, or it has no such artifact.
        InputFault: there is no such file; or the store does not say, or cannot give it now.
    """
    path = Path(reference)
    if path.exists() or path.suffix:
        if not path.is_file():
            raise InputFault(f"{reference}: there is no such file")
        return path
    run = find_run(reference)
    from mlflow.exceptions import MlflowException

    try:
        return download(f"runs:/{run.id}/{artifact}", tracking_uri())
    except (MlflowException, OSError) as error:
        name = f"{reference}: run {run.name}"
        if is_missing(mlflow_client(), run.id, artifact):
            raise NotRecorded(f"{name} has no {artifact} (status {run.status})") from None
        raise InputFault(f"{name} does not give its {artifact}: {first_line(error)}") from None


def children_of(parent: TrackedRun) -> list[TrackedRun]:
    """The fits under a parent run, the latest first."""
    return find_runs(parent.experiment_id, parent=parent.id, verb="fit")


def finished_folds(parent: TrackedRun) -> dict[int, TrackedRun]:
    """The latest finished fit of each fold under a parent run."""
    latest: dict[int, TrackedRun] = {}
    for run in children_of(parent):
        if run.is_finished:
            latest.setdefault(run.fold, run)
    return dict(sorted(latest.items()))
