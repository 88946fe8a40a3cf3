"""What the MLflow UI opens on: views of a study's runs, kept as tags of its experiment.

MLflow keeps a saved view of its table of runs (columns, order, filter, charts) as a tag
`mlflow.sharedViewState.KEY` of the experiment; its UI has no other way to be told. The form is that of
MLflow 3.15 and later; tests/commands/test_ui.py holds it in a real browser. Where it is not understood,
the plain table of runs stands in.
"""

from __future__ import annotations

import base64
import json
import logging
import shlex
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.runs import (
    PARENT_RUN,
    TrackedRun,
    find_run,
    find_runs,
    find_study,
    mlflow_client,
    tracking_uri,
)

log = logging.getLogger(__name__)

View = Literal["arms", "folds", "fits"]
HOST, PORT = "127.0.0.1", 5000
"""Where `mufnet ui` serves the runs of this folder, unless another port is given."""
UNDERSTOOD = (3, 15)
"""The first MLflow with views that have a name."""
TAG = "mlflow.sharedViewState."
WRITER = "written_by"
"""Marks a view as ours; one that somebody has saved over in the UI lacks it, and is left alone."""

AUC = "test/patient_auc"
NUMBERS = (
    AUC,
    "test/patient_auc_ci_low",
    "test/patient_auc_ci_high",
    "test/auc",
    "test/patient_sensitivity",
    "test/patient_specificity",
    "test/patient_accuracy",
)
COLOURS = {"bmode": "#000000", "ceus": "#0072B2", "fused": "#D55E00"}
"""Of the arms' runs in its charts, as in the figures; MLflow's own may be the same for two arms."""
RUN_COLOUR = "mlflow.runColor"
MANY = 50
"""So many runs are no comparison of arms."""
CHARTS = (AUC, *NUMBERS[3:])
"""What its charts begin with; a bound of an interval is no chart."""


@dataclass(frozen=True)
class SavedView:
    """A view of a study's runs.

    Attributes:
        name: that the UI's menu of views shows.
        filter: which runs, in MLflow's words.
        order: the column that they are sorted by.
        ascending: the smallest first.
        tags: of the runs, shown beside the numbers.
    """

    name: str
    filter: str
    order: str
    ascending: bool = False
    tags: Sequence[str] = ()

    def state(self) -> Mapping[str, object]:
        """What MLflow's table of runs is set to, in its own words."""
        columns = [
            *(_column("metrics", name) for name in NUMBERS[:3]),
            _column("tags", "arm"),
            *(_column("metrics", name) for name in NUMBERS[3:]),
            _column("params", "model.encoder"),
            *(_column("tags", name) for name in self.tags),
        ]
        # what is always shown; narrow, so that the interval is seen beside an open side panel
        first = {_column("attributes", "Run Name"): 125, "runDateAndNestInfo": 125}
        charts = [
            {
                "type": "BAR",
                "uuid": f"mufnet-{number}",
                "metricSectionId": "mufnet",
                "metricKey": metric,
                "displayName": metric,
                "runsCountToCompare": 20,
                "deleted": False,
                "isGenerated": False,
            }
            for number, metric in enumerate(CHARTS)
        ]
        return {
            "searchFilter": self.filter,
            "orderByKey": self.order,
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": columns,
            "columnOrder": [*first, *columns],
            "columnWidths": {**first, **{column: _width(column) for column in columns}},
            "runsHiddenMode": "FIRST_20_RUNS",
            # the UI adds a chart of every other metric below these
            "compareRunCharts": charts,
            "compareRunSections": [
                {
                    "uuid": "mufnet",
                    "name": "The test part",
                    "columns": 2,
                    "cardHeight": 280,
                    "display": True,
                    "isReordered": True,
                    "deleted": False,
                    "isGenerated": False,
                }
            ],
            "isAccordionReordered": True,
        }


def views_of(experiment_id: str) -> dict[View, SavedView]:
    """The views that a study has now.

    `arms`: the cross-validations; where there is none yet, the fits. `folds`: the fits of the
    cross-validations. `fits`: those that belong to none. The last two only where there are
    cross-validations; comparisons, reports and runs that score again are in none of them. None where
    there is nothing but those: the plain table shows them.
    """
    by_auc, by_name = _column("metrics", AUC), _column("tags", "mlflow.runName")
    fits, parent = _has("verb", "fit"), f"tags.`{PARENT_RUN}`"
    of_cv, of_fit = ("protocol", "selection"), ("fold", "protocol", "selection")
    if not find_runs(experiment_id, most=1, verb="cv"):
        if not find_runs(experiment_id, most=1, verb="fit"):
            return {}
        return {"arms": SavedView("Arms", fits, by_auc, tags=of_fit)}
    return {
        "arms": SavedView("Arms", _has("verb", "cv"), by_auc, tags=of_cv),
        "folds": SavedView("Folds", f"{fits} AND {parent} IS NOT NULL", by_name, True, of_fit),
        "fits": SavedView("Single fits", f"{fits} AND {parent} IS NULL", by_auc, tags=of_fit),
    }


def write_views(experiment_id: str) -> set[View]:
    """Bring the views of a study up to date, where they are not.

    Returns:
        Those that it has now.

    Raises:
        MlflowException: the store cannot be written to, or be asked.
    """
    client = mlflow_client()
    known = client.get_experiment(experiment_id).tags
    views = views_of(experiment_id)
    for key, view in views.items():
        tag = f"{TAG}mufnet-{key}"
        text = _envelope(view, known.get(tag))
        if text is not None:
            client.set_experiment_tag(experiment_id, tag, text)
    if views:
        runs = find_runs(experiment_id, most=MANY, verb="cv" if "folds" in views else "fit")
        if len(runs) < MANY:
            _colour(runs)
    return set(views)


