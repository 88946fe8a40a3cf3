"""Which patient trains, which validates, which tests: splits on patients, kept as a table.

Folds are data. The table has a row for each patient of each fold (columns `fold, patient_id, label,
part`), is saved with every run, and can be read back, edited, or made by another program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import TextIO, get_args

import numpy as np
import pandas as pd
import pandera.pandas as pa

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.sheets import as_meant
from mufnet_lightning.vocabulary import PARTS, Protocol


@dataclass(frozen=True)
class FoldTable:
    """A fold table that somebody already has.

    Attributes:
        table: columns `fold, patient_id, label, part`, as `read_folds` returns it.
        source: what messages call it: a file, a run, or a checkpoint.
    """

    table: pd.DataFrame
    source: str


def make_folds(
    patients: pd.DataFrame,
    protocol: Protocol = "paper",
    n_folds: int = 5,
    test_share: float = 0.2,
    val_share: float = 0.2,
    seed: int = 0,
    leaders: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Split patients into train, val and test for every fold of a protocol, stratified by label.

    >>> patients = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(100)]})
    >>> folds = make_folds(patients.assign(label=[0] * 74 + [1] * 26), "paper")
    >>> {part: len(rows) for part, rows in folds[folds["fold"] == 0].groupby("part")}
    {'test': 20, 'train': 64, 'val': 16}

    Args:
        patients: a row a patient, columns `patient_id`, `label` (0 or 1) and, for `center`, `center`.
        protocol: `paper`: one test part of `test_share`, the same in every fold, and `n_folds` folds
            inside the rest, each the validation part once (Zhu et al. 2025). `nested`: `n_folds`
            test parts, so that every patient is tested once; `val_share` of what remains validates.
            `center`: each centre is the test part once; `val_share` of the other centres validates.
            `kfold`: `n_folds` test parts, so that every patient is tested once, and all others
            train: nobody validates, so that nothing can be chosen on validation patients.
        seed: the same seed and patients (in any order) give the same table.
        leaders: of patients who belong together (see `store.twins.leaders`), one of them, whose part
            all of them share; the others are not counted when parts are filled.

    Returns:
        Columns `fold` (int, from 0), `patient_id`, `label`, `part`; patients × folds rows. With
        `kfold` no row is of part `val`.

    Raises:
        InputFault: a part would lack a class, or the protocol needs a centre that is not there.
    """
    if protocol not in get_args(Protocol):
        raise InputFault(f"there is no protocol {protocol!r}; choose one of {get_args(Protocol)}")
    everybody = patients.sort_values("patient_id").reset_index(drop=True)
    leader = everybody["patient_id"].map(lambda patient: (leaders or {}).get(patient, patient))
    cohort = everybody[everybody["patient_id"] == leader].reset_index(drop=True)
    if protocol == "center" and "center" in everybody:
        own = dict(zip(everybody["patient_id"], everybody["center"], strict=True))
        if any(
            own[patient] != own.get(first)
            for patient, first in zip(everybody["patient_id"], leader, strict=True)
        ):
            raise InputFault(
                "patients of two centres look alike: protocol center cannot keep them together"
            )
    _check_classes(cohort, protocol, n_folds)
    rng = np.random.default_rng(seed)
    if protocol == "paper":
        splits = _paper(cohort["label"].to_numpy(), n_folds, test_share, rng)
    elif protocol == "kfold":
        splits = _kfold(cohort["label"].to_numpy(), n_folds, rng)
    elif protocol == "nested":
        splits = _nested(cohort["label"].to_numpy(), n_folds, val_share, rng)
    else:
        splits = _leave_one_center_out(cohort, val_share, rng)
    led = everybody[["patient_id", "label"]].assign(leader=leader)
    parts_of = [
        pd.DataFrame({"leader": cohort["patient_id"].iloc[np.sort(rows)], "fold": fold, "part": part})
        for fold, parts in enumerate(splits)
        for part, rows in zip(PARTS, parts, strict=True)
    ]
    table = pd.concat(parts_of, ignore_index=True).merge(led, on="leader")
    return table[["fold", "patient_id", "label", "part"]]


