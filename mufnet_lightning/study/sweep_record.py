"""What a search leaves: a table of its trials, Optuna's own plots, and the settings that it chose."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import yaml
from matplotlib import pyplot

from mufnet_lightning.study.search import RUN_ID, SAME_AS, Search
from mufnet_lightning.study.space import Values
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.artifacts import artifact_text
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import mlflow_client

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOSEN = "chosen.yaml"
TRIALS = "trials.csv"
_LEAST = 2
"""Trials with a score that a plot needs."""
log = logging.getLogger(__name__)


def trial_table(search: Search) -> pd.DataFrame:
    """A row a trial, in their order.

    Columns: trial, state (complete, pruned, fail), the metric's name (its score; of a pruned trial
    that of its last epoch), epochs, seconds, a column a setting, same_as (the trial that it repeats)
    and run_id.
    """
    rows = []
    for one in search.finished():
        epochs = max(one.intermediate_values, default=None)
        value = one.value
        if value is None and epochs is not None:
            value = one.intermediate_values[epochs]
        rows.append(
            {
                "trial": one.number,
                "state": one.state.name.lower(),
                search.spec.metric: value,
                "epochs": epochs,
                "seconds": None if one.duration is None else round(one.duration.total_seconds(), 1),
                **{
                    setting.name: one.params.get(setting.name) for setting in search.spec.space.settings
                },
                "same_as": one.user_attrs.get(SAME_AS),
                "run_id": one.user_attrs.get(RUN_ID, ""),
            }
        )
    return pd.DataFrame(rows).astype({"epochs": "Int64", "same_as": "Int64"})


def chosen_settings(search: Search) -> Values:
    """The values of the trial with the largest score, by setting.

    Raises:
        InputFault: no trial has one.
    """
    from optuna.trial import FixedTrial

    return search.spec.space.draw(FixedTrial(search.best().params))  # type: ignore[arg-type]


def chosen_configuration(search: Search) -> str:
    """The whole configuration of that trial, as YAML that `mufnet fit` and `cv` take.

    Raises:
        InputFault: no trial has a score, or its run cannot be read.
    """
    best = search.best()
    config: dict[str, Any] = yaml.safe_load(artifact_text(str(best.user_attrs[RUN_ID]), "config.yaml"))
    for settings in (config["data"], config["data"].get("init_args") or {}):
        for name in ("with_test", "fold"):  # an own split stays: else who chose might be tested
            settings.pop(name, None)
    for name in ("parent_run", "run_name", "trial", "baseline", "register"):
        config["tracking"].pop(name, None)
    text = yaml.safe_dump(config, sort_keys=False)
    return (
        f"# Chosen by {search.spec.metric} {best.value:.4f} of the validation patients, from "
        f"{search.trained()} trials.\n{text}"
    )


def record_search(search: Search) -> None:
    """Write the table, the plots and what was chosen into the run of a search.

    Raises:
        InputFault: no trial has a score.
    """
    best, client, run_id = search.best(), mlflow_client(), search.parent.id
    chosen = chosen_settings(search)
    client.log_text(run_id, csv_text(trial_table(search)), TRIALS)
    client.log_text(run_id, chosen_configuration(search), CHOSEN)
    for name, figure in figures(search).items():
        kept = {"bbox_inches": "tight", "dpi": 150}  # Optuna places names beside its axes
        client.log_figure(run_id, figure, f"figures/{name}.png", save_kwargs=kept)
        pyplot.close(figure)
    metric = search.spec.metric
    client.set_tag(run_id, "chosen_trial", str(best.number))
    client.log_metric(run_id, "trials", search.trained())
    client.log_metric(run_id, f"best_{metric}", float(best.value or 0.0))
    settings = "\n".join(f"- `{name}`: {value}" for name, value in chosen.items())
    client.set_tag(
        run_id,
        NOTE,
        f"A search of settings of arm **{search.arm}** on the validation patients of fold "
        f"{search.fold}; {search.trained()} trials, each a child of this run. Trial {best.number} has "
        f"the largest `{metric}`, {best.value:.3f}: **chosen as the largest, so it flatters**. No "
        f"picture of a test patient was opened.\n\n{settings}",
    )


def figures(search: Search) -> Mapping[str, Figure]:
    """Optuna's own plots, by name; those that these trials cannot give are left out."""
    from optuna.visualization import matplotlib as plots

    scored = search.completed()
    if len(scored) < _LEAST:
        return {}
    names = [setting.name for setting in search.spec.space.settings]
    varied = [name for name in names if len({str(one.params[name]) for one in scored}) > 1]
    label: Any = {"target_name": search.spec.metric}
    wanted: dict[str, Callable[[], Any]] = {
        "optimization_history": lambda: plots.plot_optimization_history(search.study, **label),
        "slice": lambda: plots.plot_slice(search.study, **label),
    }
    if len(varied) > 1:
        wanted["param_importances"] = lambda: plots.plot_param_importances(search.study, **label)
        wanted["parallel_coordinate"] = lambda: plots.plot_parallel_coordinate(search.study, **label)
    if any(one.intermediate_values for one in search.finished()):
        wanted["intermediate_values"] = lambda: plots.plot_intermediate_values(search.study)
    drawn = {}
    pyplot.switch_backend("agg")  # Optuna draws with it; no screen is needed
    for name, draw in wanted.items():
        try:
            with warnings.catch_warnings(), mpl.rc_context({"figure.figsize": (10.0, 6.0)}):
                warnings.simplefilter("ignore")
                drawn[name] = _figure_of(draw())
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            log.warning("warning: no plot %s: %s", name, error)
    return drawn


def _figure_of(axes: Any) -> Figure:
    """Of one pair of axes, or an array of them."""
    first = axes if hasattr(axes, "figure") else axes.ravel()[0]
    figure: Figure = first.figure
    return figure
