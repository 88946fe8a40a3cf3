"""A model by its name: a checkpoint, a run, a cross-validation, a registered model, a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mufnet_lightning.errors import InputFault, NotRecorded
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.evaluation.risks import fitted
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.rates import youden_threshold
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.inference.trained import find_device, module_of
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.guards import LARGEST_NOTES, read_text
from mufnet_lightning.system.sealed import read_sealed, refuse_not_finite, write_sealed
from mufnet_lightning.tracking.checkpoints import Checkpoint, read_checkpoint, resolve_checkpoint
from mufnet_lightning.tracking.downloads import download
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    find_run,
    finished_folds,
    mlflow_client,
    resolve_artifact,
    tracking_uri,
)
from mufnet_lightning.vocabulary import PREDICTIONS, THRESHOLD, ThresholdRule

CARD = "card.json"
log = logging.getLogger(__name__)


def load_grader(reference: str, device: str = "auto", *, bare: bool = False) -> Grader:
    """Load a trained model to grade with.

        grader = load_grader("runs:/4f2c...")          # a fit, or a cross-validation's folds together
        grades = grader.grade_pictures([{"bmode": bmode, "ceus": ceus}])
        print(grader.card.called(grades.score[0]), grades.score[0], grades.spread[0])

    Args:
        reference: a checkpoint file; `runs:/ID` or `ID` of a run; of a cross-validation's parent run,
            whose folds then grade together; `models:/NAME/VERSION` or `models:/NAME@ALIAS` of
            MLflow's registry; `models:/ID` or `runs:/ID/model` of a logged model; or a folder that
            `save_grader` wrote.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        bare: also of somebody's own module that scores in its own way, whose network alone then says
            something else.

    Raises:
        InputFault: there is no such model, it is not whole, a class of its configuration is not there,
            its module scores in its own way, or there is no such device.
    """
    where = find_device(device)
    if Path(reference).is_dir():
        return _with_patients(read_grader(Path(reference), device))
    if reference.startswith("models:/") or re.fullmatch("runs:/[^/]+/.+", reference):
        return _with_patients(read_grader(_downloaded(reference), device))
    if Path(reference).is_file():
        checkpoint = read_checkpoint(reference)
        return _grader([checkpoint], _run_of(checkpoint), Path(reference).name, where, bare)
    run = find_run(reference)
    if not run.is_cv:
        return _grader([read_checkpoint(run.id)], run, run.name, where, bare)
    checkpoints = [read_checkpoint(fold.id) for fold in whole_folds(run, reference).values()]
    return _grader(checkpoints, run, run.name, where, bare)


def whole_folds(run: TrackedRun, reference: str) -> dict[int, TrackedRun]:
    """The folds of a cross-validation that has come to its end.

    Raises:
        InputFault: it has not.
    """
    folds = finished_folds(run)
    if not folds or not run.is_finished:
        done = ", ".join(map(str, folds)) or "none"
        raise InputFault(
            f"{reference}: this cross-validation has not come to its end (folds that have: {done}); "
            "run the same `mufnet cv` again, or name the run of one fold"
        )
    return folds


def save_grader(grader: Grader, folder: Path) -> None:
    """Write a model into a folder, which is made: card.json, and the weights of each network.

    No patient is named in it, so who trained it cannot be told of it either.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, net in enumerate(grader.ensemble.members):
        state = {name: value.cpu() for name, value in net.state_dict().items()}
        write_sealed({"arguments": net.arguments, "state_dict": state}, folder / _member(number))
    card = grader.card.as_json()
    card["files"] = {
        _member(number): _digest((folder / _member(number)).read_bytes())
        for number in range(grader.card.members)
    }
    write_atomic(folder / CARD, json.dumps({**card, "digest": _card_digest(card)}, indent=2) + "\n")


