"""`mufnet explain`: where a run's network looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import again, option
from mufnet_lightning.explain.options import ExplainOptions, Method, Target
from mufnet_lightning.store.info import StoreInfo


@dataclass(frozen=True)
class Explain:
    """Show and measure where a run's network looks: Grad-CAM.

    Args:
        reference: id of a run or of a cross-validation
        patient: a montage of this patient instead of the test part; may be given again
        all: also a montage of every test patient
        method: of the maps
        layer: layer of timm's network; its last feature maps unless given
        target: class that the maps speak for
        seed: of the lots, random weights and maps
        draws: random networks of the sanity check; 0: no checks
        steps: of the deletion and insertion curves
        store: where the crop store lies now
        device: cpu, cuda, or auto
        phantom: a phantom's folder: also point at its signal
        out: write pictures and tables here too
    """

    reference: Annotated[str, option("RUN", called="run")]
    patient: Annotated[tuple[str, ...], again("ID")] = ()
    all: bool = False
    method: Method = "gradcam"
    layer: Annotated[str | None, option("NAME")] = None
    target: Target = "predicted"
    seed: Annotated[int, option("N")] = 0
    draws: Annotated[int, option("N")] = 3
    steps: Annotated[int, option("N")] = 10
    store: Annotated[str | None, option("DIR")] = None
    device: str = "auto"
    phantom: Annotated[Path | None, option("COHORT", there="cohort folder")] = None
    out: Annotated[Path | None, option("DIR")] = None

    def run(self) -> None:
        """Print the measures; pictures and tables go into the run, and to `out`."""
        if self.store:
            StoreInfo.read(Path(self.store))
        from mufnet_lightning.study.explain_folds import ExplainRequest, explain_run
        from mufnet_lightning.training.messages import quiet_libraries

        request = ExplainRequest(
            self.reference,
            ExplainOptions(self.method, self.layer, self.target, self.seed, self.draws, self.steps),
            self.patient,
            self.all,
            self.store,
            self.device,
            self.phantom,
            self.out,
        )
        with quiet_libraries():
            explain_run(request)
