"""The crop store: written once from a cohort folder, read as pixels at the training size.

    store.json      format version, how it was made, a digest of its inputs
    manifest.csv    one row a pair
    crops/          lossless PNG at native size, as a person would want to look at them
    cache/          <modality>_<size>.u8: the crops at a training size, built on first use

A store is made in a `.partial` folder beside it and renamed when it is whole, so a store that
exists is complete. Nothing is copied into it but pixels inside the boxes and the manifest's
columns.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mufnet_lightning import __version__
from mufnet_lightning.cohort.clips import (
    ClipJob,
    Cut,
    ImageJob,
    copy_images,
    cores,
    cut_clip,
    in_processes,
    progress_bar,
)
from mufnet_lightning.cohort.roi import MODALITIES, Box, Pane, carry, expand
from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:  # loaders' worker processes unpickle a CropCache from here and need no pandas
    import pandas as pd

    from mufnet_lightning.cohort.tables import Cohort

FORMAT = "mufnet crop store"
FORMAT_VERSION = 1
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
    "bmode_path": "str",
    "ceus_path": "str",
}
IMAGES_PER_JOB = 64  # images that are cropped already, in one job
ROWS_PER_BATCH = 64  # of a cache in the making, held in memory together
READS_PER_RELEASE = 256  # of a cache's map, after which its pages are given back


def prepare_store(
    cohort: Path, store: Path, margin: float = 0.0, with_grades: bool = True
) -> CropStore:
    """Check a cohort folder, cut its paired crops and write them as a store.

    A run that was killed is taken up where it stopped; a store of the same inputs is left as it is.
    Worker processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        cohort: folder with patients.csv and either clips.csv and boxes.csv, or pairs.csv.
        store: folder to write; it must not exist, be empty, or be a store of the same inputs.
        margin: context on each side of a box, as a share of its side.
        with_grades: refuse patients without a grade or label.

    Raises:
        InputFault: every fault of the tables, or else every clip that could not be read, in one go;
            the store folder is not there then.
    """
    from mufnet_lightning.cohort.tables import raise_faults, read_cohort

    if not (0 <= margin < float("inf")):
        raise InputFault(f"--margin is {margin}, expected 0 or more")
    cohort, target = Path(cohort), Path(store).resolve()
    existing = _existing(target, store)
    tables = read_cohort(cohort, with_grades)
    for warning in tables.warnings:
        print(f"mufnet: warning: {warning}", file=sys.stderr)
    try:
        digest = _digest(tables, margin, with_grades)
        if existing is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target):
                existing = _existing(target, store)  # made by somebody else in the meantime
                if existing is None:
                    raise_faults(_write(target, tables, digest, margin, with_grades))
                    made = CropStore.open(target)
                    print(f"{_summary(made.info)} → {store}")
                    return made
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise InputFault(f"cannot write {store}: {error.strerror or error}{where}") from error
    if existing.digest != digest:
        raise InputFault(
            f"{store} is a store of other inputs (tables, clips, margin or grades differ), "
            "expected a new folder: choose another one, or delete it"
        )
    print(f"{store} is made of these inputs already, nothing to do: {_summary(existing.info)}")
    return existing


@dataclass(frozen=True)
class CropStore:
    """A crop store on disk; `CropStore.open` checks that it is one.

    Attributes:
        root: its folder.
        info: what store.json says: format_version, mufnet, created, margin, with_grades, pairs,
            patients, low, high (patients of each class), modalities, digest.
    """

    root: Path
    info: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> CropStore:
        """Open a store.

        Raises:
            InputFault: there is none, it is damaged, or of a format that this version does not
                know.
        """
        root = Path(path)
        make_one = "make one with `mufnet prepare`"
        try:
            info = json.loads((root / "store.json").read_text(encoding="utf-8"))
        except OSError:
            raise InputFault(
                f"there is no crop store at {path}: expected store.json; {make_one}"
            ) from None
        except ValueError:
            raise InputFault(f"the crop store {path} is damaged: store.json is not JSON") from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise InputFault(f"{path} is not a crop store: its store.json is another; {make_one}")
        if info.get("format_version") != FORMAT_VERSION:
            raise InputFault(
                f"the crop store {path} has format version {info.get('format_version')}, expected "
                f"{FORMAT_VERSION}: {make_one}"
            )
        if not (root / "manifest.csv").is_file():
            raise InputFault(f"the crop store {path} is damaged: expected manifest.csv; {make_one}")
        return cls(root, info)

    @property
    def digest(self) -> str:
        """SHA-256 of all inputs, 64 hexadecimal digits: equal digests, equal crops."""
        return str(self.info["digest"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of `bmode`, `ceus` of which there are crops."""
        return tuple(self.info["modalities"])

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row a pair, in the order of the caches' rows; ids are text, numbers Int64.

        Columns: pair_id, patient_id, clip_id, frame, phase, center, grade, label, box_x, box_y,
        box_width, box_height, box_pane, bmode_path, ceus_path. The box is the one that was drawn,
        before the margin. Text that is missing is "", so is the path of a missing crop.
        """
        import pandas as pd

        path = self.root / "manifest.csv"
        blanks = {name: [""] for name, kind in COLUMNS.items() if kind == "Int64"}
        try:
            table = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=blanks)
        except (OSError, ValueError) as error:
            raise InputFault(f"the crop store {self.root} is damaged: {path.name}: {error}") from None
        lacking = [name for name in COLUMNS if name not in table]
        if lacking:
            raise InputFault(f"the crop store {self.root} is damaged: manifest.csv has no {lacking[0]}")
        return table

    def cache(self, modality: str, size: int) -> CropCache:
        """All crops of one modality at size × size, built on first use.

        Several processes may ask at once: one builds, the others wait. Where the store cannot be
        written to, the cache goes to ~/.cache/mufnet.

        Raises:
            InputFault: the store has no crops of that modality, a crop is missing, or the disk is
                full.
        """
        if modality not in self.modalities:
            raise InputFault(
                f"the crop store {self.root} has no {modality} crops, only {_listed(self.modalities)}"
            )
        if size < 1:
            raise ValueError(f"a cache of {size} × {size} pixels")
        return _cache(self, modality, size)


class CropCache:
    """The crops of one modality at one size, memory-mapped; row i is the manifest's row i.

    Reading returns copies, and the map's pages are given back every few hundred reads: memory stays
    constant however much is read. Pickling sends the path, and the other process maps the file
    itself.
    """

    def __init__(self, path: Path, rows: int, size: int) -> None:
        self.path, self.rows, self.size = path, rows, size
        self._reads = 0
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), rows * size * size * 3, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> np.ndarray:
        """A crop as size × size × 3 uint8 RGB; zeros where the pair lacks this modality."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of a cache with {self.rows} rows")
        length = self.size * self.size * 3
        pixels = np.frombuffer(self._map, np.uint8, length, int(row) * length).copy()
        self._reads += 1
        if self._reads % READS_PER_RELEASE == 0:  # pages that were touched count as ours until then
            self._map.madvise(mmap.MADV_DONTNEED)
        return pixels.reshape(self.size, self.size, 3)

    def __reduce__(self) -> tuple[type[CropCache], tuple[Path, int, int]]:
        return CropCache, (self.path, self.rows, self.size)


