"""How maps are made and checked; needs no torch, so that a parser and a report need none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mufnet_lightning.errors import check_least

Method = Literal["gradcam", "gradcam++", "layercam"]
Target = Literal["predicted", "true", "low", "high"]


@dataclass(frozen=True)
class ExplainOptions:
    """How maps are made and checked.

    Args:
        method: `gradcam`, `gradcam++` or `layercam`.
        layer: dotted name of a layer of timm's network; the last feature maps unless told.
        target: the class that a map speaks for: the `predicted` or the `true` one, or always `low` or
            `high`.
        seed: of the lots that choose patients, and of random weights and maps.
        draws: random networks of the sanity check; 0 leaves out it and the deletion/insertion score.
        steps: of the deletion and insertion curves.

    Raises:
        InputFault: a number is too small.

    >>> ExplainOptions("layercam", layer="blocks.3", target="high").label
    'layercam-blocks.3-high'
    """

    method: Method = "gradcam"
    layer: str | None = None
    target: Target = "predicted"
    seed: int = 0
    draws: int = 3
    steps: int = 10

    def __post_init__(self) -> None:
        check_least("explain.draws", self.draws, 0)
        check_least("explain.steps", self.steps, 1)
        check_least("explain.seed", self.seed, 0)

    @property
    def label(self) -> str:
        """Names what is made with these options: `gradcam`, `layercam-blocks.3-high`."""
        target = None if self.target == "predicted" else self.target
        return "-".join(word for word in (self.method, self.layer, target) if word)
