"""Single calls of MLflow by which a journal is sent, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.opening import without_password
from mufnet_lightning.tracking.runs import default_uri, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.exceptions import MlflowException

BIRTH = "journal"
"""The tag of the id that a run had before the store knew it: a run is not made twice."""
GONE = "RESOURCE_DOES_NOT_EXIST"
_REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "ENDPOINT_NOT_FOUND")
_NEVER = (400, 411, 413, 414, 415, 422)
"""HTTP answers to what is sent, and not to who sends it or when: it will not be taken later either."""
_FEW = 100  # parameters that MLflow takes at once
log = logging.getLogger(__name__)


class Unsent(Exception):
    """The store cannot be reached, or does not take a record now; the text says why."""


def remove_twins(client: MlflowClient, run_id: str) -> None:
    """Delete what a request made that seemed to have failed, and was sent again: an empty run."""
    run = client.get_run(run_id)
    birth, study = run.data.tags.get(BIRTH), run.info.experiment_id
    for twin in client.search_runs([study], f"tags.`{BIRTH}` = '{birth}'") if birth else ():
        if twin.info.run_id != run_id and not (twin.data.metrics or twin.data.params):
            client.delete_run(twin.info.run_id)


def store_uri(stored: str) -> str:
    """The address of the store that a journal is for, without its password; "" is this folder's own."""
    if not stored:
        return default_uri()
    now = tracking_uri()
    return now if stored == without_password(now) else stored


@contextmanager
def refusals(what: str, warns: bool = False) -> Iterator[list[str]]:
    """What the store will never take is left out, so that the rest arrives; a warning says so."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    refused: list[str] = []
    try:
        yield refused
    except (MlflowException, HTTPError) as error:
        if isinstance(error, HTTPError):  # of artifacts
            known = error.response is not None and error.response.status_code in _NEVER
        else:
            known = error.error_code in _REFUSED
        if not known:
            raise
        refused.append(reason_of(error))
        if warns:
            log.warning("warning: MLflow refuses %s of the run: %s", what, reason_of(error))


def delete_tag(client: MlflowClient, run_id: str, name: str) -> None:
    """Take a tag away, where it is."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_tag(run_id, name)
    except MlflowException as error:  # it is not there
        if error.error_code != GONE or "tag" not in str(error).lower():
            raise


def send_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters; of a batch that is refused each that is not."""
    from mlflow.entities import Param

    rows = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(rows), _FEW):
        part = rows[start : start + _FEW]
        with refusals(f"{len(part)} parameters") as refused:
            client.log_batch(run_id, params=part)
        for one in part if refused else ():
            with refusals(f"parameter {one.key}", warns=True):
                client.log_batch(run_id, params=[one])


def dataset_of(content: Mapping[str, Any]) -> DatasetInput:
    """A data set of a run, from its record."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag(name, value) for name, value in content["tags"].items()]
    return DatasetInput(Dataset(**content["dataset"]), tags)


def refusal(error: BaseException) -> str:
    """What MLflow raised, as a sentence."""
    return f"the tracking store refuses: {reason_of(error)}"


def faults_of(error: InputFault | MlflowException) -> list[str]:
    """The sentences of what was raised."""
    return list(error.faults) if isinstance(error, InputFault) else [refusal(error)]


def reason_of(error: BaseException) -> str:
    """What was raised, in a line."""
    text = (str(error) or repr(error)).splitlines()[0]
    return text if len(text) < 200 else f"{text[:200]}..."
