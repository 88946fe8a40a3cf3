"""A cohort folder becomes a crop store.

The store is made in a `.partial` folder beside it and renamed when it is whole. A clip's crops are
followed by a note that they are finished, so a run that was killed, or that another clip stopped, goes
on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mufnet_lightning.cohort.exams import partners
from mufnet_lightning.cohort.faults import raise_faults
from mufnet_lightning.cohort.identity import give_id
from mufnet_lightning.cohort.pseudonyms import Pseudonyms
from mufnet_lightning.cohort.read import Cohort, read_cohort
from mufnet_lightning.errors import InputFault, check_within
from mufnet_lightning.store.contradictions import contradictions
from mufnet_lightning.store.cut import copy_images, cut_clip, lost_job
from mufnet_lightning.store.finish import finish_store, keep_tables
from mufnet_lightning.store.info import FORMAT_VERSION
from mufnet_lightning.store.inputs import keep_look, look_of, made_before, same_inputs
from mufnet_lightning.store.known_looks import keep_fingerprints
from mufnet_lightning.store.looks import judgement, keep_odd
from mufnet_lightning.store.parts import is_finished, notes_of, place_crops, readable
from mufnet_lightning.store.plan import PARTS, plan_crops
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.store.sums import file_sum
from mufnet_lightning.store.twins import find_twins, keep_twins, twin_warnings
from mufnet_lightning.system.files import move_into_place, remove_file, remove_folder
from mufnet_lightning.system.locks import alone
from mufnet_lightning.system.processes import cores, in_processes, progress_bar
from mufnet_lightning.system.write_points import write_point
from mufnet_lightning.vocabulary import LARGEST_MARGIN, PATHS, Contrast

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Settings:
    """What decides the crops besides the cohort."""

    margin: float
    with_grades: bool


def _named_by(tables: Cohort, settings: _Settings, columns: Sequence[str]) -> dict[str, object]:
    """What a digest has to name beside the files; nothing is added to what earlier versions made."""
    named: dict[str, object] = {"format_version": FORMAT_VERSION, **asdict(settings)}
    if tables.boxes is not None and tables.boxes.duplicated(["clip_id", "frame"]).any():
        named["boxes of both panes"] = "one pair"  # earlier versions made two of them
    if tables.clips is not None and partners(tables.clips):
        named["clips of an exam"] = "pairs"
    if tables.headers.panes:
        named["panes of headers"] = {
            clip: {name: str(pane) for name, pane in panes.items()}
            for clip, panes in tables.headers.panes.items()
        }
    if tables.mark:
        named["pseudonyms"] = [tables.mark, *sorted(columns)]
    return named


def prepare_store(
    cohort: Path,
    store: Path,
    margin: float = 0.0,
    with_grades: bool = True,
    contrast: Contrast = "tint",
    root: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> CropStore:
    """Check a cohort folder, cut its paired crops and write them as a store.

    A run that was killed, or that a clip stopped, is taken up where it was: what has been cut is cut
    again only where its clip, box or pane is another by then. A store of the same inputs is left as it
    is.
    A cohort folder without cohort.json is given one: the id in it goes into the store and from there
    into what is trained, so that the patients who were in a training are known again when the cohort
    has grown or is cut with another margin. Keep the file with the tables.

    Worker processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        cohort: folder with patients.csv and either clips.csv and boxes.csv, or pairs.csv.
        store: folder to write; it must not exist, be empty, or be a store of the same inputs.
        margin: context on each side of a box, as a share of its side.
        with_grades: refuse patients without a grade or label.
        contrast: where it stands of two panes that a clip's header names and the table does not.
        root: another folder in which the clips may be, and into which links may lead.
        pseudonyms: what ids become, and which columns of patients.csv the store keeps: then it has a
            patients.csv of its own (and clips.csv, for the scanner), to be given where a cohort is
            asked for. None: ids stay, and no clinical column is in the store.

    Raises:
        InputFault: every fault of the tables, or else every clip that could not be read, in one go;
            the store folder is not there then.

    >>> from tempfile import mkdtemp
    >>> from mufnet_lightning.phantom.generate import write_phantom
    >>> from mufnet_lightning.phantom.options import PhantomOptions
    >>> folder = Path(mkdtemp())
    >>> few = PhantomOptions(patients=2, high_share=0.5, frames=3, clip_length=3, pane_size=128)
    >>> write_phantom(folder / "cohort", few)  # doctest: +ELLIPSIS
    wrote 2 patients (1 high), 6 annotated frames to ...
    >>> store = prepare_store(folder / "cohort", folder / "store")  # doctest: +ELLIPSIS
    6 pairs of 2 patients (1 low, 1 high), bmode and ceus → ...store
    >>> store.manifest["frame"].tolist()
    [0, 1, 2, 0, 1, 2]
    >>> CropStore.open(folder / "store").cache("ceus", 64)[5].shape
    (64, 64, 3)
    """
    check_within("--margin", margin, 0, LARGEST_MARGIN)
    cohort, target = Path(cohort), Path(store).resolve()
    asked = margin, with_grades, contrast, root, pseudonyms
    if made_before(cohort, target, *asked) is not None:
        same = CropStore.open(target)
        print(same_inputs(store, same.info))
        return same
    existing = _existing(target, store)
    look = look_of(cohort, *asked)
    tables = read_cohort(cohort, with_grades, contrast, root)
    for warning in (*tables.warnings, *tables.headers.warnings):
        _warn(warning)
    settings = _Settings(float(margin), with_grades)
    try:
        sums, unread = _sums(tables)
        if pseudonyms is not None:
            tables = pseudonyms.applied(tables)
        columns = pseudonyms.columns if pseudonyms is not None else ()
        digest, twins = _digest(tables, settings, sums, columns)
        for twin in twins:
            _warn(twin)
        if tables.warnings or twins:
            look = None  # to be told at every call
        lock = target.with_name(f".{target.name}.lock")
        busy = f"{target} is being prepared by another process, wait for it to end"
        made = None
        if existing is not None:
            raise_faults(unread.values())
            if lock.exists():  # of a process that was killed when the store was there
                with suppress(InputFault), alone(lock, busy, remove=True):
                    pass
        else:
            with alone(lock, busy, remove=True):
                existing = _existing(target, store)  # made by somebody else in the meantime
                if existing is None:
                    raise_faults(_write(target, tables, digest, settings, sums, unread))
                    made = CropStore.open(target)
        if made is not None:
            keep_look(target, look)
            for sentence in tables.headers.said:
                log.info("%s", sentence)
            print(f"{made.info} → {store}")
            return made
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise InputFault(f"cannot write {store}: {error.strerror or error}{where}") from error
    assert existing is not None
    if existing.digest != digest:
        raise InputFault(
            f"{store} is a store of other inputs (tables, clips, margin, grades or panes differ), "
            "expected a new folder: choose another one, or delete it"
        )
    keep_look(target, look)
    print(same_inputs(store, existing.info))
    return existing


def _existing(target: Path, named: Path) -> CropStore | None:
    """The whole store at `target`, or None where one can be made."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return None
    if not (target / "store.json").is_file():
        raise InputFault(
            f"{named} exists and is no crop store, expected a new folder: choose another one, "
            "or delete it"
        )
    store = CropStore.open(target)
    crops = sum(1 for _ in os.scandir(target / "crops")) if (target / "crops").is_dir() else 0
    if crops < store.info.crops:
        raise InputFault(
            f"the crop store {named} is damaged: {crops:,} of {store.info.crops:,} crops are "
            "there; delete it and prepare it again"
        )
    return store