# Making a store.


def _existing(target: Path, named: Path) -> CropStore | None:
    """The whole store at `target`, or None where one can be made."""
    if target.is_dir() and not any(target.iterdir()):
        return None
    if not os.path.lexists(target):
        return None
    if not (target / "store.json").is_file():
        raise InputFault(
            f"{named} exists and is no crop store, expected a new folder: choose another one, "
            "or delete it"
        )
    found = CropStore.open(target)
    crops = sum(1 for _ in os.scandir(target / "crops")) if (target / "crops").is_dir() else 0
    if crops < found.info["crops"]:
        raise InputFault(
            f"the crop store {named} is damaged: {crops:,} of {found.info['crops']:,} crops are "
            "there; delete it and prepare it again"
        )
    return found


def _digest(tables: Cohort, margin: float, with_grades: bool) -> str:
    """SHA-256 over everything that decides what a store holds."""
    owners = _owners(tables)
    names = [
        "patients.csv",
        *(["pairs.csv"] if tables.pairs is not None else ["clips.csv", "boxes.csv"]),
    ]
    files = sorted(owners)

    def sha256(name: str) -> str:
        with open(tables.folder / name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    try:
        with ThreadPoolExecutor(cores()) as pool, progress_bar("reading", len(files)) as advance:
            sums = {}
            for name, digest in zip(names + files, pool.map(sha256, names + files), strict=True):
                sums[name] = digest
                advance()
    except OSError as error:
        raise InputFault(f"{error.filename} cannot be read: {error.strerror}") from None
    first: dict[str, str] = {}
    for file in files:
        twin = first.setdefault(sums[file], file)
        if owners[twin] != owners[file]:
            print(
                f"mufnet: warning: {twin} of patient {owners[twin]!r} and {file} of patient "
                f"{owners[file]!r} are the same file, byte for byte",
                file=sys.stderr,
            )
    inputs = {
        "format_version": FORMAT_VERSION,
        "margin": float(margin),
        "with_grades": with_grades,
        "files": sums,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _owners(tables: Cohort) -> dict[str, str]:
    """Every clip or image that crops are made from, with its patient."""
    if tables.pairs is not None:
        images = tables.pairs
        return {
            path: patient
            for column in ("bmode_path", "ceus_path")
            for path, patient in zip(images[column], images["patient_id"], strict=True)
            if path
        }
    assert tables.clips is not None
    return dict(zip(tables.clips["path"], tables.clips["patient_id"], strict=True))


def _write(
    target: Path, tables: Cohort, digest: str, margin: float, with_grades: bool
) -> Sequence[str]:
    """Make the store in a partial folder, then rename it; return the clips' faults, if any."""
    partial = target.with_name(f".{target.name}.partial")
    parts = partial / "parts"
    made_of = parts / "digest"
    if partial.exists() and not (made_of.is_file() and made_of.read_text() == digest):
        shutil.rmtree(partial)  # of other inputs, or killed before it began
    for folder in (parts, partial / "crops"):
        folder.mkdir(parents=True, exist_ok=True)
    made_of.write_text(digest)

    plan = _plan_images(tables, partial) if tables.pairs is not None else _plan(tables, margin, partial)
    rows, jobs = plan
    left = [job for job in jobs if not _finished(job, partial / "crops")]
    if len(left) < len(jobs):
        print(
            f"mufnet: going on with a run that stopped: {len(jobs) - len(left):,} of {len(jobs):,} "
            f"{'clips' if tables.clips is not None else 'parts'} are done",
            file=sys.stderr,
        )
    work: Callable[[Any], list[str]] = copy_images if tables.pairs is not None else cut_clip
    faults = [fault for found in in_processes(work, left, "cutting") for fault in found]
    if faults:
        shutil.rmtree(partial)
        return faults
    _finish(partial, rows, digest, margin, with_grades)
    partial.rename(target)
    return []


def _plan(tables: Cohort, margin: float, partial: Path) -> tuple[list[dict[str, Any]], list[ClipJob]]:
    """The manifest's rows (patients' order, clips' order, frame, pane), and a job for each clip."""
    assert tables.clips is not None
    assert tables.boxes is not None
    boxes = _by(tables.boxes.sort_values(["frame", "pane"], kind="stable"), "clip_id")
    rows: list[dict[str, Any]] = []
    jobs: list[ClipJob] = []
    for patient, line, clip in _by_patient(tables.patients, tables.clips):
        if clip["clip_id"] not in boxes:
            continue  # a warning has said so
        given = {name: clip[f"{name}_pane"] for name in MODALITIES}
        panes: dict[str, Pane] = {name: pane for name, pane in given.items() if pane is not None}
        cuts = []
        for line_of_box, row in boxes[clip["clip_id"]]:
            drawn = Box(row["x"], row["y"], row["width"], row["height"])
            source = panes[row["pane"]]
            wanted = expand(drawn, margin, source)
            manifest_row = _manifest_row(len(rows), patient, panes)
            manifest_row |= {
                "clip_id": clip["clip_id"],
                "frame": row["frame"],
                "phase": row["phase"],
                "box_x": drawn.x,
                "box_y": drawn.y,
                "box_width": drawn.width,
                "box_height": drawn.height,
                "box_pane": row["pane"],
            }
            rows.append(manifest_row)
            cuts.append(
                Cut(
                    frame=row["frame"],
                    row=line_of_box,
                    boxes={name: carry(wanted, source, pane) for name, pane in panes.items()},
                    crops={name: partial / manifest_row[f"{name}_path"] for name in panes},
                )
            )
        jobs.append(
            ClipJob(
                where=f"clips.csv row {line}: {clip['path']}",
                source=tables.folder / clip["path"],
                panes=panes,
                cuts=tuple(cuts),
                finished=partial / "parts" / f"{len(jobs):06d}.csv",
            )
        )
    return rows, jobs


def _plan_images(tables: Cohort, partial: Path) -> tuple[list[dict[str, Any]], list[ImageJob]]:
    """The manifest's rows (patients' order, then pairs.csv's), and jobs of some images each."""
    assert tables.pairs is not None
    rows: list[dict[str, Any]] = []
    images: list[tuple[str, Path, Path]] = []
    for patient, line, pair in _by_patient(tables.patients, tables.pairs):
        given = [name for name in MODALITIES if pair[f"{name}_path"]]
        row = _manifest_row(len(rows), patient, given)
        row |= {name: pair[name] for name in ("clip_id", "frame", "phase")}
        rows.append(row)
        for name in given:
            path = pair[f"{name}_path"]
            where = f"pairs.csv row {line}: {path}"
            images.append((where, tables.folder / path, partial / row[f"{name}_path"]))
    parts = [images[i : i + IMAGES_PER_JOB] for i in range(0, len(images), IMAGES_PER_JOB)]
    return rows, [
        ImageJob(tuple(part), partial / "parts" / f"{number:06d}.csv")
        for number, part in enumerate(parts)
    ]


def _by_patient(
    patients: pd.DataFrame, table: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], int, dict[str, Any]]]:
    """(patient, line in the file, row) of a table, in the order of patients.csv."""
    rows = _by(table, "patient_id")
    for patient_id, [(_, patient)] in _by(patients, "patient_id").items():
        for line, row in rows.get(patient_id, []):
            yield patient, line, row


