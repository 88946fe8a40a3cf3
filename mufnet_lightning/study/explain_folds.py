"""`mufnet explain`: where a past run's network looks; a cross-validation is explained fold by fold.

What can be refused at once is refused before torch and statistics are imported.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.study.out_folder import make_folder
from mufnet_lightning.tracking.runs import find_run, finished_folds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExplainRequest:
    """What is to be explained, and where to.

    Args:
        run: `runs:/ID` or `ID` of a run, or of a cross-validation's parent run.
        options: how.
        patients: make a montage of these instead of explaining the test part, whichever part of the
            run they are in.
        every: also a montage of each test patient.
        store, device: see `load_trained`.
        phantom: a phantom's cohort folder, to point at its signal.
        out: also write pictures and tables into this folder.

    Raises:
        InputFault: patients were named, and something asked that is of the test part.
    """

    run: str
    options: ExplainOptions = field(default_factory=ExplainOptions)
    patients: tuple[str, ...] = ()
    every: bool = False
    store: str | None = None
    device: str = "auto"
    phantom: Path | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.patients and (self.every or self.phantom):
            raise InputFault(
                "--patient goes with neither --all nor --phantom, which are of the test part"
            )


def explain_run(request: ExplainRequest) -> None:
    """Explain the test part of a run, or some of its patients; print numbers, record all in the run.

    A store without grades has no test part: all its patients, or those that are asked for, are shown,
    and nothing is recorded.

    Raises:
        InputFault: there is no such run, checkpoint, store or patient, the network has no feature
            maps, or a store without grades is asked for what needs them; what was explained before
            stays.
    """
    run = find_run(request.run)
    if request.out:
        make_folder(request.out)
    folds = finished_folds(run) if run.is_cv else {}
    if run.is_cv and not folds:
        raise InputFault(f"{request.run}: this cross-validation has no finished fold to explain")
    from mufnet_lightning.explain.record import record_pooled_explanations
    from mufnet_lightning.explain.tables import printed
    from mufnet_lightning.inference.trained import load_trained
    from mufnet_lightning.phantom.truth import PhantomTruth
    from mufnet_lightning.study.explain_fold import (
        explain_patients,
        explain_test_part,
        explain_ungraded,
    )

    signal = PhantomTruth(request.phantom) if request.phantom else None
    for fold, one in folds.items() or {-1: run}.items():
        if folds:
            log.info("%s: fold %s of %s", one.name, fold, ", ".join(map(str, folds)))
        out = request.out / one.name if request.out and folds else request.out
        trained = load_trained(one.id, request.store, request.device)
        if not trained.data.store.is_graded:
            explain_ungraded(one, trained, request.options, request.patients, out, signal)
            continue
        if request.patients:
            explain_patients(one, trained, request.options, request.patients, out)
            continue
        summary = explain_test_part(one, trained, request.options, signal, request.every, out)
        if not folds:
            print(printed(summary))
            log.info("recorded in run %s %s: explain/%s", one.name, one.id, request.options.label)
    if folds and not request.patients and trained.data.store.is_graded:
        pooled = record_pooled_explanations(run, folds)[request.options.label]  # all were just made
        print(f"all folds together\n{printed(pooled.summary)}")
        log.info("recorded in run %s %s", run.name, run.id)
