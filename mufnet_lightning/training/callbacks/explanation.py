"""Grad-CAM of the test part, as artifacts of the run: pictures, measures, and checks of the maps."""

from __future__ import annotations

import copy
import logging

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.explain import explain
from mufnet_lightning.explain.options import ExplainOptions, Method, Target
from mufnet_lightning.explain.record import NOT_EXPLAINED, record_explanation
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.training.logger import RunLogger

log = logging.getLogger(__name__)


class Explain(Callback):
    """After test: `explain/METHOD/` with panels, images.csv, checks.csv and summary.json.

    Args:
        enabled: whether at all.
        method: `gradcam`, `gradcam++` or `layercam`.
        layer: dotted name of a layer of timm's network; the last feature maps unless given.
        target: class that the maps speak for: `predicted`, `true`, `low` or `high`.
        seed: of the lots that choose patients, and of random weights and maps.
        draws: random networks of the sanity check; 0 leaves out the checks.
        steps: of the deletion and insertion curves.
    """

    def __init__(
        self,
        enabled: bool = True,
        method: Method = "gradcam",
        layer: str | None = None,
        target: Target = "predicted",
        seed: int = 0,
        draws: int = 3,
        steps: int = 10,
    ) -> None:
        self.enabled = enabled
        self.options = ExplainOptions(method, layer, target, seed, draws, steps)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain on the first process; what cannot be explained is told, and the run goes on."""
        logger = trainer.logger
        if not self.enabled or not isinstance(logger, RunLogger) or not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        rows = pl_module.latest["test"]["row"].numpy()  # type: ignore[operator, index]
        try:
            # in single precision, whatever it was trained in; what is made in a scoring loop's
            # inference mode could have no gradients
            with torch.inference_mode(False):
                net: MufNet = copy.deepcopy(pl_module.net).float()  # type: ignore[operator, assignment]
            explanation = explain(net, data, rows, self.options)
        # an encoder without feature maps, or no memory left: the training is not lost with it
        except (InputFault, RuntimeError) as fault:
            logger.experiment.set_tag(logger.run, NOT_EXPLAINED, str(fault)[:5000])
            log.warning("the test part is not explained: %s", fault)
            return
        record_explanation(logger.experiment, logger.run, self.options.label, explanation)