def read_grader(folder: Path, device: str = "auto") -> Grader:
    """Read what `save_grader` wrote; no code in it is run.

    Raises:
        InputFault: it is not there, or not whole.
    """
    file = folder / CARD
    if not file.is_file():
        raise InputFault(f"{folder}: not a model of mufnet: it has no {CARD}")
    try:
        content = parse_json(read_text(file, LARGEST_NOTES))
        digest = content.pop("digest", None)
        if digest not in (None, _card_digest(content)):
            raise InputFault(
                f"{file}: damaged: its digest is not that of its content; take another copy"
            )
        card = ModelCard.from_json(content)
        nets = [
            _read_member(folder / _member(number), content.get("files", {}))
            for number in range(card.members)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputFault(f"{folder}: the model is damaged: {str(error).splitlines()[0]}") from None
    where = find_device(device)
    return Grader(card, Ensemble(nets).eval().to(where), where)


def _grader(
    checkpoints: Sequence[Checkpoint],
    run: TrackedRun | None,
    name: str,
    device: torch.device,
    bare: bool,
) -> Grader:
    modules = [module_of(checkpoint, name) for checkpoint in checkpoints]
    if not bare:
        for module in modules:
            _check_scoring(module, name)
    ensemble = Ensemble(module.net for module in modules).eval().to(device)
    first = checkpoints[0]
    # where it lay on the machine of the training is nobody's business
    elsewhere = ("store", "folds_from")
    data = {name: value for name, value in first.config["data"].items() if name not in elsewhere}
    validated = _validated(run)
    threshold, rule = _threshold(validated)
    trained = [cohort for checkpoint in checkpoints for cohort in checkpoint.trained]
    # of version 0.1 and early 0.1.0 the whole training part, also who had no pair to train on
    own = [one.drawn or one.trained[-1]["train"] for one in checkpoints if one.drawn or one.trained]
    before = [cohort for one in checkpoints for cohort in one.trained[:-1]]
    margins = {checkpoint.margin for checkpoint in checkpoints}
    card = ModelCard(
        name=name,
        modalities=ensemble.modalities,
        classes=tuple(modules[0].hparams["classes"]),
        image_size=int(data["image_size"]),
        members=len(checkpoints),
        patients=len(set().union(*own)) if own else None,
        centers=tuple(sorted({name for checkpoint in checkpoints for name in checkpoint.centers})),
        earlier_patients=len({(c["digest"], patient) for c in before for patient in c["train"]}),
        margin=margins.pop() if len(margins) == 1 else None,
        threshold=threshold,
        threshold_rule=rule,
        takes_missing=all(module.grades_with_one for module in modules),
        recalibration=None if validated is None else fitted(validated)[0],
        run_id=run.id if run else first.run_id,
        study=run.study if run else None,
        data={"class_path": first.configuration.data_class, "init_args": data},
    )
    return Grader(card, ensemble, device, trained, _without_weights(checkpoints))


def _without_weights(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [replace(one, state_dict={}) for one in checkpoints]


def _check_scoring(module: MufNetModule, name: str) -> None:
    """Refuse somebody's own module whose network alone would not say what it says."""
    cls = type(module)
    own = [n for n in ("forward", "predict_step") if getattr(cls, n) is not getattr(MufNetModule, n)]
    if own:
        raise InputFault(
            f"{name}: its module {cls.__name__} has a {own[0]} of its own, which its network alone "
            "does not follow; `mufnet predict --ckpt_path` asks the module"
        )


def _validated(run: TrackedRun | None) -> pd.DataFrame | None:
    """The validation rows of a run's predictions; None where it was not scored.

    Raises:
        InputFault: they cannot be read, and without them patients would get other classes, and no risk.
    """
    if run is None:
        return None
    try:
        table = read_predictions(resolve_artifact(run.id, PREDICTIONS))
        return table[table["split"] == "val"]
    except (NotRecorded, KeyError):
        return None


def _threshold(rows: pd.DataFrame | None) -> tuple[float, ThresholdRule]:
    """Youden's over validation patients, each the mean of its images; or 0.5."""
    if rows is None:
        return THRESHOLD, "0.5"
    try:
        by_patient = rows.groupby("patient_id").agg({"label": "first", "score": "mean"})
        youden = youden_threshold(by_patient["label"], by_patient["score"])
    except EvaluationError:  # nobody, or one class alone
        return THRESHOLD, "0.5"
    return (THRESHOLD, "0.5") if youden.note else (youden.value, "youden")


def _run_of(checkpoint: Checkpoint) -> TrackedRun | None:
    """The run whose selected epoch a checkpoint is: another epoch has no threshold of its own.

    Raises:
        InputFault: the tracking store does not say.
    """
    if not _is_recorded_here():
        return None
    if checkpoint.run_id is None:
        return None
    try:
        run = find_run(checkpoint.run_id)
        file = resolve_checkpoint(run.id)
    except NotRecorded:
        return None
    try:
        selected = read_checkpoint(str(file)).state_dict
    except InputFault as fault:
        log.warning(
            "warning: whether this is the selected epoch of run %s, whose threshold and risks it would "
            "have, cannot be told: %s",
            run.id,
            fault.faults[0],
        )
        return None
    same = selected.keys() == checkpoint.state_dict.keys() and all(
        torch.equal(value, checkpoint.state_dict[name]) for name, value in selected.items()
    )
    return run if same else None


def _with_patients(grader: Grader) -> Grader:
    """A saved model with the patients who trained it, which its run's checkpoints know."""
    card = grader.card
    try:
        run = find_run(card.run_id) if card.run_id and _is_recorded_here() else None
        folds = whole_folds(run, run.id).values() if run and run.is_cv else [run] if run else []
        checkpoints = _without_weights([read_checkpoint(one.id) for one in folds])
        why = f"is not in {tracking_uri() if _is_recorded_here() else 'this folder'}"
    except NotRecorded:
        checkpoints, why = [], f"is not in {tracking_uri()}"
    except InputFault as fault:
        checkpoints, why = [], f"cannot be asked ({fault.faults[0]})"
    trained = [cohort for one in checkpoints for cohort in one.trained]
    if trained:
        return replace(grader, trained=trained, checkpoints=checkpoints)
    log.warning(
        "%s is a saved model, and its run %s: nobody can tell which patients trained it", card.name, why
    )
    return grader


def _is_recorded_here() -> bool:
    """Whether there is a store to ask; none need be made for it."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or STORE_FOLDER.is_dir()


def _downloaded(reference: str) -> Path:
    """The folder of a logged or registered model."""
    from mlflow.exceptions import MlflowException

    mlflow_client()  # the registry is the tracking store's
    try:
        folder = download(reference, tracking_uri())
    except (MlflowException, OSError) as error:
        raise InputFault(f"{reference}: {str(error).splitlines()[0]}") from None
    cards = sorted(folder.rglob(CARD))
    return cards[0].parent if cards else folder


def _read_member(file: Path, digests: Mapping[str, str]) -> MufNet:
    member = read_sealed(file, what="saved network")
    if digests and digests[file.name] != _digest(file.read_bytes()):
        raise InputFault(f"{file}: damaged: its digest is not that in {CARD}; take another copy")
    refuse_not_finite(member["state_dict"], str(file))
    net = MufNet(**member["arguments"])
    net.load_state_dict(member["state_dict"])
    return net


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _card_digest(card: Mapping[str, Any]) -> str:
    """Of its values, however the file is set."""
    return _digest(json.dumps(card, sort_keys=True).encode())


def _member(number: int) -> str:
    return f"member_{number}.pt"
