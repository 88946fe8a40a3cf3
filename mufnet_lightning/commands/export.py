"""`mufnet export`: a trained model as one file that other programs run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import word


@dataclass(frozen=True)
class Export:
    """Write a trained model into one file, which is tried before it is kept; folds become one graph.

    Args:
        reference: id of a run or of a cross-validation, a checkpoint, or models:/...
        out: ends in .onnx (ONNX) or .pt2 (torch.export)
    """

    reference: Annotated[str, word("RUN")]
    out: Annotated[Path, word("OUT")]

    def run(self) -> None:
        """Print the file, its size, and how far its answers are from the network's."""
        from mufnet_lightning.inference.export_file import check_export

        check_export(self.out)
        from mufnet_lightning.inference.export import export_grader
        from mufnet_lightning.inference.load import load_grader
        from mufnet_lightning.training.messages import quiet_libraries

        with quiet_libraries():
            print(export_grader(load_grader(self.reference, "cpu"), self.out).sentence())