def folds_file(path: Path) -> FoldTable:
    """The split of a folds.csv.

    Raises:
        InputFault: there is no such file, or it is no split.
    """
    if not path.is_file():
        raise InputFault(
            f"data.folds_from is {path}, but there is no such file; the split of an MLflow run is "
            "given as given_folds"
        )
    return FoldTable(read_folds(path), str(path))


def read_folds(file: Path | TextIO, name: str | None = None) -> pd.DataFrame:
    """Read a fold table and check it: known parts, one part a patient in each fold, one label.

    Args:
        file: a path, or the opened table.
        name: what messages call it; the path unless given.

    Raises:
        InputFault: the file is not there or is not such a table.
    """
    path = name or file
    if isinstance(file, Path) and not file.is_file():
        raise InputFault(f"{path}: there is no such fold table")
    try:
        # a patient may be called NA
        table = as_meant(pd.read_csv(file, dtype={"patient_id": "string"}, keep_default_na=False))
        return _FOLD_TABLE.validate(table, lazy=True)[["fold", "patient_id", "label", "part"]]
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise InputFault(f"{path}: not a fold table: {str(error).splitlines()[0]}") from None
    except pa.errors.SchemaErrors as errors:
        raise InputFault(
            [f"{path}: {_describe(case)}" for case in errors.failure_cases.to_dict("records")]
        ) from None


_FOLD_TABLE = pa.DataFrameSchema(
    {
        "fold": pa.Column(int, pa.Check.ge(0)),
        "patient_id": pa.Column("string"),
        "label": pa.Column(int, pa.Check.isin([0, 1])),
        "part": pa.Column(str, pa.Check.isin(PARTS)),
    },
    checks=[
        pa.Check(
            lambda table: ~table.duplicated(["fold", "patient_id"], keep=False),
            error="a patient is named twice in one fold",
        ),
        pa.Check(
            lambda table: table.groupby("patient_id")["label"].transform("nunique") == 1,
            error="a patient has two labels",
        ),
    ],
)


def _describe(case: dict[str, object]) -> str:
    index = str(case["index"])  # None where the whole column is meant
    where = f"row {int(index) + 2}: " if index.isdigit() else ""
    column = f"{case['column']}: " if case["schema_context"] == "Column" else ""
    return f"{where}{column}{case['check']} (found {case['failure_case']!r})"


def _check_classes(cohort: pd.DataFrame, protocol: str, n_folds: int) -> None:
    if protocol != "center" and n_folds < 2:
        raise InputFault(f"data.n_folds is {n_folds}, expected 2 or more")
    # every fold's part needs the class once, and so does what lies outside the folds
    needed = {"center": 2, "kfold": n_folds}.get(protocol, n_folds + 1)
    counts = cohort["label"].value_counts()
    for label, name in ((0, "low-grade"), (1, "high-grade")):
        if counts.get(label, 0) < needed:
            raise InputFault(
                f"protocol {protocol} needs at least {needed} {name} patients, "
                f"found {counts.get(label, 0)}"
            )


