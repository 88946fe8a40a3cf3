"""A model as MLflow's own: rows of encoded pictures in, scores out.

MLflow finds it by this module's name (`loader_module`), so a logged model holds weights and a card, and
no code. What serves it needs this package installed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mufnet_lightning.cohort.stills import decoded
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.inference.load import read_grader
from mufnet_lightning.vocabulary import MODALITY_NAMES

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_EXAMPLE_SIDE = 64
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # of a PNG, of a JPEG


class ServedModel:
    """What `mlflow.pyfunc.load_model(...)` calls.

    Args:
        grader: the model.
    """

    def __init__(self, grader: Grader) -> None:
        self.grader = grader

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Grade pairs of cropped pictures.

        Args:
            model_input: a row a pair; `bmode` and `ceus`, as far as the model looks at them: a PNG or
                JPEG as bytes, or as base64 text. Where the model takes that, one may be empty.
            params: none.

        Returns:
            A row a pair: `score` (probability of the positive class), `class` (by the card's
            threshold), of an ensemble `spread` (SD over its networks), `weight_bmode` and
            `weight_ceus`, and where the model takes that, `missing` (what was not there).

        Raises:
            MlflowException: a picture is missing or cannot be read (HTTP 400), with its row, from 0.
        """
        try:
            return self._answer(model_input)
        except InputFault as fault:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(fault)) from None

    def _answer(self, rows: pd.DataFrame) -> pd.DataFrame:
        card = self.grader.card
        names = [name for name in card.modalities if name in rows]
        if not names or not len(rows):
            raise InputFault(f"expected a row a pair, with the columns {' and '.join(card.modalities)}")
        pairs = []
        for number, cells in enumerate(rows[names].itertuples(index=False)):
            faults, pair = [], {}
            for name, cell in zip(names, cells, strict=True):
                try:
                    picture = read_picture(cell)
                except InputFault as fault:
                    faults.append(f"row {number}: its {_named(name)} picture {fault}")
                    continue
                if picture is not None:
                    pair[name] = picture
            lacking = [name for name in card.modalities if name not in pair]
            if not faults and lacking and (not pair or not card.takes_missing):
                pictures = " and no ".join(_named(name) for name in lacking)
                raise InputFault(f"row {number}: it has no {pictures} picture, which {card.name} needs")
            if faults:
                raise InputFault(faults)
            pairs.append(pair)
        grades = self.grader.grade_pictures(pairs)
        answer = pd.DataFrame(
            {"score": grades.score, "class": [card.called(score) for score in grades.score]}
        )
        if card.members > 1:
            answer["spread"] = grades.spread
        for place, name in enumerate(card.modalities):
            answer[f"weight_{name}"] = grades.weights[:, place]
        if card.takes_missing:
            answer["missing"] = [
                " and ".join(
                    name for name, is_there in zip(card.modalities, there, strict=True) if not is_there
                )
                for there in grades.present
            ]
        return answer


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow calls it, with the folder of `save_grader`."""
    return ServedModel(read_grader(Path(path)))


def read_picture(cell: object) -> NDArray[np.uint8] | None:
    """A PNG or JPEG, as bytes or base64 text, as height × width × 3 RGB; None where the cell is empty.

    >>> read_picture(encoded_noise(0)).shape
    (64, 64, 3)

    Raises:
        InputFault: it is none, or it is not whole.
    """
    if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return None
    if isinstance(cell, str):
        cell = cell.encode()
    if not isinstance(cell, bytes | bytearray | memoryview):
        raise InputFault(f"is {type(cell).__name__}, expected the bytes of a PNG or JPEG file")
    content = bytes(cell)
    if not content.strip():
        return None
    if not content.startswith(_BEGINNINGS):
        with contextlib.suppress(binascii.Error):  # MLflow has decoded it already, or has not
            content = base64.b64decode(b"".join(content.split()), validate=True)
    if not content.startswith(_BEGINNINGS):
        raise InputFault(f"is no PNG or JPEG file, nor the base64 text of one ({len(content)} bytes)")
    try:
        picture = decoded(content)
    except ValueError as error:
        raise InputFault(str(error)) from None
    if picture is None:
        raise InputFault("cannot be decoded, expected a whole PNG or JPEG file")
    return picture


def encoded_noise(seed: int) -> bytes:
    """A PNG of grey noise: the example in a logged model shows no patient's picture."""
    grey = np.random.default_rng(seed).integers(40, 200, (_EXAMPLE_SIDE, _EXAMPLE_SIDE), np.uint8)
    content: bytes = cv2.imencode(".png", grey)[1].tobytes()
    return content


def input_example(card: ModelCard) -> pd.DataFrame:
    """A row with a picture of each modality."""
    return pd.DataFrame({name: [encoded_noise(seed)] for seed, name in enumerate(card.modalities)})


def signature(card: ModelCard) -> ModelSignature:
    """What a model takes and answers, see `ServedModel.predict`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    whole = not card.takes_missing
    inputs: list[Any] = [ColSpec("binary", name, required=whole) for name in card.modalities]
    outputs: list[Any] = [ColSpec("double", "score"), ColSpec("string", "class")]
    if card.members > 1:
        outputs.append(ColSpec("double", "spread"))
    outputs += [ColSpec("double", f"weight_{name}") for name in card.modalities]
    if card.takes_missing:
        outputs.append(ColSpec("string", "missing"))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _named(modality: str) -> str:
    return MODALITY_NAMES.get(modality, modality)
