"""Where runs are recorded: MLflow, by default a SQLite file and a folder beside the work."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STORE_FOLDER = Path("mlruns")
CHECKPOINT = "checkpoints/selected.ckpt"
PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Tracking:
    """How a run is filed.

    Args:
        study: runs of one study stand together: the MLflow experiment and the tag `study`.
        run_name: of the run; by default arm and fold, `fused-fold0`.
        parent_run: id of the run that this one is a fold of.
        baseline: an arm to test against after validation and test: a predictions CSV, or a run or
            cross-validation that scored the same images.
    """

    study: str = "mufnet"
    run_name: str | None = None
    parent_run: str | None = None
    baseline: str | None = None


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store under mlruns/ in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _default_uri()


def _default_uri() -> str:
    STORE_FOLDER.mkdir(exist_ok=True)
    return f"sqlite:///{(STORE_FOLDER / 'mlflow.db').resolve().as_posix()}"


def open_study(study: str) -> str:
    """The id of a study's MLflow experiment, which is made if it is not there yet.

    Raises:
        InputFault: somebody deleted it, and MLflow keeps the name.
    """
    store = client()
    experiment = store.get_experiment_by_name(study)
    if experiment is None:
        # a tracking server knows its own place (MLflow sets the variable by itself too)
        own = tracking_uri() == _default_uri()
        location = (STORE_FOLDER / "artifacts").resolve().as_uri() if own else None
        # the UI then opens on the table of runs, not on what it has for language models
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return store.create_experiment(study, location, tags)
    if experiment.lifecycle_stage == "deleted":
        raise InputFault(f"study {study!r} was deleted in MLflow; restore it, or choose another name")
    return experiment.experiment_id


def client() -> MlflowClient:
    """A client of the store."""
    from mlflow import MlflowClient, set_tracking_uri

    set_tracking_uri(tracking_uri())
    return MlflowClient()


def arm_name(modalities: tuple[str, ...] | list[str]) -> str:
    """`bmode`, `ceus`, or `fused` for both."""
    return modalities[0] if len(modalities) == 1 else "fused"


def git_commit() -> str | None:
    """The commit of the code that runs, with `-dirty` when files differ from it; None outside git."""
    folder = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changes else "")


def commit_tags() -> dict[str, str]:
    """The commit as tags: ours, and the one that the MLflow UI shows as the version."""
    commit = git_commit()
    return {"git_commit": commit, "mlflow.source.git.commit": commit} if commit else {}


def checkpoint_folder(run_id: str) -> Path:
    """Where a run keeps its checkpoints while it goes on."""
    return (STORE_FOLDER / "checkpoints" / run_id).resolve()


def find_run(reference: str) -> Run:
    """The run that `runs:/ID` or `ID` names.

    Raises:
        InputFault: the store has no such run.
    """
    from mlflow.exceptions import MlflowException

    run_id = reference.removeprefix("runs:/").strip("/")
    try:
        return client().get_run(run_id)
    except MlflowException:
        raise InputFault(f"{reference}: neither a file nor a run in {tracking_uri()}") from None


def resolve_artifact(reference: str, artifact: str) -> Path:
    """A local file: `reference` itself if it is one, else that artifact of the run that it names.

    Raises:
        InputFault: there is neither such a file nor such a run, or the run has no such artifact.
    """
    path = Path(reference)
    if path.exists() or path.suffix:
        if not path.is_file():
            raise InputFault(f"{reference}: there is no such file")
        return path
    run = find_run(reference)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        uri = f"runs:/{run.info.run_id}/{artifact}"
        return Path(download_artifacts(artifact_uri=uri, tracking_uri=tracking_uri()))
    except (MlflowException, OSError):
        raise InputFault(
            f"{reference}: run {run.info.run_name} has no {artifact} (status {run.info.status})"
        ) from None


def resolve_checkpoint(reference: str, unfinished: bool = False) -> Path:
    """The checkpoint file that a path or an MLflow run names (see `resolve_artifact`).

    With `unfinished`, a run that did not come to its end gives its last epoch, to go on from.
    """
    try:
        return resolve_artifact(reference, CHECKPOINT)
    except InputFault:
        last = checkpoint_folder(reference.removeprefix("runs:/").strip("/")) / "last.ckpt"
        if unfinished and last.is_file():
            return last
        raise


def read_checkpoint(reference: str, unfinished: bool = False) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU; no code in it is run.

    Raises:
        InputFault: it is not there, or not a checkpoint of mufnet.
    """
    import pickle

    import torch

    path = resolve_checkpoint(reference, unfinished)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = "it holds code" if "GLOBAL" in str(error) else "it cannot be read"
        raise InputFault(f"{reference}: not a checkpoint of mufnet: {reason}") from None
    if not isinstance(content, dict) or not {"state_dict", "mufnet_config"} <= content.keys():
        raise InputFault(f"{reference}: not a checkpoint of mufnet: no weights and configuration in it")
    return content
