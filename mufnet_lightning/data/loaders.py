"""How a data set is loaded: batches of it, by processes of one thread each."""

from __future__ import annotations

from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from mufnet_lightning.data.dataset import RoiPairDataset


def make_loader(
    dataset: RoiPairDataset,
    batch_size: int,
    num_workers: int,
    sampler: Sampler[Any] | None = None,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """Batches of a data set.

    Args:
        dataset: of pairs.
        batch_size: pairs in a batch.
        num_workers: loading processes; none where there is nothing to load.
        sampler: draws the pairs; None: all, in their order.
        drop_last: leave out a last batch that is not full.
    """
    workers = 0 if dataset.is_light else num_workers
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread_a_worker,
    )


def _one_thread_a_worker(worker_id: int) -> None:
    cv2.setNumThreads(0)
