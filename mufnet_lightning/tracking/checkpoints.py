"""Checkpoints: where a run keeps them, and what is in one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.sealed import read_sealed, refuse_not_finite
from mufnet_lightning.tracking.configuration import Configuration
from mufnet_lightning.tracking.liveness import locked
from mufnet_lightning.tracking.run_ids import own_id
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    find_run,
    mlflow_client,
    resolve_artifact,
)
from mufnet_lightning.tracking.stores import noted_store

CHECKPOINT = "checkpoints/selected.ckpt"
LAST = "last.ckpt"
_CONFIG, _FOLDS, _DIGEST, _COHORT, _TRAINED, _RUN, _MARGIN, _CENTERS, _DRAWN = (
    f"mufnet_{name}"
    for name in ("config", "folds", "digest", "cohort", "trained", "run", "margin", "centers", "drawn")
)
_MOVED = ("lr", "momentum", "weight_decay", "lr_step", "lr_factor")  # to the optimiser, after 0.1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of this package holds, whichever version wrote it.

    Attributes:
        state_dict: weights by name, on the CPU.
        hyper_parameters: arguments of the module's class.
        configuration: of the run that wrote it.
        folds: the fold table of its training, as CSV text.
        digest: of the store that it was trained on.
        cohort: id of that store's cohort; None in those of version 0.1.
        trained: the cohorts that trained it, also by way of its `init_from`: each with `digest`,
            `cohort` (where known), `patients` (label by id) and `train` (ids).
        run_id: of the run that wrote it.
        margin: context around the boxes of the crops that trained it, as a share of their sides; None
            where nobody noted it.
        centers: names of the centres of the patients who trained it, where they are known.
        drawn: ids of the patients of its training part who have pairs that it could be trained on.
    """

    state_dict: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]
    configuration: Configuration
    folds: str | None = None
    digest: str | None = None
    cohort: str | None = None
    trained: list[dict[str, Any]] = field(default_factory=list)
    run_id: str | None = None
    margin: float | None = None
    centers: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """The settings, by section and name."""
        return self.configuration.settings

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Checkpoint:
        """Of what was loaded from a file."""
        configuration = Configuration.parse(content[_CONFIG])
        # only version 0.1 had them in the module, and it had no other module
        moved = _MOVED if configuration.is_earlier else ()
        parameters = {
            name: value
            for name, value in content.get("hyper_parameters", {}).items()
            if not name.startswith("_") and name not in moved
        }
        return cls(
            content["state_dict"],
            parameters,
            configuration,
            content.get(_FOLDS),
            content.get(_DIGEST),
            content.get(_COHORT),
            list(content.get(_TRAINED, [])),
            content.get(_RUN),
            content.get(_MARGIN),
            tuple(content.get(_CENTERS, ())),
            tuple(content.get(_DRAWN, ())),
        )


def checkpoint_record(
    config: str,
    folds: str,
    cohort: Mapping[str, Any],
    before: list[dict[str, Any]],
    run_id: str | None,
    margin: float,
    centers: Sequence[str],
    drawn: Sequence[str],
) -> dict[str, Any]:
    """What a checkpoint says beside Lightning's own content: how to run it, whom it was trained on.

    Args:
        config: composed configuration, YAML.
        folds: fold table, CSV.
        cohort: that trains it now (see `Checkpoint.trained`).
        before: cohorts that its initial weights were trained on.
        run_id: of the run that writes it; None where none is recorded.
        margin, centers, drawn: see `Checkpoint`.
    """
    own = dict(cohort)
    record = {
        _CONFIG: config,
        _FOLDS: folds,
        _DIGEST: own["digest"],
        _COHORT: own.get("cohort"),
        _TRAINED: [*(other for other in before if other != own), own],
        _MARGIN: margin,
        _CENTERS: list(centers),
        _DRAWN: list(drawn),
    }
    return record if run_id is None else {**record, _RUN: run_id}


def trained_cohorts(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cohorts that trained the weights of a checkpoint that Lightning has loaded."""
    return list(content.get(_TRAINED, []))


def checkpoint_folder(run_id: str) -> Path:
    """Where a run keeps its checkpoints while it goes on."""
    return (STORE_FOLDER / "checkpoints" / own_id(STORE_FOLDER, run_id)).resolve()


def last_checkpoint(run_id: str) -> Path:
    """The last epoch of a run that did not come to its end."""
    return checkpoint_folder(run_id) / LAST


def remove_left_checkpoints(only: Path | None = None) -> None:
    """Remove what runs that came to their end had kept to go on from: a kill may have left it.

    A run that has no checkpoint among its artifacts, as a notebook's, keeps what is here.

    Args:
        only: folder of one run; all of them unless given.
    """
    root = STORE_FOLDER / "checkpoints"
    folders = [only] if only is not None else sorted(root.iterdir()) if root.is_dir() else []
    for folder in folders:
        with suppress(InputFault):  # of a run that is not known here; or nobody answers
            if not locked(folder.name) and _is_kept(find_run(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_kept(run: TrackedRun) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        there = mlflow_client().list_artifacts(run.id, str(PurePosixPath(CHECKPOINT).parent))
    except (MlflowException, OSError):
        return False
    return run.is_finished and CHECKPOINT in {entry.path for entry in there}


def resolve_checkpoint(reference: str, unfinished: bool = False) -> Path:
    """The checkpoint file that a path or an MLflow run names (see `resolve_artifact`).

    With `unfinished`, a run that did not come to its end gives its last epoch, to go on from, also
    where its selected one is among its artifacts already.
    """
    last = last_checkpoint(reference.removeprefix("runs:/").strip("/"))
    if unfinished and not Path(reference).exists() and last.is_file():
        return last
    return resolve_artifact(reference, CHECKPOINT)


def read_checkpoint(reference: str, unfinished: bool = False) -> Checkpoint:
    """What a checkpoint holds, on the CPU; no code in it is run.

    Args:
        reference: a file, or `runs:/ID` or `ID` of a run.
        unfinished: a run that did not come to its end gives its last epoch.

    Raises:
        InputFault: it is not there, it is damaged or not a checkpoint of mufnet, or some of its weights
            are no numbers.
    """
    content = read_sealed(resolve_checkpoint(reference, unfinished), reference)
    if not isinstance(content, dict) or not {"state_dict", _CONFIG} <= content.keys():
        raise InputFault(f"{reference}: not a checkpoint of mufnet: no weights and configuration in it")
    if not isinstance(content["state_dict"], dict):
        raise InputFault(f"{reference}: not a checkpoint of mufnet: no tensors by name in it")
    try:
        checkpoint = Checkpoint.of(content)
        problem = checkpoint.configuration.problem()
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    if problem is not None:
        raise InputFault(f"{reference}: the configuration in this checkpoint is broken: {problem}")
    refuse_not_finite(checkpoint.state_dict, reference)
    data = checkpoint.config["data"]
    if isinstance(data.get("store"), str):
        data["store"] = noted_store(data["store"])
    return checkpoint
