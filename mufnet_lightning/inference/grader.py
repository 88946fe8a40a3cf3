"""A trained model that grades: a run's network, or the ensemble of a cross-validation's folds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.trained import data_to_look_at
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.store.cache import resized
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.tracking.checkpoints import Checkpoint
from mufnet_lightning.vocabulary import MODALITY_NAMES

PICTURES_PER_BATCH = 32
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageGrades:
    """What a model of K networks and M modalities says of N pairs.

    Attributes:
        modalities: M, of the columns of `weights` and `present`.
        members: (K, N), each network's probability of the positive class.
        weights: (N, M), of each modality, the networks' mean; 0 for one that is not there.
        present: (N, M) bool, which modalities were there.
    """

    modalities: tuple[str, ...]
    members: NDArray[np.float64]
    weights: NDArray[np.float64]
    present: NDArray[np.bool_]

    def checked(self, name: str) -> ImageGrades:
        """The same, if all of it are numbers.

        Args:
            name: of the model, for the message.

        Raises:
            InputFault: the networks give no number: nobody is called anything by accident.
        """
        if not np.isfinite(self.members).all():
            raise InputFault(
                f"{name}: its networks give no number (NaN) for some images; the training diverged or "
                "the file is damaged, so nothing is graded"
            )
        return self

    @property
    def score(self) -> NDArray[np.float64]:
        """(N,), the networks' mean."""
        mean: NDArray[np.float64] = self.members.mean(axis=0)
        return mean

    @property
    def spread(self) -> NDArray[np.float64]:
        """(N,), SD over the networks; NaN where there is one."""
        return spread(self.members)


def spread(members: NDArray[np.float64]) -> NDArray[np.float64]:
    """SD over the networks of scores (K, ...): how much K trainings differ, no interval for anybody."""
    if len(members) < 2:
        return np.full(members.shape[1:], np.nan)
    deviation: NDArray[np.float64] = members.std(axis=0, ddof=1)
    return deviation


@dataclass(frozen=True, eq=False)
class Grader:
    """A model and what it says of itself; for an example see `load_grader`.

    Attributes:
        card: of the model.
        ensemble: its networks, in evaluation mode, on `device`.
        trained: the cohorts that trained any of them (see `Checkpoint.trained`); None where nobody can
            tell, as of a saved model whose run is not there.
        checkpoints: of its networks, without the weights; None where `trained` is.
    """

    card: ModelCard
    ensemble: Ensemble
    device: torch.device
    trained: Sequence[Mapping[str, Any]] | None = None
    checkpoints: Sequence[Checkpoint] | None = None

    def open_store(self, store: str | Path) -> RoiPairDataModule:
        """A crop store as this model was given its own; pairs that it cannot grade are not usable."""
        given = self.card.data
        data = data_to_look_at(given["init_args"], store, given["class_path"])
        data.missing_allowed = self.card.takes_missing
        data.complete_pairs = False  # who lacks what another arm looks at is graded
        return data

    def grade_rows(self, data: RoiPairDataModule, rows: NDArray[np.int64]) -> ImageGrades:
        """Grade some pairs of a store, (N,) rows of its manifest, which must be usable.

        Raises:
            InputFault: the networks give no number.
        """

        def batches() -> Iterable[dict[str, Tensor]]:
            with progress_bar("grading", len(rows)) as advance:
                for batch in data.rows_dataloader(rows):
                    yield batch
                    for _ in batch["row"]:
                        advance()

        return self._grade(batches())

    def grade_pictures(self, pictures: Sequence[Mapping[str, NDArray[np.uint8]]]) -> ImageGrades:
        """Grade pairs of cropped pictures.

        Args:
            pictures: N pairs; of each modality height × width × 3 RGB, of any size.

        Raises:
            InputFault: a pair lacks a modality that this model needs, or the networks give no number.
        """
        for number, pair in enumerate(pictures):
            self._check(number, pair)
        return self._grade(self._batches(pictures))

    def _check(self, number: int, pair: Mapping[str, NDArray[np.uint8]]) -> None:
        lacking = [name for name in self.card.modalities if name not in pair]
        if len(lacking) == len(self.card.modalities) or (lacking and not self.card.takes_missing):
            names = " and ".join(MODALITY_NAMES.get(name, name) for name in lacking)
            raise InputFault(f"pair {number} has no {names} picture, which {self.card.name} needs")
        for name, picture in pair.items():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise InputFault(
                    f"pair {number}: its {MODALITY_NAMES.get(name, name)} picture is {picture.dtype} "
                    f"of shape {picture.shape}, expected uint8 of height × width × 3"
                )

    def _batches(
        self, pictures: Sequence[Mapping[str, NDArray[np.uint8]]]
    ) -> Iterable[dict[str, Tensor]]:
        size, modalities = self.card.image_size, self.card.modalities
        absent = np.zeros((size, size, 3), np.uint8)
        for start in range(0, len(pictures), PICTURES_PER_BATCH):
            pairs = pictures[start : start + PICTURES_PER_BATCH]
            batch = {}
            for name in modalities:
                crops = [resized(pair[name], size) if name in pair else absent for pair in pairs]
                batch[name] = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
            if self.card.takes_missing:
                there = [[name in pair for name in modalities] for pair in pairs]
                batch["present"] = torch.tensor(there)
            yield batch

    def _grade(self, batches: Iterable[Mapping[str, Tensor]]) -> ImageGrades:
        scores, weights, present = [], [], []
        for batch in batches:
            wanted = [*self.card.modalities, *(["present"] if "present" in batch else [])]
            with torch.inference_mode():
                output = self.ensemble({name: batch[name].to(self.device) for name in wanted})
            scores.append(output.scores.cpu().numpy().astype(np.float64))
            weights.append(output.weights.cpu().numpy().astype(np.float64).mean(axis=0))
            there = np.ones(weights[-1].shape, bool)
            present.append(batch["present"].numpy() if "present" in batch else there)
        grades = ImageGrades(
            self.card.modalities,
            np.concatenate(scores, axis=1),
            np.concatenate(weights),
            np.concatenate(present),
        )
        return grades.checked(self.card.name)
