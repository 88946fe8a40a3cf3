"""A crop store becomes training, validation and test batches of paired crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from mufnet_lightning.data.augmentation import Augmentation
from mufnet_lightning.data.dataset import RoiPairDataset
from mufnet_lightning.data.device_augmentation import BatchAugmentation, drawn_tensors
from mufnet_lightning.data.fold_checks import (
    check_classes,
    check_folds_fit,
    check_graded,
    check_scored,
    usable_modalities,
)
from mufnet_lightning.data.folds import FoldTable, folds_file, make_folds
from mufnet_lightning.data.loaders import make_loader
from mufnet_lightning.data.resident import ResidentCrops
from mufnet_lightning.data.sampler import Draw, check_sampler, make_sampler
from mufnet_lightning.data.transforms import PairTransform, Transform
from mufnet_lightning.data.twin_patients import one_side, warn_of_twins
from mufnet_lightning.errors import InputFault, check_among, check_least, check_within
from mufnet_lightning.models.components import component, component_class
from mufnet_lightning.store.cache import CropCache
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.vocabulary import PARTS, Modality, Part, Protocol

SIZES = (16, 4096)
"""Sides of a network's input, pixels: an encoder halves a smaller one until nothing is left."""
MOST_WORKERS = 1024


class RoiPairDataModule(LightningDataModule):
    """Paired B-mode and CEUS crops, split by patient, drawn class by class.

    The defaults are the paper's.

    Args:
        store: folder that `mufnet prepare` wrote.
        modalities: `[bmode, ceus]` for the fused arm, one of them for a single arm. Pairs that lack
            one of the asked modalities are left out; patients keep their part all the same.
        image_size: side of the network's input, pixels; crops are resized to it once, in a cache.
        batch_size: pairs in a batch, of each process.
        protocol: how patients are split (see `make_folds`).
        fold: which fold of the protocol, from 0.
        n_folds: number of folds of protocols `paper`, `nested` and `kfold`.
        split_seed: of the split alone, so that arms and seeds share their patients.
        folds_from: read the split from here instead: a folds.csv, or, for the command, an MLflow run
            that has one (see `given_folds`).
        sampler: `class_balanced` (class, then image), `patient_balanced` (class, patient, image), or
            the class path of a `Sampler` (see `ClassBalancedSampler` and `models.components`).
        augmentation: strength of the training augmentation.
        augment: where it is done: `loader`, by the loading processes, or `device`, on whole batches
            where the network is; to rounding the pictures are the same.
        transform: the class path of a `Transform` that augments instead, in the loader.
        resident: keep the store's crops on the network's device, so that nothing is loaded while it
            trains; they have to fit there.
        num_workers: loading processes; the numbers drawn do not depend on it.
        seed: of draws and augmentation.
        watch_test: also score the test part after every epoch, under `test_watched/`. Only to select
            a checkpoint the paper's way, or to measure what that gains; such a run is tagged.
        with_test: with `false` no crop of a test patient is opened, and nothing is tested.
        complete_pairs: use only pairs that have every modality of the store, also for a single arm:
            arms that are to be compared must be scored on the same images.
        group_duplicates: keep patients who look alike (the store's twins.csv) on one side of the split.

    Batches are dictionaries: for each modality (N, 3, size, size) uint8 RGB, `label` (N,) and `row`
    (N,), the row of the store's manifest. So a Trainer hands them on; out of a loader itself pictures
    may still have one channel, lack their augmentation (`device`), or not be there yet (`resident`):
    `on_after_batch_transfer` makes them whole.
    """

    def __init__(
        self,
        store: str = "store",
        modalities: Sequence[Modality] = ("bmode", "ceus"),
        image_size: int = 300,
        batch_size: int = 32,
        protocol: Protocol = "paper",
        fold: int = 0,
        n_folds: int = 5,
        split_seed: int = 0,
        folds_from: str | None = None,
        sampler: str | dict[str, Any] = "class_balanced",
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        augment: Literal["loader", "device"] = "loader",
        transform: str | dict[str, Any] | None = None,
        resident: bool = False,
        num_workers: int = 4,
        seed: int = 0,
        watch_test: bool = False,
        with_test: bool = True,
        complete_pairs: bool = False,
        group_duplicates: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        # a checkpoint is read without running code, so it holds plain values only
        self.hparams["modalities"] = list(modalities)
        self.hparams["augmentation"] = asdict(augmentation)
        self.store_path = store
        self.modalities: tuple[Modality, ...] = tuple(modalities)
        self.image_size = image_size
        self.batch_size = batch_size
        self.protocol = protocol
        self.fold = fold
        self.n_folds = n_folds
        self.split_seed = split_seed
        self.folds_from = folds_from
        self.sampler = sampler
        self.augmentation = augmentation
        self.augment = augment
        self.transform = transform
        self.resident = resident
        self.num_workers = num_workers
        self.seed = seed
        self.watch_test = watch_test
        self.with_test = with_test
        self.complete_pairs = complete_pairs
        self.group_duplicates = group_duplicates
        self.given_folds: FoldTable | None = None
        """The split to take, set by whoever has one: that of a checkpoint, or of an MLflow run."""
        self.missing_allowed = False
        """Whether pairs that lack a modality are usable too; set, before anything is read, by whoever
        has a network that grades them. Batches then also have `present`, (N, M) bool."""
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise InputFault(f"data.modalities is {list(modalities)}: name one, or two that differ")
        check_within("data.image_size", image_size, *SIZES)
        check_within("data.num_workers", num_workers, 0, MOST_WORKERS)
        for name, value, least in (("batch_size", batch_size, 1), ("split_seed", split_seed, 0)):
            check_least(f"data.{name}", value, least)
        check_among("data.augment", augment, ("loader", "device"))
        check_sampler(sampler)
        if watch_test:
            self._need_test()
        if transform is not None and (augment == "device" or resident):
            raise InputFault("data.transform is of your own: it needs augment loader, resident false")
        if transform is not None:
            component_class(transform, Transform, "data.transform")
        self._on_device = BatchAugmentation(image_size)
        self._crops = ResidentCrops()

    def prepare_data(self) -> None:
        """Build the caches that are not there yet; Lightning calls this in one process a machine."""
        self._caches()

    def setup(self, stage: str) -> None:
        """Check that the split can be trained, validated and tested on.

        Raises:
            InputFault: with what is wrong, before anything is trained or recorded.
        """
        self._checked_modalities()
        if stage == "predict":
            if len(self.usable_rows) == 0:
                raise InputFault(f"{self.store_path}: no pair has {' and '.join(self.modalities)}")
            return
        check_scored(self.fold, self.parts)
        for part in self.parts:
            where = f"{self.store_path}: the {part} part of fold {self.fold}"
            check_classes(self.labels[self.part_rows(part)], where)
        if stage == "fit":  # scored again, it is the same split
            warn_of_twins(self.folds, self.fold, self.store.root)
        if stage == "fit" and self.batch_size > (training := len(self.part_rows("train"))):
            raise InputFault(
                f"data.batch_size is {self.batch_size}, but fold {self.fold} has only {training} "
                "training images"
            )

    @cached_property
    def store(self) -> CropStore:
        """The opened store."""
        return CropStore.open(Path(self.store_path))

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of every pair of the store, shape (pairs,); -1 where it is not known."""
        return self.store.manifest["label"].fillna(-1).to_numpy(dtype=np.int64)

    @cached_property
    def usable_rows(self) -> np.ndarray:
        """Manifest rows that have every asked modality; with `complete_pairs`, every one there is."""
        modalities = self.store.modalities if self.complete_pairs else self.modalities
        present = np.stack(list(self._present(modalities).values()))
        return np.flatnonzero(present.any(axis=0) if self.missing_allowed else present.all(axis=0))

    @cached_property
    def folds(self) -> pd.DataFrame:
        """The table of every fold: columns `fold, patient_id, label, part`.

        Of all patients, whichever modalities they have: so arms have the same ones in the same parts.
        """
        patients = self.store.manifest[["patient_id", "label", "center"]].drop_duplicates("patient_id")
        given = self.given_folds
        if given is None and self.folds_from is None:
            check_graded(patients, self.store_path)
            leaders = one_side(self.store.root, self.group_duplicates)
            seed = self.split_seed
            return make_folds(patients, self.protocol, self.n_folds, seed=seed, leaders=leaders)
        given = given or folds_file(Path(str(self.folds_from)))
        check_folds_fit(given, patients, self.store_path)
        return given.table

    @property
    def has_validation(self) -> bool:
        """Whether this fold has validation patients; protocol `kfold` has none."""
        here = self.folds.loc[self.folds["fold"] == self.fold, "part"]
        return bool((here == "val").any())

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that this fold has."""
        left_out = {"val": not self.has_validation, "test": not self.with_test}
        return tuple(part for part in PARTS if not left_out.get(part))

    @property
    def watched(self) -> tuple[str, ...]:
        """What is scored after every epoch, in the order of the loaders: `val`, `test_watched`."""
        asked = {"val": self.has_validation, "test_watched": self.watch_test}
        return tuple(name for name, there in asked.items() if there)

    def part_rows(self, part: str) -> np.ndarray:
        """Manifest rows of one part (`train`, `val`, `test`) of this fold, shape (N,).

        Raises:
            InputFault: there is no such fold; or it is the test part, which is left alone.
        """
        if part == "test":
            self._need_test()
        known = sorted(self.folds["fold"].unique())
        if self.fold not in known:
            raise InputFault(f"data.fold is {self.fold}, but the folds are {known[0]} to {known[-1]}")
        here = self.folds[(self.folds["fold"] == self.fold) & (self.folds["part"] == part)]
        of_part = self.store.manifest["patient_id"].isin(set(here["patient_id"])).to_numpy()
        rows: np.ndarray = self.usable_rows[of_part[self.usable_rows]]
        return rows

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class, low grade first."""
        counts = np.bincount(self.labels[self.part_rows("train")], minlength=2)
        return [int(count) for count in counts]

    def train_dataloader(self) -> DataLoader[Any]:
        """Class-balanced, augmented batches; an epoch has as many draws as there are images."""
        rows = self.part_rows("train")
        in_loader = self.augment == "loader" and not self.resident
        dataset = RoiPairDataset(
            {} if self.resident else self._caches(),
            rows,
            self.labels[rows],
            self._make_transform() if in_loader else None,
            drawn=None if in_loader else partial(drawn_tensors, self.augmentation, self.image_size),
            rgb=self.transform is not None,
        )
        sampler = self._make_sampler(rows)
        # a last batch of one would leave batch normalisation nothing to normalise with
        last = len(sampler) % self.batch_size == 1  # type: ignore[arg-type]
        return make_loader(dataset, self.batch_size, self.num_workers, sampler, drop_last=last)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Validation batches, if there are any; with `watch_test` a last loader has the test part."""
        parts = [name.removesuffix("_watched") for name in self.watched]
        return [self._part_loader(self.part_rows(part)) for part in parts]

    def test_dataloader(self) -> DataLoader[Any]:
        """Test batches, in the manifest's order."""
        return self._part_loader(self.part_rows("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every pair of the store that has the asked modalities, in the manifest's order."""
        self._need_test()
        return self._part_loader(self.usable_rows)

    def rows_dataloader(self, rows: np.ndarray) -> DataLoader[Any]:
        """Some manifest rows (N,), which need the asked modalities, in the order given."""
        if self._readable is not None and not np.isin(rows, self._readable).all():
            self._need_test()
        self.prepare_data()
        return self._part_loader(rows, whole=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make a batch whole on the device: resident crops, augmentation, three channels."""
        if not isinstance(batch, dict) or "row" not in batch:  # of a subclass with batches of its own
            return batch
        if self.resident and not any(name in batch for name in self.modalities):
            batch = {**batch, **self._crops.of_rows(self._caches(), batch["row"], self.modalities)}
        shown = [name for name in self.modalities if name in batch]
        if "matrix" in batch:
            batch = self._on_device(batch, shown)
        grey = [name for name in shown if batch[name].shape[1] == 1]
        return {**batch, **{name: batch[name].expand(-1, 3, -1, -1) for name in grey}}

    def _make_transform(self) -> Transform:
        if self.transform is None:
            return PairTransform(self.augmentation, self.image_size)
        return component(
            self.transform, Transform, setting="data.transform", image_size=self.image_size
        )

    def _make_sampler(self, rows: np.ndarray) -> Sampler[Draw]:
        return make_sampler(
            self.sampler,
            labels=self.labels[rows],
            patients=self.store.manifest["patient_id"].to_numpy()[rows],
            seed=self.seed,
            num_replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
        )

    def _part_loader(self, rows: np.ndarray, whole: bool = False) -> DataLoader[Any]:
        present = None
        if self.missing_allowed:
            present = {name: there[rows] for name, there in self._present(self.modalities).items()}
        caches = {} if self.resident and not whole else self._caches()
        dataset = RoiPairDataset(caches, rows, self.labels[rows], present=present, rgb=whole)
        return make_loader(dataset, self.batch_size, self.num_workers)

    def _present(self, modalities: Sequence[str]) -> dict[str, np.ndarray]:
        """Which pairs of the store have each modality, (pairs,) bool."""
        paths = {name: self.store.manifest[f"{name}_path"] for name in modalities}
        return {name: (path.notna() & (path != "")).to_numpy() for name, path in paths.items()}

    def _caches(self) -> dict[str, CropCache]:
        rows = self._readable
        return {m: self.store.cache(m, self.image_size, rows) for m in self._checked_modalities()}

    @property
    def _readable(self) -> np.ndarray | None:
        """The manifest rows whose crops may be opened; None: all."""
        if self.with_test:
            return None
        return np.sort(np.concatenate([self.part_rows(part) for part in ("train", "val")]))

    def _need_test(self) -> None:
        if not self.with_test:
            raise InputFault("data.with_test is false: nobody is tested with it")

    def _checked_modalities(self) -> tuple[Modality, ...]:
        return usable_modalities(self.store, self.modalities, self.missing_allowed)
