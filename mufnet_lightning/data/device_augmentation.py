"""Training augmentation of a whole batch, on the device where the network is.

The draws are those of `augmentation`, one for each pair by its seed, so that a batch is augmented here
as `transforms` augments its pairs, to rounding: a pair looks the same whichever batch it is in, and
wherever that is made. Geometry is one `grid_sample` for each modality, over one grid for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mufnet_lightning.data.augmentation import (
    BANK_UNIT,
    SPECKLE_UNIT,
    Augmentation,
    draw_geometry,
    draw_noise,
    grid_of,
    noise_bank,
    pair_draws,
    speckle_bank,
)
from mufnet_lightning.vocabulary import MODALITIES

DRAWN = ("matrix", "displacement", "noise")
"""What a batch has beside its pictures until it is augmented."""


def drawn_tensors(augmentation: Augmentation, size: int, seed: int) -> dict[str, Tensor]:
    """What is drawn for a pair, to be stacked to batches.

    Returns:
        `matrix` (2, 3), `displacement` (nodes, nodes, 2) (zeros where there is none), and `noise`
        (2, 6), a row a modality: gamma, row and column of speckle, row and column of noise, its SD; a
        place of -1 is none. Of a single arm the first row counts. All is float32, as the bits of int32.
    """
    geometry_draws, noise_draws = pair_draws(seed, len(MODALITIES))
    geometry = draw_geometry(augmentation, size, geometry_draws)
    nodes = grid_of(size).nodes
    displacement = geometry.displacement
    if displacement is None:
        displacement = np.zeros((nodes, nodes, 2), np.float32)
    rows = []
    for draws in noise_draws:
        drawn = draw_noise(augmentation, size, draws)
        places = [*(drawn.speckle or (-1, -1)), *(drawn.noise or (-1, -1))]
        rows.append([drawn.gamma, *places, drawn.noise_sd])
    made = {
        "matrix": torch.from_numpy(geometry.matrix),
        "displacement": torch.from_numpy(displacement),
        "noise": torch.tensor(rows, dtype=torch.float32),
    }
    # a Trainer casts a batch's floats to its precision, which bfloat16 would round to other pixels
    return {name: values.view(torch.int32) for name, values in made.items()}


class BatchAugmentation:
    """Augments batches that have what `drawn_tensors` drew.

    >>> crops = torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)
    >>> drawn = drawn_tensors(Augmentation(flip=1, affine=1), 64, seed=1)
    >>> batch = {"ceus": crops, **{name: torch.stack([one] * 2) for name, one in drawn.items()}}
    >>> BatchAugmentation(64)(batch, ["ceus"])["ceus"].shape
    torch.Size([2, 3, 64, 64])

    Args:
        image_size: side of the crops, pixels.
    """

    def __init__(self, image_size: int) -> None:
        self._size = image_size
        self._grid = grid_of(image_size)
        self._nodes: dict[torch.device, Tensor] = {}
        self._banks: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: Mapping[str, Tensor], modalities: Sequence[str]) -> dict[str, Tensor]:
        """Augment a batch.

        Args:
            batch: of each modality (N, C, H, H) uint8, and `matrix`, `displacement`, `noise` of
                `drawn_tensors`, stacked; whatever else is kept.
            modalities: in the order of the noise.

        Returns:
            The batch without what was drawn; the pictures are uint8 as before.
        """
        matrix, displacement, noise = (batch[name].view(torch.float32) for name in DRAWN)
        places = self._places(matrix, displacement)
        changed = {}
        for position, modality in enumerate(modalities):
            moved = functional.grid_sample(
                batch[modality].float(),
                places,
                mode="bilinear",
                padding_mode="reflection",
                align_corners=True,
            )
            changed[modality] = self._noisy(moved.round_(), noise[:, position])
        kept = {name: value for name, value in batch.items() if name not in DRAWN}
        return {**kept, **changed}

    def _places(self, matrix: Tensor, displacement: Tensor) -> Tensor:
        """Where each pixel is taken from, (N, H, H, 2), -1 to 1 from the first to the last pixel."""
        nodes = self._nodes_on(matrix.device) + displacement
        # not einsum: where a GPU may multiply matrices in TF32, 300 pixels are rounded to 0.15
        x, y = (nodes[:, None, :, :, axis] for axis in (0, 1))
        over_x, over_y, shift = (matrix[:, :, column, None, None] for column in (0, 1, 2))
        taken = over_x * x + over_y * y + shift
        side = self._grid.nodes * self._grid.cell
        fine = functional.interpolate(taken, (side, side), mode="bilinear", align_corners=False)
        first, size = self._grid.cell, self._size
        inside = fine[:, :, first : first + size, first : first + size]
        return (inside * (2 / max(1, size - 1)) - 1).permute(0, 2, 3, 1)

    def _noisy(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Gamma, speckle and noise; each rounds to whole levels, as 8 bits do."""
        count, channels = images.shape[:2]
        speckle, noise = self._of_device(images.device, channels)
        gamma, sd = (drawn[:, column].view(count, 1, 1, 1) for column in (0, 5))
        images = ((images / 255) ** gamma * 255).round_()
        factors = self._from(speckle, drawn[:, 1:3], SPECKLE_UNIT)
        images = (images * (factors / SPECKLE_UNIT)).round_().clamp_(0, 255)
        added = self._from(noise, drawn[:, 3:5], 128) - 128
        images = (images + added * (sd * (255 / BANK_UNIT))).round_().clamp_(0, 255)
        return images.to(torch.uint8)

    def _from(self, bank: Tensor, places: Tensor, none: int) -> Tensor:
        """Windows (N, C, H, H) of a bank (C, 2 H, 2 H); where there is no place, `none` all over."""
        places = places.long()
        along = torch.arange(self._size, device=bank.device)
        rows = (places[:, 0].clamp(min=0)[:, None] + along)[:, :, None]
        columns = (places[:, 1].clamp(min=0)[:, None] + along)[:, None, :]
        windows = bank[:, rows, columns].transpose(0, 1).float()
        there = (places[:, 0] >= 0).view(-1, 1, 1, 1)
        return torch.where(there, windows, float(none))

    def _nodes_on(self, device: torch.device) -> Tensor:
        if device not in self._nodes:  # copied in each step, the host would wait there for the GPU
            self._nodes[device] = torch.from_numpy(self._grid.places).to(device)
        return self._nodes[device]

    def _of_device(self, device: torch.device, channels: int) -> tuple[Tensor, Tensor]:
        key = device, channels
        if key not in self._banks:
            banks = speckle_bank(self._size, 1), noise_bank(self._size, channels)
            speckle, noise = (
                torch.from_numpy(np.ascontiguousarray(bank.transpose(2, 0, 1))).to(device)
                for bank in banks
            )
            self._banks[key] = speckle, noise
        return self._banks[key]
