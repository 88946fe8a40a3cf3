"""Class-balanced draws of training images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from mufnet_lightning.models.components import component, component_class


class Draw(NamedTuple):
    """One draw: which image, and the seed of its augmentation."""

    image: int
    seed: int


class ClassBalancedSampler(DistributedSampler[Draw]):
    """Draw a class at random, then an image of that class at random, with replacement.

    That is the sampler of Zhu et al. 2025. With `patient_balanced` a patient of the class is drawn
    first and then one of that patient's images, so that a long clip weighs no more than a short one.

    All ranks share one stream of draws that follows `(seed, epoch)` alone, and each takes every
    world-size-th of it: shares are equal and disjoint, and together they are what one process would
    have drawn. It is a `DistributedSampler` because Lightning leaves those as they are.

    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> drawn = [draw.image for draw in ClassBalancedSampler(labels, seed=1)]
    >>> len(drawn), int(labels[drawn].sum())
    (100, 45)

    An own class that `data.sampler` names is called with the same arguments (`labels`, `patients`,
    `seed`, `num_replicas`, `rank`, and its `init_args`) and yields a `Draw` for each image. Lightning
    shares its draws out over processes, unless it is a `DistributedSampler`, which does that itself.

    Args:
        labels: class of each image, shape (N,).
        patients: patient of each image, shape (N,), any values; needed with `patient_balanced`.
        seed: of the whole stream.
        num_replicas, rank: of this process.

    Raises:
        ValueError: fewer than two classes, or no patients where they are needed.
    """

    def __init__(
        self,
        labels: np.ndarray,
        patients: np.ndarray | None = None,
        *,
        patient_balanced: bool = False,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        labels = np.asarray(labels)
        if len(np.unique(labels)) < 2:
            raise ValueError("a class-balanced sampler needs images of two classes")
        if patient_balanced and patients is None:
            raise ValueError("patient_balanced needs the patient of each image")
        super().__init__(_Sized(len(labels)), num_replicas=num_replicas, rank=rank, seed=seed)
        groups = np.asarray(patients) if patient_balanced else np.zeros(len(labels), dtype=int)
        # classes -> groups (patients, or one group that holds all) -> rows
        self._rows = [
            [np.flatnonzero((labels == c) & (groups == g)) for g in np.unique(groups[labels == c])]
            for c in np.unique(labels)
        ]

    def __iter__(self) -> Iterator[Draw]:
        stream = np.random.default_rng([self.seed, self.epoch])
        # a row a draw, so that a longer epoch (rounded up to whole shares) begins like a shorter one
        draws = stream.random((self.total_size, 4))
        for position in range(self.rank, self.total_size, self.num_replicas):
            in_class, in_group, in_rows, in_seeds = draws[position]
            groups = self._rows[int(in_class * len(self._rows))]
            rows = groups[int(in_group * len(groups))]
            yield Draw(int(rows[int(in_rows * len(rows))]), int(in_seeds * 2**31))


SAMPLERS = ("class_balanced", "patient_balanced")


def check_sampler(spec: str | dict[str, Any]) -> None:
    """Refuse a name that is none of `SAMPLERS` and no class of a sampler.

    Raises:
        InputFault: it says what there is.
    """
    if spec not in SAMPLERS:
        component_class(spec, Sampler, "data.sampler", SAMPLERS)


def make_sampler(spec: str | dict[str, Any], **options: Any) -> Sampler[Draw]:
    """The sampler that `data.sampler` names, with the arguments of `ClassBalancedSampler`.

    Raises:
        InputFault: there is no such sampler.
    """
    if spec in SAMPLERS:
        return ClassBalancedSampler(**options, patient_balanced=spec == "patient_balanced")
    return component(spec, Sampler, setting="data.sampler", **options)


class _Sized(Dataset[Draw]):
    """What `DistributedSampler` asks of a dataset: its length."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Draw:
        return Draw(index, 0)
