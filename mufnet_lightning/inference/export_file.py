"""An exported file: where it can be written, and what it says of itself; needs no torch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Literal

from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.card import ModelCard

Suffix = Literal[".onnx", ".pt2"]
SUFFIXES: tuple[Suffix, ...] = (".onnx", ".pt2")
NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Libraries that writing ONNX needs, of the extra `onnx`."""
RESIZE = "OpenCV: INTER_AREA where a side of the picture is longer than image_size, else INTER_CUBIC"
NOTICE = "for research; no medical device"


def check_export(out: Path) -> Suffix:
    """Check that a model can be written to `out`, before anything is loaded.

    Raises:
        InputFault: its ending is neither .onnx nor .pt2, its folder is not there, or a library that
            ONNX needs is not installed.
    """
    suffix = next((known for known in SUFFIXES if out.suffix == known), None)
    if suffix is None:
        raise InputFault(f"{out}: expected a name that ends in .onnx (ONNX) or .pt2 (torch.export)")
    if not out.parent.is_dir():
        raise InputFault(f"{out}: there is no folder {out.parent}")
    if out.is_dir():
        raise InputFault(f"{out} is a folder, expected the name of a file")
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if suffix == ".onnx" and lacking:
        raise InputFault(
            f"{out}: ONNX needs {' and '.join(lacking)}; install them with "
            "`pip install 'mufnet-lightning[onnx]'`, or write a .pt2"
        )
    return suffix


def about(card: ModelCard) -> dict[str, str]:
    """What a file says of itself: ONNX metadata, or extra files of torch.export.

    `card` is the whole card as JSON; the others stand out of it for who reads no JSON.
    """
    return {
        "card": json.dumps(card.as_json()),
        "description": card.sentence(),
        "inputs": ", ".join(input_names(card)),
        "outputs": ", ".join(output_names(card)),
        "pictures": f"uint8 RGB, N x 3 x {card.image_size} x {card.image_size}; not normalised",
        "resize": RESIZE,
        "classes": ", ".join(card.classes),
        "threshold": str(card.threshold),
        "threshold_of": "a patient, the mean score of the patient's pictures",
        "notice": NOTICE,
    }


def input_names(card: ModelCard) -> list[str]:
    """Of the inputs, in their order."""
    return [*card.modalities, *(["present"] if card.takes_missing else [])]


def output_names(card: ModelCard) -> list[str]:
    """Of the outputs, in their order."""
    return ["score", "weights", *(["spread"] if card.members > 1 else [])]