Split = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows of the train, val and test patients."""


def _paper(
    labels: np.ndarray, n_folds: int, test_share: float, rng: np.random.Generator
) -> list[Split]:
    """One test part, and folds in the rest.

    scikit-learn's splitters, one after the other, round twice: a training part may then be more than
    one patient off its proportional share of a class. Here the test part's share is rounded so that
    no part of any fold is (of the two ways to round it, one always allows that).
    """
    total, high = len(labels), int(labels.sum())
    share = high / total
    test_size = round(test_share * total)
    sizes = _even_sizes(total - test_size, n_folds)

    def worst(test_high: int) -> float:
        off = test_high - share * test_size
        folds = np.array(_apportion(high - test_high, sizes, share)) - share * np.array(sizes)
        return max(abs(off), float(np.abs(folds).max()), float(np.abs(off + folds).max()))

    test_high = min({floor(share * test_size), ceil(share * test_size)}, key=worst)
    pools = _pools(labels, rng)
    test = _draw(pools, test_size, test_high)
    folds = [
        _draw(pools, size, count)
        for size, count in zip(sizes, _apportion(high - test_high, sizes, share), strict=True)
    ]
    return [
        (np.concatenate([f for other, f in enumerate(folds) if other != k]), folds[k], test)
        for k in range(n_folds)
    ]


def _test_parts(labels: np.ndarray, n_folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of the test patients of each fold; every patient is in one."""
    sizes = _even_sizes(len(labels), n_folds)
    counts = _apportion(int(labels.sum()), sizes, labels.mean())
    pools = _pools(labels, rng)
    return [_draw(pools, size, count) for size, count in zip(sizes, counts, strict=True)]


def _kfold(labels: np.ndarray, n_folds: int, rng: np.random.Generator) -> list[Split]:
    everybody, nobody = np.arange(len(labels)), np.array([], dtype=int)
    return [(np.setdiff1d(everybody, test), nobody, test) for test in _test_parts(labels, n_folds, rng)]


def _nested(
    labels: np.ndarray, n_folds: int, val_share: float, rng: np.random.Generator
) -> list[Split]:
    share = labels.mean()
    splits = []
    for test in _test_parts(labels, n_folds, rng):
        rest = np.setdiff1d(np.arange(len(labels)), test)
        off = labels[test].sum() - share * len(test)
        train, val = _carve_validation(rest, labels, val_share, share, off, rng)
        splits.append((train, val, test))
    return splits


def _leave_one_center_out(
    cohort: pd.DataFrame, val_share: float, rng: np.random.Generator
) -> list[Split]:
    if "center" not in cohort or (cohort["center"].fillna("") == "").any():
        raise InputFault("protocol center needs a centre for every patient (column `center`)")
    centers = sorted(cohort["center"].unique())
    if len(centers) < 2:
        raise InputFault(f"protocol center needs two or more centres, found {centers}")
    labels = cohort["label"].to_numpy()
    splits = []
    for center in centers:
        here = (cohort["center"] == center).to_numpy()
        rest = np.flatnonzero(~here)
        train, val = _carve_validation(rest, labels, val_share, labels[rest].mean(), 0.0, rng)
        splits.append((train, val, np.flatnonzero(here)))
    return splits


def _carve_validation(
    rest: np.ndarray,
    labels: np.ndarray,
    val_share: float,
    share: float,
    off: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Train and val rows; `off` is how many high-grade patients the test part has too many."""
    size = round(val_share * len(rest))
    high = min(
        {floor(share * size), ceil(share * size)},
        key=lambda count: max(abs(count - share * size), abs(off + count - share * size)),
    )
    pools = [rows[np.isin(rows, rest)] for rows in _pools(labels, rng)]
    val = _draw(pools, size, high)
    return np.setdiff1d(rest, val), val


def _even_sizes(total: int, parts: int) -> list[int]:
    return [len(part) for part in np.array_split(np.arange(total), parts)]


def _apportion(total: int, sizes: list[int], share: float) -> list[int]:
    """Whole numbers near share × size that sum to `total` (largest remainders first)."""
    ideal = share * np.array(sizes)
    counts = np.floor(ideal).astype(int)
    order = np.argsort(-(ideal - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def _pools(labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.permutation(np.flatnonzero(labels == value)) for value in (0, 1)]


def _draw(pools: list[np.ndarray], size: int, high: int) -> np.ndarray:
    """Take `size` rows, `high` of them high grade, off the pools."""
    drawn = [pools[0][: size - high], pools[1][:high]]
    pools[0], pools[1] = pools[0][size - high :], pools[1][high:]
    return np.concatenate(drawn)
