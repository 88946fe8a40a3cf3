"""`mufnet predict --run`: new patients, from a clip, a cohort folder or a store to a page.

With `--ckpt_path` in place of `--run`, predict is LightningCLI's (see `lightning`).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mufnet_lightning.commands.options import option
from mufnet_lightning.errors import InputFault, check_within
from mufnet_lightning.inference.files import PAGE, RESULT_FILES
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.vocabulary import LARGEST_MARGIN, Contrast

if TYPE_CHECKING:
    from mufnet_lightning.inference.card import ModelCard
    from mufnet_lightning.inference.grader import Grader
    from mufnet_lightning.store.cut_apart import LeftOut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predict:
    """Grade new patients: give a clip with its boxes, a cohort folder, or a store.

    Prints a row a patient and writes under `out` predictions.csv (a row an image), patients.csv,
    result.json and page.html, to print. Patients and images that cannot be graded are named, and the
    exit code is then 2; the others are graded all the same.

    With --ckpt_path in place of --run the options are LightningCLI's, for a store alone, and
    `mufnet predict --ckpt_path RUN --help` tells them.

    Args:
        reference: id of a run or of a cross-validation (its folds together), models:/NAME/VERSION, or a
            checkpoint
        clip: of one patient; AVI, MP4 or DICOM
        boxes: of the clip, as boxes.csv; that beside the clip's clips.csv unless given
        bmode_pane: of the clip, in pixels of the frame; as clips.csv, else the clip's header, says
            unless given
        ceus_pane: the same
        contrast: where it stands of two panes, if they are those of the header
        patient: id of the clip's patient; as clips.csv says, else the clip's name
        cohort: folder with the tables; grades need not be known
        root: another folder in which the cohort's clips may be, and into which links may lead
        pseudonymize: key of the pseudonyms under which the model was trained: ids become such ones, and
            no file is named
        store: that prepare wrote
        margin: of the crops, where the model does not know its own
        device: cpu, cuda, or auto
        out: folder to write
    """

    reference: Annotated[str, option("RUN", called="run")]
    clip: Annotated[Path | None, option("FILE")] = None
    boxes: Annotated[Path | None, option("FILE")] = None
    bmode_pane: Annotated[str | None, option("X,Y,WIDTH,HEIGHT")] = None
    ceus_pane: Annotated[str | None, option("X,Y,WIDTH,HEIGHT")] = None
    contrast: Contrast = "tint"
    patient: Annotated[str | None, option("ID")] = None
    cohort: Annotated[Path | None, option("DIR", there="cohort folder")] = None
    root: Annotated[Path | None, option("DIR", there="folder")] = None
    pseudonymize: Annotated[Path | None, option("KEYFILE", there="file")] = None
    store: Annotated[Path | None, option("DIR")] = None
    margin: Annotated[float | None, option("SHARE")] = None
    device: str = "auto"
    out: Annotated[Path, option("DIR")] = Path("predicted")

    def __post_init__(self) -> None:
        given = [name for name in ("clip", "cohort", "store") if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or "none of them"
            raise InputFault(f"predict --run needs --clip, --cohort or --store, one of them; got {got}")
        of_clip = ("boxes", "bmode_pane", "ceus_pane", "patient")
        strange = [name for name in of_clip if getattr(self, name) is not None]
        if strange and self.clip is None:
            raise InputFault(f"--{strange[0].replace('_', '-')} goes with --clip alone")
        if self.pseudonymize is not None and self.store is not None:
            raise InputFault("--pseudonymize is of a clip or a cohort; a store has its ids")
        if self.root is not None and self.cohort is None:
            raise InputFault("--root goes with --cohort alone")
        if self.contrast != "tint" and self.store is not None:
            raise InputFault("--contrast is of clips; a store has been cut")
        if self.margin is not None:
            check_within("--margin", self.margin, 0, LARGEST_MARGIN)
        if self.margin is not None and self.store is not None:
            raise InputFault("--margin is of crops that are to be cut; a store has been cut")

    def run(self) -> None:
        """Grade, print, write.

        Raises:
            InputFault: nothing can be graded; or not everybody, after the others were.
        """
        if self.store is not None:
            StoreInfo.read(self.store)
        from mufnet_lightning.inference.load import load_grader
        from mufnet_lightning.study.out_folder import make_folder, remove_files
        from mufnet_lightning.training.messages import quiet_libraries

        make_folder(self.out)
        remove_files(RESULT_FILES, self.out)  # of another patient: whatever comes now, they mislead
        with quiet_libraries(), tempfile.TemporaryDirectory(prefix="mufnet-") as scratch:
            grader = load_grader(self.reference, self.device)
            left_out: list[LeftOut] = []
            notes: list[str] = []
            store = self.store
            if store is None:
                store, left_out, notes = self._cut(grader.card, Path(scratch) / "store")
            ungraded = self._grade(grader, store, left_out, notes)
        if ungraded:
            raise InputFault([f"not graded: {one}" for one in ungraded])

    def _cut(self, card: ModelCard, made: Path) -> tuple[Path, list[LeftOut], list[str]]:
        """A store of what is to be graded, who is not in it, and what must be read with care."""
        from mufnet_lightning.cohort.pseudonyms import Pseudonyms
        from mufnet_lightning.cohort.read import read_cohort
        from mufnet_lightning.store.cut_apart import cut_apart
        from mufnet_lightning.store.one_clip import OneClip

        notes = []
        if self.clip is not None:
            panes = {"bmode": self.bmode_pane, "ceus": self.ceus_pane}
            given = {name: pane for name, pane in panes.items() if pane is not None}
            clip = OneClip(self.clip, self.boxes, given, self.patient, self.contrast)
            tables = clip.cohort()
            if clip.patient_is_guessed:
                notes.append(
                    "the patient is called as the clip's file, so nobody can tell whether he or she "
                    "trained the model (--patient says who it is)"
                )
        else:
            assert self.cohort is not None
            tables = read_cohort(self.cohort, with_grades=False, contrast=self.contrast, root=self.root)
            for warning in tables.warnings:
                log.warning("warning: %s", warning)
        for sentence in tables.headers.said:
            log.info("%s", sentence)
        for warning in tables.headers.warnings:
            log.warning("warning: %s", warning)
        if self.pseudonymize is not None:
            tables = Pseudonyms.read(self.pseudonymize).applied(tables)
        # pictures that came cropped are not cut
        margin = 0.0 if tables.pairs is not None else self._margin(card)
        store, left_out = cut_apart(tables, margin, made)
        if self.clip is not None and self.pseudonymize is None:
            left_out = [replace(one, reason=clip.worded(one.reason)) for one in left_out]
        return store.root, left_out, notes

    def _margin(self, card: ModelCard) -> float:
        """With which to cut: the model's own."""
        if self.margin is not None and card.margin not in (None, self.margin):
            raise InputFault(f"--margin is {self.margin}, but the model was trained with {card.margin}")
        margin = self.margin if card.margin is None else card.margin
        if margin is None:
            raise InputFault(
                f"{card.name} does not say with which margin its crops were cut (an earlier version "
                "trained it); give --margin, as it was given to `mufnet prepare`"
            )
        return margin

    def _grade(
        self, grader: Grader, store: Path, left_out: Sequence[LeftOut], notes: Sequence[str]
    ) -> list[LeftOut]:
        from mufnet_lightning.inference.predict import predict_store, printed
        from mufnet_lightning.inference.result import result_files
        from mufnet_lightning.study.out_folder import write_files

        data = grader.open_store(store)
        predictions = predict_store(grader, data, left_out, notes)
        for note in predictions.notes:
            log.warning("%s", note)
        if grader.card.recalibration is None or grader.card.recalibration.note:
            log.info("%s", grader.card.risk_sentence())
        source = str(self.clip or self.cohort or self.store)
        if self.pseudonymize is not None:
            source = "a clip" if self.clip is not None else "a cohort"
        write_files(result_files(grader, data, predictions, source), self.out)
        print(printed(predictions))
        print(f"{len(predictions.table)} images; to read and print: {self.out / PAGE}")
        return list(predictions.ungraded)