def _colour(runs: Sequence[TrackedRun]) -> None:
    """Give an arm's only run the arm's colour, unless it has one; several of an arm are told apart."""
    for arm, colour in COLOURS.items():
        of_arm = [run for run in runs if run.arm == arm]
        if len(of_arm) == 1 and RUN_COLOUR not in of_arm[0].tags:
            mlflow_client().set_tag(of_arm[0].id, RUN_COLOUR, colour)


def study_link(study: str, view: View = "arms") -> str:
    """The address of a study's runs in the MLflow UI, set to one of its views.

    It is that of the server where the runs are recorded, or that which `mufnet ui` serves.

    Args:
        study: that has runs.
        view: see `views_of`; `arms` where the study lacks it.

    Raises:
        InputFault: there is no such study, or its store has no MLflow UI that we know the address of.
    """
    return experiment_link(find_study(study), view)


def experiment_link(experiment_id: str, view: View = "arms", server: str | None = None) -> str:
    """The same by the experiment's id.

    Args:
        experiment_id: of the study.
        view: of its runs.
        server: begin of the address; that of the store, or of `mufnet ui`, unless given.

    Raises:
        InputFault: the store has no MLflow UI that we know the address of.
    """
    from mlflow.exceptions import MlflowException

    plain = runs_page(experiment_id, server or server_address())
    try:
        version = mlflow_version()
        if version < UNDERSTOOD:
            log.debug("MLflow %s has no saved views; the plain table of runs stands in", version)
            return plain
        views = write_views(experiment_id)
    except (MlflowException, OSError) as error:
        log.debug("the views of experiment %s could not be written: %s", experiment_id, error)
        return plain
    return f"{plain}&viewStateShareKey=mufnet-{view if view in views else 'arms'}" if views else plain


def runs_page(experiment_id: str, server: str) -> str:
    """The address of an experiment's plain table of runs; nothing is asked and nothing written."""
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def link_line(study: str, view: View = "arms") -> str:
    """The last line of a verb that has recorded something: where to look at it.

    Empty where the store has no MLflow UI that we know the address of. Never raises for what MLflow
    does: the runs are recorded, and that is not undone by a link that is missing.
    """
    from mlflow.exceptions import MlflowException

    try:
        link = study_link(study, view)
    except (InputFault, MlflowException, OSError) as fault:
        log.debug("no link to study %s: %s", study, fault)
        return ""
    return link if is_remote() else f"mufnet ui {shlex.quote(study)}   opens {link}"


def run_link_line(run_id: str, view: View = "arms") -> str:
    """The same for the study that a run is filed in."""
    from mlflow.exceptions import MlflowException

    try:
        experiment = mlflow_client().get_experiment(find_run(run_id).experiment_id)
    except (InputFault, MlflowException, OSError) as fault:
        log.debug("no link to run %s: %s", run_id, fault)
        return ""
    return link_line(str(experiment.name), view)


def is_remote() -> bool:
    """Whether runs are recorded on a tracking server."""
    return tracking_uri().startswith(("http://", "https://"))


def server_address() -> str:
    """The begin of every address of the MLflow UI over our runs, without a password.

    Raises:
        InputFault: the store is neither a server nor a database or folder that one can serve.
    """
    uri = tracking_uri()
    if is_remote():
        parts = urlsplit(uri)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    if uri.startswith(("databricks", "uc")):
        raise InputFault(f"{uri} has pages of its own; `mufnet ui` serves databases and opens servers")
    return f"http://{HOST}:{PORT}"


def mlflow_version() -> tuple[int, ...]:
    """Major and minor of the MLflow whose UI shows the runs: the server's, or the one installed.

    Raises:
        MlflowException: the server does not answer.
    """
    from mlflow import __version__

    text = str(__version__)
    if is_remote():
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        answer = http_request(get_default_host_creds(tracking_uri()), "/version", "GET", timeout=10)
        text = answer.text if answer.ok else ""
    numbers = text.strip().split(".")[:2]
    return tuple(int(number) for number in numbers) if all(map(str.isdigit, numbers)) else (0,)


def _column(kind: str, name: str) -> str:
    """What MLflow calls a column."""
    return f"{kind}.`{name}`"


def _width(column: str) -> int:
    """Pixels that the column's name takes at the head of the table."""
    return max(80, 6 * len(column.split("`")[1]) + 28)


def _has(tag: str, value: str) -> str:
    return f"tags.{tag} = '{value}'"


def _envelope(view: SavedView, known: str | None) -> str | None:
    """The tag that holds the view; None where `known`, what is there, is to stay."""
    now = int(time.time() * 1000)
    envelope: dict[str, object] = {"name": view.name, "createdAt": now, "updatedAt": now}
    if known is not None:
        try:
            before = json.loads(known)
            if before.get(WRITER) != "mufnet":
                return None
            if before["name"] == view.name and _unpacked(before["state"]) == view.state():
                return None
            envelope["createdAt"] = int(before["createdAt"])
        except (AttributeError, LookupError, TypeError, ValueError, zlib.error) as error:
            log.debug("a view is written anew, since it could not be read: %s", error)
    return json.dumps({**envelope, "state": _packed(view.state()), WRITER: "mufnet"})


def _packed(state: Mapping[str, object]) -> str:
    """As MLflow packs it: JSON, zlib, base64."""
    text = json.dumps(state, separators=(",", ":"), sort_keys=True)
    return "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> object:
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;"))))