def _sums(tables: Cohort) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of every table, and file or folder that they name; and why some cannot be read."""
    names = ["patients.csv"] + (["clips.csv", "boxes.csv"] if tables.pairs is None else ["pairs.csv"])
    files = [tables.folder / name for name in names]
    owned = sorted(_owners(tables))
    names += owned
    files += [tables.file(name) for name in owned]
    sums: dict[str, str] = {}
    unread: dict[str, str] = {}
    with ThreadPoolExecutor(cores()) as pool, progress_bar("reading", len(names)) as advance:
        for name, digest in zip(names, pool.map(_read_sum, files), strict=True):
            if isinstance(digest, OSError):
                unread[name] = f"{digest.filename} cannot be read: {digest.strerror}"
            else:
                sums[name] = digest
            advance()
    return sums, unread


def _read_sum(path: Path) -> str | OSError:
    try:
        return file_sum(path)
    except OSError as error:
        return error


def _digest(
    tables: Cohort, settings: _Settings, sums: Mapping[str, str], columns: Sequence[str]
) -> tuple[str, list[str]]:
    """SHA-256 over everything that decides what a store holds, and a warning of each pair of twins."""
    owners = _owners(tables)
    first: dict[str, str] = {}
    twins: list[str] = []
    for file in sorted(set(owners) & set(sums)):
        twin = first.setdefault(sums[file], file)
        if owners[twin] != owners[file]:
            twins.append(
                f"{twin} of patient {owners[twin]!r} and {file} of patient {owners[file]!r} are the "
                "same file, byte for byte"
            )
    inputs = {**_named_by(tables, settings, columns), "files": sums}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest(), twins


def _owners(tables: Cohort) -> dict[str, str]:
    """Every clip or image that crops are made from, with its patient."""
    if tables.pairs is None:
        table, columns = tables.clips, ["path"]
    else:
        table, columns = tables.pairs, list(PATHS)
    assert table is not None
    return {
        path: patient
        for column in columns
        for path, patient in zip(table[column], table["patient_id"], strict=True)
        if path
    }


def _write(
    target: Path,
    tables: Cohort,
    digest: str,
    settings: _Settings,
    sums: Mapping[str, str],
    unread: Mapping[str, str],
) -> Sequence[str]:
    """Make the store in a partial folder, then rename it; return the clips' faults, if any.

    What was cut stays in the partial folder for the next call, whatever is wrong with the rest.
    """
    partial = target.with_name(f".{target.name}.partial")
    write_point("folder", partial)
    partial.mkdir(parents=True, exist_ok=True)
    plan = plan_crops(tables, settings.margin, partial, {**sums, **dict.fromkeys(unread, "")})
    jobs = readable(plan.jobs, {tables.file(name) for name in unread})
    left = [job for job in jobs if not is_finished(job)]
    parts = "clips" if tables.clips is not None else "parts"
    if len(left) < len(jobs):
        done = f"{len(jobs) - len(left):,} of {len(plan.jobs):,} {parts} are done"
        log.info("going on with a run that stopped: %s", done)
    work: Callable[[Any], list[str]] = copy_images if tables.pairs is not None else cut_clip
    faults = [fault for of_job in in_processes(work, left, "cutting", lost_job) for fault in of_job]
    if faults or unread:
        cut = sum(job.finished.is_file() for job in plan.jobs)
        if not cut:
            remove_folder(partial)
        else:
            kept = f"{cut:,} of {len(plan.jobs):,} {parts}"
            log.info("%s are cut, and kept in %s for the next call", kept, partial.name)
        return [*unread.values(), *faults]
    rows = plan.rows
    notes = notes_of(plan)
    odd = {name: note.looks for name, note in notes.items() if note.looks}
    warnings, faults = judgement(odd, [Path(row[name]).name for row in rows for name in PATHS])
    if faults:
        return faults
    _clear(partial)
    place_crops(plan, rows, partial)
    fingerprints = {name: note.fingerprint for name, note in notes.items()}
    twins = find_twins(partial, rows, fingerprints, odd)
    faults = contradictions(twins, partial)
    if faults:
        return faults
    for warning in (*warnings, *twin_warnings(twins)):
        _warn(warning)
    keep_odd(partial, odd)
    keep_fingerprints(partial, fingerprints)
    keep_twins(partial, twins)
    if tables.mark:
        keep_tables(partial, tables)
    finish_store(
        partial,
        rows,
        {name: note.sum for name, note in notes.items()},
        digest=digest,
        cohort=tables.named(tables.id or give_id(tables.folder)),
        margin=settings.margin,
        with_grades=settings.with_grades,
    )
    remove_folder(partial / PARTS)
    move_into_place(partial, target)
    return []


def _clear(partial: Path) -> None:
    """Leave the jobs' folders alone: what a call of other inputs wrote before it failed is not ours."""
    for path in partial.iterdir():
        if path.name != PARTS:
            remove_folder(path) if path.is_dir() else remove_file(path)


def _warn(message: str) -> None:
    log.warning("warning: %s", message)
