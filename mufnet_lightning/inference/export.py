"""A trained model as one file that other programs run: ONNX, or torch.export."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.export_file import (
    NOTICE,
    about,
    check_export,
    input_names,
    output_names,
)
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.system.files import atomic_path

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

TOLERANCE = 1e-4
BATCHES = (1, 2, 5)
"""Sizes of the batches that a written file is tried on."""
LARGEST_ONNX = 1536 * 2**20  # bytes of weights: more does not fit into one file of ONNX

Arrays = Mapping[str, NDArray[Any]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A file that was written and tried.

    Attributes:
        file: where it is.
        size: in bytes.
        difference: the largest between its answers and the network's, over scores, weights and spread.
    """

    file: Path
    size: int
    difference: float

    def sentence(self) -> str:
        """For a person."""
        size = f"{self.size / 1e6:.1f} MB"
        return f"{self.file}: {size}, at most {self.difference:.1e} away from the network"


def export_grader(grader: Grader, out: Path) -> Exported:
    """Write a model into a file that needs nothing of this package, and try it.

    The file's inputs are called as the modalities, each (N, 3, S, S) uint8 RGB, of any N, at the
    card's `image_size`; where the card takes pairs that lack a modality also `present`, (N, M) bool,
    at least one of each pair (scores are NaN where there is none). Its outputs are `score` (N,),
    `weights` (N, M) and, of an ensemble, `spread` (N,), as of `ImageGrades`; float32. What `about`
    says travels in the file.

    Args:
        grader: on the CPU.
        out: ends in .onnx or .pt2; replaced where it exists, and only if the new file is good.

    Raises:
        InputFault: see `check_export`; or torch cannot trace a network, it is too large for ONNX, or
            the written file's answers differ from the network's by `TOLERANCE` or more.
    """
    suffix = check_export(out)
    size = sum(value.numel() * value.element_size() for value in grader.ensemble.state_dict().values())
    if suffix == ".onnx" and size > LARGEST_ONNX:
        raise InputFault(
            f"{out}: the networks of {grader.card.name} take {size / 1e9:.1f} GB, and one file of ONNX "
            f"holds {LARGEST_ONNX / 1e9:.1f}; write a .pt2, or a single fold"
        )
    with atomic_path(out) as draft, _quiet():
        with _fault(f"{out}: torch cannot trace {_blocks(grader.ensemble)} for a batch of any size"):
            program = _traced(grader)
        try:
            if suffix == ".onnx":
                with _fault(f"{out}: {_blocks(grader.ensemble)} cannot be said in ONNX, try a .pt2"):
                    written = _as_onnx(grader.card, program)
                written.save(draft, external_data=False)
            else:
                # into memory: in a file that was called as the draft is, everything would be so called
                content = io.BytesIO()
                torch.export.save(program, content, extra_files=about(grader.card))
                draft.write_bytes(content.getbuffer())
        except OSError as error:
            raise InputFault(f"cannot write {out}: {error.strerror or error}") from error
        run = run_onnx(draft) if suffix == ".onnx" else run_pt2(draft)
        difference, scores = _difference(grader, run)
        if not difference < TOLERANCE:
            raise InputFault(
                f"{out} is not written: what it answers differs from the network by {difference:.1e}, "
                f"allowed is less than {TOLERANCE:g}; does {_blocks(grader.ensemble)} depend on more "
                "than its pictures?"
            )
        size = draft.stat().st_size
    if np.ptp(scores) < TOLERANCE:
        log.warning(
            "%s: the network scores all pictures that it was tried on alike (%.4f), so that the file "
            "agrees with it says little; was it trained?",
            out,
            scores[0],
        )
    return Exported(out, size, difference)


def run_onnx(file: Path) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """A file of ONNX as a function of named inputs to named outputs."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # Windows builds have some
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def run_pt2(file: Path) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """A file of torch.export as a function of named inputs to named outputs."""
    module = torch.export.load(file).module()

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            outputs = module({name: torch.from_numpy(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


class _Graph(nn.Module):
    """An ensemble whose inputs and outputs have names; see `export_grader`."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        output = self.ensemble(inputs)
        score = output.scores.mean(dim=0)
        if "present" in inputs:  # some fusion blocks give a number for nothing at all
            score = score.where(inputs["present"].any(dim=1), torch.nan)
        outputs = {"score": score, "weights": output.weights.mean(dim=0)}
        if len(self.ensemble.members) > 1:
            outputs["spread"] = output.scores.std(dim=0, correction=1)
        return outputs


