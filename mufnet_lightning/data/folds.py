"""Which patient trains, which validates, which tests: splits on patients, kept as a table.

Folds are data. The table has a row for each patient of each fold (columns `fold, patient_id, label,
part`), is saved with every run, and can be read back, edited, or made by another program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import pandera.pandas as pa
from sklearn.model_selection import StratifiedKFold, train_test_split

from mufnet_lightning.errors import InputFault

Protocol = Literal["paper", "nested", "center"]
PARTS = ("train", "val", "test")


def make_folds(
    patients: pd.DataFrame,
    protocol: Protocol = "paper",
    n_folds: int = 5,
    test_share: float = 0.2,
    val_share: float = 0.2,
    seed: int = 0,
) -> pd.DataFrame:
    """Split patients into train, val and test for every fold of a protocol, stratified by label.

    Args:
        patients: a row a patient, columns `patient_id`, `label` (0 or 1) and, for `center`, `center`.
        protocol: `paper`: one test part of `test_share`, the same in every fold, and `n_folds` folds
            inside the rest, each the validation part once (Zhu et al. 2025). `nested`: `n_folds`
            test parts, so that every patient is tested once; `val_share` of what remains validates.
            `center`: each centre is the test part once; `val_share` of the other centres validates.
        seed: the same seed and patients (in any order) give the same table.

    Returns:
        Columns `fold` (int, from 0), `patient_id`, `label`, `part`; patients × folds rows.

    Raises:
        InputFault: a part would lack a class, or the protocol needs a centre that is not there.
    """
    if protocol not in get_args(Protocol):
        raise InputFault(f"there is no protocol {protocol!r}; choose one of {get_args(Protocol)}")
    cohort = patients.sort_values("patient_id").reset_index(drop=True)
    _check_classes(cohort, n_folds if protocol != "center" else 2, protocol)
    try:
        if protocol == "paper":
            development, test = train_test_split(
                cohort, test_size=test_share, stratify=cohort["label"], random_state=seed
            )
            splits = [
                (train, val, test) for train, val in _stratified_folds(development, n_folds, seed)
            ]
        elif protocol == "nested":
            splits = [
                (*_carve_validation(rest, val_share, seed), test)
                for rest, test in _stratified_folds(cohort, n_folds, seed)
            ]
        else:
            splits = [
                (*_carve_validation(rest, val_share, seed), test)
                for rest, test in _leave_one_center_out(cohort)
            ]
    except ValueError as error:  # scikit-learn: too few patients of a class for what was asked
        raise InputFault(f"these patients cannot be split by protocol {protocol}: {error}") from None
    return pd.concat(
        [
            patients[["patient_id", "label"]].assign(fold=fold, part=part)
            for fold, parts in enumerate(splits)
            for part, patients in zip(PARTS, parts, strict=True)
        ],
        ignore_index=True,
    )[["fold", "patient_id", "label", "part"]]


def read_folds(path: Path) -> pd.DataFrame:
    """Read a fold table and check it: known parts, one part a patient in each fold, one label.

    Raises:
        InputFault: the file is not there or is not such a table.
    """
    if not path.is_file():
        raise InputFault(f"{path}: there is no such fold table")
    try:
        table = pd.read_csv(path, dtype={"patient_id": "string"})
        return _FOLD_TABLE.validate(table, lazy=True)[["fold", "patient_id", "label", "part"]]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
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
    where = "" if pd.isna(case["index"]) else f"row {int(str(case['index'])) + 2}: "
    column = f"{case['column']}: " if case["schema_context"] == "Column" else ""
    return f"{where}{column}{case['check']} (found {case['failure_case']!r})"


def _check_classes(cohort: pd.DataFrame, wanted: int, protocol: str) -> None:
    counts = cohort["label"].value_counts()
    for label, name in ((0, "low-grade"), (1, "high-grade")):
        # each part of a fold needs the class, and so does the test part
        if counts.get(label, 0) < wanted + (protocol == "paper"):
            raise InputFault(
                f"protocol {protocol} with {wanted} folds needs at least "
                f"{wanted + (protocol == 'paper')} {name} patients, found {counts.get(label, 0)}"
            )


def _stratified_folds(
    cohort: pd.DataFrame, n_folds: int, seed: int
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return [
        (cohort.iloc[rest], cohort.iloc[held_out])
        for rest, held_out in splitter.split(cohort, cohort["label"])
    ]


def _carve_validation(
    rest: pd.DataFrame, val_share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, val = train_test_split(
        rest, test_size=val_share, stratify=rest["label"], random_state=seed
    )
    return train, val


def _leave_one_center_out(cohort: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    if "center" not in cohort or cohort["center"].isna().any():
        raise InputFault("protocol center needs a centre for every patient (column `center`)")
    centers = sorted(cohort["center"].unique())
    if len(centers) < 2:
        raise InputFault(f"protocol center needs two or more centres, found {centers}")
    return [(cohort[cohort["center"] != c], cohort[cohort["center"] == c]) for c in centers]