def _by(table: pd.DataFrame, column: str) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """A table's rows as (line in the file, cells), by the value of one column, in their order."""
    grouped: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        grouped.setdefault(row[column], []).append((line, {str(k): v for k, v in row.items()}))
    return grouped


def _manifest_row(number: int, patient: dict[str, Any], given: Sequence[str] | dict) -> dict[str, Any]:
    """What every row has; file names come from the number, as an id may hold any character."""
    pair_id = f"p{number:06d}"
    row = {"pair_id": pair_id} | {
        name: patient[name] for name in ("patient_id", "center", "grade", "label")
    }
    for name in MODALITIES:
        row[f"{name}_path"] = f"crops/{pair_id}_{name}.png" if name in given else ""
    return row


def _finished(job: ClipJob | ImageJob, crops: Path) -> bool:
    """Whether its part is written and its crops are really there (a power cut may lose them)."""
    if not job.finished.is_file():
        return False
    paths = [crops / name for name in job.finished.read_text(encoding="utf-8").split()]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def _finish(
    partial: Path, rows: list[dict[str, Any]], digest: str, margin: float, with_grades: bool
) -> None:
    import pandas as pd

    manifest = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    manifest.to_csv(partial / "manifest.csv", index=False, lineterminator="\n")
    patients = manifest.drop_duplicates("patient_id")
    there = {name: int((manifest[f"{name}_path"] != "").sum()) for name in MODALITIES}
    info = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "mufnet": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "margin": float(margin),
        "with_grades": with_grades,
        "pairs": len(manifest),
        "patients": len(patients),
        "low": int((patients["label"] == 0).sum()),
        "high": int((patients["label"] == 1).sum()),
        "modalities": [name for name in MODALITIES if there[name]],
        "crops": sum(there.values()),
        "digest": digest,
    }
    (partial / "store.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(partial / "parts")


def _summary(info: dict[str, Any]) -> str:
    pairs, patients = info["pairs"], info["patients"]
    ungraded = patients - info["low"] - info["high"]
    classes = [f"{info[name]:,} {name}" for name in ("low", "high") if ungraded < patients]
    classes += [f"{ungraded:,} ungraded"] if ungraded else []
    return (
        f"{pairs:,} pair{'s' * (pairs != 1)} of {patients:,} patient{'s' * (patients != 1)} "
        f"({', '.join(classes)}), {_listed(info['modalities'])}"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep a second `mufnet prepare` of the same store out."""
    path = target.with_name(f".{target.name}.lock")
    while True:
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputFault(
                    f"{target} is being prepared by another process, wait for it to end"
                ) from None
            if not _same_file(path, file.fileno()):
                continue  # its owner removed it between our two steps
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# Making a cache.


def _cache(store: CropStore, modality: str, size: int) -> CropCache:
    rows = len(store.manifest)
    inside = store.root / "cache"
    found = _valid(inside, store, modality, size, rows)
    if found:
        return found
    try:
        lock = _lock_file(inside)
    except OSError:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        inside = base / "mufnet" / store.digest[:16]
        found = _valid(inside, store, modality, size, rows)
        if found:
            return found
        print(f"mufnet: {store.root} cannot be written to, its cache is in {inside}", file=sys.stderr)
        lock = _lock_file(inside)
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the same training wait here
        found = _valid(inside, store, modality, size, rows)
        if not found:
            try:
                _build(store, modality, size, inside)
            except OSError as error:
                raise InputFault(f"cannot write the cache {inside}: {error.strerror}") from error
            found = _valid(inside, store, modality, size, rows)
    assert found is not None
    return found


def _lock_file(folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return open(folder / "lock", "w")


def _valid(folder: Path, store: CropStore, modality: str, size: int, rows: int) -> CropCache | None:
    """The cache in `folder`, if it is whole and was built from this store."""
    path = folder / f"{modality}_{size}.u8"
    try:
        made_of = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        whole = path.stat().st_size == rows * size * size * 3
    except (OSError, ValueError):
        return None
    if not whole or made_of != {"digest": store.digest, "shape": [rows, size, size, 3]}:
        return None
    return CropCache(path, rows, size)


def _build(store: CropStore, modality: str, size: int, folder: Path) -> None:
    """Write the file row by row, then the note of what it was made from."""
    path = folder / f"{modality}_{size}.u8"
    names = list(store.manifest[f"{modality}_path"])
    draft = path.with_suffix(".writing")

    def load(name: str) -> np.ndarray:
        return resized(_read_crop(store.root / name), size) if name else missing

    missing = np.zeros((size, size, 3), np.uint8)
    try:
        with (
            open(draft, "wb") as file,
            ThreadPoolExecutor(cores()) as pool,
            progress_bar(f"{modality} crops at {size} × {size}", len(names)) as advance,
        ):
            for start in range(0, len(names), ROWS_PER_BATCH):
                for pixels in pool.map(load, names[start : start + ROWS_PER_BATCH]):
                    file.write(pixels.data)
                    advance()
        note = {"digest": store.digest, "shape": [len(names), size, size, 3]}
        path.with_suffix(".json").unlink(missing_ok=True)  # it speaks of the file that goes now
        draft.rename(path)
        draft.write_text(json.dumps(note) + "\n", encoding="utf-8")
        draft.rename(path.with_suffix(".json"))
    finally:
        draft.unlink(missing_ok=True)


def resized(rgb: np.ndarray, size: int) -> np.ndarray:
    """A crop at size × size: area averages where it shrinks (or speckle aliases), else cubic."""
    shrinks = size < max(rgb.shape[:2])
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(rgb, (size, size), interpolation=method)


def _read_crop(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputFault(f"the crop store is damaged: {path} cannot be read; prepare it again")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