def _traced(grader: Grader) -> ExportedProgram:
    inputs = {name: torch.from_numpy(value) for name, value in _inputs(grader.card, 2, 0).items()}
    batch = Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(
            _Graph(grader.ensemble).eval(),
            (inputs,),
            dynamic_shapes={"inputs": {name: {0: batch} for name in inputs}},
            strict=False,
        )
    for node in program.graph.nodes:  # where our files lie is nobody's business
        node.meta.pop("stack_trace", None)
    return program


def _as_onnx(card: ModelCard, program: ExportedProgram) -> ONNXProgram:
    names = input_names(card)
    written = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=names,
        output_names=output_names(card),
        dynamic_shapes={"inputs": {name: {0: "batch"} for name in names}},  # what it is called
    )
    assert written is not None
    for node in written.model.graph:
        node.metadata_props.clear()  # names of our classes and of what the exporter did
    written.model.metadata_props.update(about(card))
    written.model.doc_string = f"{card.sentence()} ({NOTICE})"
    return written


def _inputs(card: ModelCard, count: int, seed: int) -> dict[str, NDArray[Any]]:
    """Random pairs: blobs of random contrast with noise, which nets tell apart better than noise."""
    random = np.random.default_rng(seed)
    side = card.image_size

    def picture() -> NDArray[np.uint8]:
        blobs = cv2.resize(random.random((6, 6, 3), np.float32), (side, side))
        noise = random.normal(0, random.uniform(0, 0.2), (side, side, 3))
        pixels = 255 * (random.uniform(0.2, 1.5) * (blobs - 0.5) + random.uniform(0.2, 0.8) + noise)
        return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))

    inputs: dict[str, NDArray[Any]] = {
        name: np.stack([picture() for _ in range(count)]) for name in card.modalities
    }
    if card.takes_missing:
        present = random.random((count, len(card.modalities))) < 0.5
        present[np.arange(count), random.integers(len(card.modalities), size=count)] = True
        inputs["present"] = present
    return inputs


def _difference(
    grader: Grader, run: Callable[[Arrays], dict[str, NDArray[Any]]]
) -> tuple[float, NDArray[np.float64]]:
    """The largest difference between a file's answers and the grader's, NaN where one is none.

    Returns:
        It, and the grader's scores.
    """
    card, largest, scores = grader.card, [], []
    for number, count in enumerate(BATCHES):
        inputs = _inputs(card, count, number + 1)
        present = inputs.get("present", np.ones((count, len(card.modalities)), bool))
        pairs: list[dict[str, NDArray[np.uint8]]] = [{} for _ in range(count)]
        for i, m in np.argwhere(present):
            pairs[i][card.modalities[m]] = inputs[card.modalities[m]][i].transpose(1, 2, 0)
        grades = grader.grade_pictures(pairs)
        expected = {"score": grades.score, "weights": grades.weights, "spread": grades.spread}
        got = run(inputs)
        if sorted(got) != sorted(output_names(card)):
            raise InputFault(f"the written file has the outputs {', '.join(got)}")
        largest += [np.abs(got[name] - expected[name]).max() for name in got]
        scores.append(grades.score)
    return float(np.max(largest)), np.concatenate(scores)


def _blocks(ensemble: Ensemble) -> str:
    """The encoder, and the fusion block where it is somebody's own."""
    arguments = ensemble.members[0].arguments
    names = [
        spec["class_path"] if isinstance(spec, dict) else spec
        for spec in (arguments["encoder"], arguments["fusion"])
    ]
    own = [f"model.fusion {name}" for name in names[1:] if "." in name]
    return " and ".join([f"model.encoder {names[0]}", *own])


@contextmanager
def _fault(problem: str) -> Iterator[None]:
    """What torch, or somebody's own encoder, raises in the making of a graph, as an `InputFault`."""
    try:
        yield
    except Exception as error:
        first: BaseException = error  # torch wraps it in advice to those who program it
        while first.__cause__ is not None:
            first = first.__cause__
        lines = [line.strip() for line in str(first).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else type(first).__name__
        raise InputFault(f"{problem} ({reason})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporters tell programmers."""
    names = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
