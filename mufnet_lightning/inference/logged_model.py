"""A trained model in MLflow: logged under its run, and a version in the registry."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.inference.load import load_grader, save_grader
from mufnet_lightning.inference.serve import input_example, signature
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import TrackedRun, find_run, mlflow_client, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

NAME = "model"
"""Of a run's logged model: `runs:/ID/model`."""
LOADER = "mufnet_lightning.inference.serve"
_NEEDS = ("torch", "timm", "opencv-python-headless", "numpy", "pandas")
_METRICS = tuple(
    f"test/{name}{end}" for name in ("patient_auc", "auc") for end in ("", "_ci_low", "_ci_high")
)
log = logging.getLogger(__name__)


def log_model(reference: str, register: str | None = None, *, anew: bool = False) -> str | None:
    """Log the model of a run, or of a cross-validation's folds together, once.

        log_model("runs:/4f2c...", register="kidney-grade")

    Args:
        reference: `runs:/ID` or `ID` of a run.
        register: name in the registry; a model that is a version of it already stays that.
        anew: the run has been trained further: what was logged of it before is replaced.

    Returns:
        The logged model's id.

    Raises:
        InputFault: there is no such run, or it has no whole model.
        MlflowException: the tracking server is too old (before MLflow 3), or refuses.
        OSError: it is not there, or the disk is full.
    """
    run = find_run(reference)
    model = _logged(run)
    if model is not None and anew:
        mlflow_client().delete_logged_model(model.model_id)
        model = None
    if model is None:
        model = _log(load_grader(run.id, "cpu"), run)
    if register is not None:
        _register(register, model, run)
    return str(model.model_id)


def keep_model(run_id: str, register: str | None = None, *, anew: bool = False) -> None:
    """Log the model of a training that has ended (see `log_model`).

    What was trained is not lost where that fails, for whatever reason: a warning says why, and how to
    do it later.
    """
    from mlflow.exceptions import MlflowException

    try:
        log_model(run_id, register, anew=anew)
    except Exception as error:
        theirs = isinstance(error, MlflowException | InputFault | OSError)
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(".")
        if "/logged-models/" in reason and "404" in reason:
            reason = "the tracking server is older than MLflow 3, and keeps no models"
        log.warning(
            "the model of run %s could not be logged%s in %s: %s. Run and checkpoint are kept; "
            "docs/model.md says how to do it later",
            run_id,
            f" and registered as {register}" if register else "",
            tracking_uri(),
            reason,
            exc_info=not theirs,
        )


def keep_last_model(run_id: str, register: str | None = None) -> None:
    """The same for a journal, which may ask twice: a model that is younger than its run's end stays."""
    made = False
    with contextlib.suppress(Exception):  # `keep_model` says why
        run = find_run(run_id)
        model = _logged(run)
        made = model is not None and run.is_finished and model.creation_timestamp >= (run.end or 0)
    keep_model(run_id, register, anew=not made)


def check_registry(name: str) -> None:
    """Find out before training whether a model can be registered.

    Raises:
        InputFault: MLflow takes no such name, or the store has no registry that answers.
    """
    from mlflow.exceptions import MlflowException

    if name != name.strip() or name in ("", ".", "..") or re.search("[/:@'\"]", name):
        raise InputFault(f"tracking.register is {name!r}, expected a name without / : @ and quotes")
    try:
        mlflow_client().get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        reason = str(error).splitlines()[0]
        raise InputFault(f"tracking.register {name!r}: the registry refuses: {reason}") from None


def _logged(run: TrackedRun) -> LoggedModel | None:
    """The run's whole model; what a kill has left half-made is removed."""
    client = mlflow_client()
    models = client.search_logged_models(
        [run.experiment_id], f"source_run_id = '{run.id}' AND name = '{NAME}'"
    )
    for model in models:
        if model.status != "READY":
            client.delete_logged_model(model.model_id)
    return next((model for model in models if model.status == "READY"), None)


def _log(grader: Grader, run: TrackedRun) -> LoggedModel:
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, card = mlflow_client(), grader.card
    model = client.create_logged_model(
        run.experiment_id, NAME, run.id, tags=_tags(card), params=_facts(card), model_type=card.arm
    )
    with _whole_or_failed(client, model), TemporaryDirectory() as scratch:
        save_grader(grader, Path(scratch) / "weights")
        pyfunc.save_model(
            Path(scratch) / NAME,
            loader_module=LOADER,
            data_path=str(Path(scratch) / "weights"),
            mlflow_model=Model(
                artifact_path=f"models/{model.model_id}",
                model_uuid=model.model_id,
                run_id=run.id,
                model_id=model.model_id,
            ),
            signature=signature(card),
            input_example=input_example(card),
            pip_requirements=_requirements(),
            metadata=card.as_json(),
        )
        client.log_model_artifacts(model.model_id, str(Path(scratch) / NAME))
        client.log_outputs(run.id, [LoggedModelOutput(model.model_id, step=0)])
        _log_metrics(client, model, run)
    return client.get_logged_model(model.model_id)


@contextlib.contextmanager
def _whole_or_failed(client: MlflowClient, model: LoggedModel) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")


def _log_metrics(client: MlflowClient, model: LoggedModel, run: TrackedRun) -> None:
    """What the run's test part says of it, so that MLflow's table of models can be sorted by it."""
    from mlflow.entities import Metric

    known = [name for name in _METRICS if name in find_run(run.id).metrics]
    points = [client.get_metric_history(run.id, name)[-1] for name in known]
    metrics = [
        Metric(p.key, p.value, p.timestamp, p.step, model_id=model.model_id, run_id=run.id)
        for p in points
    ]
    if metrics:
        client.log_batch(run.id, metrics=metrics)


def _register(name: str, model: LoggedModel, run: TrackedRun) -> None:
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    source = f"models:/{model.model_id}"
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.source == source:
            log.info("%s is version %s of %s", run.name, known.version, name)
            return
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {key: value for key, value in model.tags.items() if not key.startswith("mlflow.")}
    made = client.create_model_version(
        name,
        source,
        run.id,
        tags={**tags, **model.params},
        description=model.tags.get(NOTE),
        model_id=model.model_id,
    )
    log.info("%s is registered: models:/%s/%s", run.name, name, made.version)


def _facts(card: ModelCard) -> dict[str, str]:
    facts = {
        "modalities": ", ".join(card.modalities),
        "members": card.members,
        "patients": card.patients,
        "image_size": card.image_size,
        "margin": card.margin,
        "threshold": card.threshold,
        "threshold_rule": card.threshold_rule,
        "takes_missing": card.takes_missing,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _tags(card: ModelCard) -> dict[str, str]:
    tags = {NOTE: card.sentence(), "arm": card.arm, "study": card.study, "mufnet": card.version}
    return {name: value for name, value in tags.items() if value is not None}


def _requirements() -> list[str]:
    """What loads and runs it, as it is installed here."""
    needs = [f"mufnet-lightning=={__version__}"]
    for name in _NEEDS:
        with contextlib.suppress(PackageNotFoundError):  # another build of OpenCV, say
            needs.append(f"{name}=={version(name).partition('+')[0]}")
    return needs
