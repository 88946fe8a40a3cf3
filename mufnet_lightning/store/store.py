"""The crop store: written once from a cohort folder (see `prepare`), read as pixels (see `cache`).

    store.json      format version, how it was made, a digest of its inputs
    manifest.csv    one row a pair
    crops/          lossless PNG at native size, as a person would want to look at them
    sums.csv        SHA-256 of each of these (see `seal`)
    cache/          the crops at a training size, built on first use

A store that exists is complete. Nothing is in it but pixels inside the boxes and the manifest's
columns.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.cache import CropCache, open_cache
from mufnet_lightning.store.crops import read_crop
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.store.seal import StoreSums
from mufnet_lightning.system.sheets import as_meant
from mufnet_lightning.vocabulary import PATHS, Modality

MANIFEST = "manifest.csv"
COLUMNS = {
    "pair_id": "str",
    "patient_id": "str",
    "clip_id": "str",
    "frame": "Int64",
    "phase": "str",
    "center": "str",
    "grade": "Int64",
    "label": "Int64",
    "box_x": "Int64",
    "box_y": "Int64",
    "box_width": "Int64",
    "box_height": "Int64",
    "box_pane": "str",
    **dict.fromkeys(PATHS, "str"),
}
MEASURED = dict.fromkeys(
    (
        "mm_per_pixel_x",
        "mm_per_pixel_y",
        "lesion_width_mm",
        "lesion_height_mm",
        "time_s",
        "time_since_injection_s",
    ),
    "Float64",
)
"""Columns of the header and the table, empty where neither says."""
LATER = {
    "box_source": "str",
    "lesion_id": "str",
    "partner_clip_id": "str",
    "partner_frame": "Int64",
    **MEASURED,
}
"""Columns that stores of earlier versions lack."""


@dataclass(frozen=True)
class CropStore:
    """A crop store on disk; `CropStore.open` checks that it is one. For an example see `prepare_store`.

    Attributes:
        root: its folder.
        info: what store.json says.
    """

    root: Path
    info: StoreInfo

    @classmethod
    def open(cls, path: Path) -> CropStore:
        """Open a store.

        Its tables are read and held against their digests; a crop is when it is read, a row of a cache
        when it is read for the first time.

        Raises:
            InputFault: there is none, it is damaged or was edited, or of a format that this version
                does not know.
        """
        store = cls(Path(path), StoreInfo.read(path))
        store.sums.check_tables()
        return store

    @cached_property
    def sums(self) -> StoreSums:
        """The digests of its files."""
        return StoreSums(self.root, self.info.sums)

    def crop(self, path: str) -> np.ndarray:
        """A crop as it was cut, (H, W, 3) uint8, RGB.

        Args:
            path: as in the manifest.

        Raises:
            InputFault: it cannot be read, or is not as it was written.
        """
        return read_crop(self.sums, path)

    @property
    def digest(self) -> str:
        """SHA-256 of all inputs, 64 hexadecimal digits: equal digests, equal crops."""
        return self.info.digest

    @property
    def cohort(self) -> str | None:
        """What names the cohort, however it grew and whatever the margin; None where nothing does."""
        return self.info.cohort

    @property
    def is_graded(self) -> bool:
        """Whether the grade of any patient is known."""
        return self.info.low + self.info.high > 0

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of `bmode`, `ceus` of which there are crops."""
        return self.info.modalities

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row a pair, in the order of the caches' rows; ids are text, numbers Int64.

        Columns: pair_id, patient_id, clip_id, frame, phase, center, grade, label, box_x, box_y,
        box_width, box_height, box_pane, bmode_path, ceus_path. The box is the one of boxes.csv, before
        the margin. Text that is missing is "", so is the path of a missing crop.

        Of later versions: box_source (`drawn`, `interpolated`, or "" where boxes.csv does not say);
        lesion_id; partner_clip_id and partner_frame, of the other modality where it is a clip of its
        own. Float64, empty where neither the clip's header nor the table says: mm_per_pixel_x and
        mm_per_pixel_y of the box's pane, lesion_width_mm and lesion_height_mm of the box, time_s since
        the clip's first frame, time_since_injection_s of contrast.
        """
        content = self.sums.content(MANIFEST)
        kinds = COLUMNS | LATER
        blanks = {name: [""] for name, kind in kinds.items() if kind != "str"}
        try:
            file = io.BytesIO(content)
            table = as_meant(pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values=blanks))
        except ValueError as error:
            raise InputFault(f"the crop store {self.root} is damaged: {MANIFEST}: {error}") from None
        lacking = [name for name in COLUMNS if name not in table]
        if lacking:
            raise InputFault(f"the crop store {self.root} is damaged: {MANIFEST} has no {lacking[0]}")
        absent = {name: kind for name, kind in LATER.items() if name not in table}
        for name, kind in absent.items():
            table[name] = "" if kind == "str" else pd.Series([pd.NA] * len(table), dtype=kind)  # type: ignore[call-overload]
        return table

    def cache(self, modality: str, size: int, rows: np.ndarray | None = None) -> CropCache:
        """All crops of one modality at size × size, built on first use.

        Several processes may ask at once: one builds, the others wait. Where the store cannot be
        written to, the cache goes to ~/.cache/mufnet.

        Args:
            modality: of the crops.
            size: side in pixels.
            rows: of the manifest, (N,): no other crop is opened, and its row is zeros; None: all.

        Raises:
            InputFault: the store has no crops of that modality, a crop is missing or damaged, or the
                disk is full.
        """
        if modality not in self.modalities:
            raise InputFault(
                f"the crop store {self.root} has no {modality} crops, "
                f"only {' and '.join(self.modalities)}"
            )
        crops = self.manifest[f"{modality}_path"].tolist()
        if rows is not None:
            kept = set(rows.tolist())
            crops = [crop if row in kept else "" for row, crop in enumerate(crops)]
        return open_cache(self.sums, self.digest, modality, crops, size, rows is not None)
