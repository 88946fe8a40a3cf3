"""A picture of what the network is given: the first training batch, panes and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import CLASS_NAMES, MODALITY_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class BatchPlot(Callback):
    """Logs `figures/train_batch.png`, augmented as the network sees it.

    Args:
        pairs: how many pairs to show.
    """

    def __init__(self, pairs: int = 8) -> None:
        self._pairs = pairs

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Plot the run's first batch."""
        first = batch_idx == 0 and trainer.global_step == 0
        if first and trainer.is_global_zero and isinstance(trainer.logger, RunLogger):
            figure = plot_batch(batch, trainer.datamodule, self._pairs)  # type: ignore[attr-defined]
            trainer.logger.experiment.log_figure(trainer.logger.run, figure, "figures/train_batch.png")


def plot_batch(batch: dict[str, Tensor], data: RoiPairDataModule, pairs: int = 8) -> Figure:
    """A column a pair, a row a modality; titles say label and patient.

    Args:
        batch: of the datamodule, see `RoiPairDataModule`.
        data: names the patients.
        pairs: at most this many columns.
    """
    # not pyplot: it would keep the figure, and choose a screen that may not be there
    from matplotlib.figure import Figure

    count = min(pairs, len(batch["label"]))
    figure = Figure(figsize=(1.7 * count, 1.9 * len(data.modalities) + 0.3), dpi=110)
    axes = figure.subplots(len(data.modalities), count, squeeze=False)
    for row, modality in enumerate(data.modalities):
        for column in range(count):
            axis = axes[row][column]
            axis.imshow(batch[modality][column].permute(1, 2, 0).cpu().numpy())
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                patient = data.store.manifest["patient_id"].iloc[int(batch["row"][column])]
                name = CLASS_NAMES[int(batch["label"][column])]
                axis.set_title(f"{name} grade\n{patient}", fontsize=8)
        axes[row][0].set_ylabel(MODALITY_NAMES[modality], fontsize=9)
    figure.tight_layout()
    return figure
