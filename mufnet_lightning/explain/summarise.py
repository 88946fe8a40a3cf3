"""Tables of an explanation become its numbers, with the patient as the unit, and verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.statistics.attention import PatientMean, by_grade, over_patients
from mufnet_lightning.evaluation.statistics.intervals import finite
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.text import interval_text
from mufnet_lightning.explain.summary import (
    FaithfulnessRow,
    Gain,
    GradeRow,
    Interval,
    Mean,
    NetworksMean,
    Origin,
    PointingRow,
    SanityRow,
    Summary,
)
from mufnet_lightning.vocabulary import MODALITY_NAMES, STAGES

SEEN_TO_CHANGE = 0.5  # rank correlation below which a map is called another one


def summarise(table: pd.DataFrame, checks: pd.DataFrame | None, origin: Origin) -> Summary:
    """The numbers of some maps and of their checks.

    Args:
        table: a row an image, see `explain_images`.
        checks: a row a patient's image, see `check_maps`; None where it was not done.
        origin: of the maps.
    """
    modalities = origin.modalities
    sanity = () if checks is None else _sanity(checks, modalities)
    faithfulness = () if checks is None else _faithfulness(checks)
    return Summary(
        origin,
        int(table["pair_id"].nunique()),
        int(table["patient_id"].nunique()),
        _by_grade(table, modalities),
        sanity,
        faithfulness,
        _pointing(table, checks, modalities) if "signal_area" in table else (),
        (*_sanity_verdicts(sanity), *_faithfulness_verdicts(faithfulness)),
    )


def measure_names(modalities: Sequence[str]) -> dict[str, str]:
    """The measures' columns and what they are called."""
    names = {f"inside_{m}": f"{MODALITY_NAMES[m]}: energy inside the lesion" for m in modalities}
    names |= {f"area_{m}": f"{MODALITY_NAMES[m]}: area above half maximum" for m in modalities}
    if len(modalities) == 2:
        names |= {"iou": "overlap of the two maps (IoU)", "correlation": "correlation of the two maps"}
    return names


def _by_grade(table: pd.DataFrame, modalities: Sequence[str]) -> tuple[GradeRow, ...]:
    rows = []
    for column, name in measure_names(modalities).items():
        grades = by_grade(table[column], table["label"].to_numpy(int), table["patient_id"])
        low, high = (
            Mean(finite(mean), _pair(interval), patients)
            for mean, interval, patients in zip(
                grades.means, grades.intervals, grades.patients, strict=True
            )
        )
        rows.append(
            GradeRow(
                column,
                name,
                low,
                high,
                grades.difference,
                _pair(grades.interval),
                grades.p,
                None,
                grades.missing,
            )
        )
    adjusted = iter(holm([row.p for row in rows if row.p is not None]))
    return tuple(row if row.p is None else replace(row, p_holm=float(next(adjusted))) for row in rows)


def _sanity(checks: pd.DataFrame, modalities: Sequence[str]) -> tuple[SanityRow, ...]:
    rows = []
    for stage in STAGES:
        for modality in modalities:
            alike = over_patients(checks[f"similarity_{stage}_{modality}"], checks["patient_id"])
            value, ci = finite(alike.value), _pair(alike.interval)
            rows.append(SanityRow(stage, modality, value, ci, alike.patients))
    return tuple(rows)


def _faithfulness(checks: pd.DataFrame) -> tuple[FaithfulnessRow, ...]:
    rows = []
    for curve, sign in (("deletion", -1), ("insertion", 1)):
        own, random = checks[curve], checks[f"{curve}_random"]
        gain = _gain(over_patients(sign * (own - random), checks["patient_id"]))
        rows.append(
            FaithfulnessRow(curve, finite(float(own.mean())), finite(float(random.mean())), gain)
        )
    return tuple(rows)


def _pointing(
    table: pd.DataFrame, checks: pd.DataFrame | None, modalities: Sequence[str]
) -> tuple[PointingRow, ...]:
    patients = table["patient_id"]
    chance = finite(over_patients(table["signal_area"], patients).value)
    rows = []
    for kind in ("energy", "hit"):
        for modality in modalities:
            values = table[f"signal_{kind}_{modality}"]
            gain = _gain(over_patients(values - table["signal_area"], patients))
            prefix = f"random_{kind}_{modality}_"
            random = None if checks is None else _random_pointing(table, checks, prefix)
            value = finite(over_patients(values, patients).value)
            rows.append(PointingRow(kind, modality, value, chance, gain, random))
    return tuple(rows)


def _random_pointing(table: pd.DataFrame, checks: pd.DataFrame, prefix: str) -> NetworksMean:
    """A random network is the unit: all patients, and all folds, see the same ones."""
    area = table.groupby("pair_id")["signal_area"].first()[checks["pair_id"]].to_numpy()
    columns = [name for name in checks if str(name).startswith(prefix)]
    # a map of zeros only points nowhere
    gains = checks[columns].sub(area, axis=0).mean()
    networks = over_patients(gains, np.arange(len(gains)))
    return NetworksMean(finite(networks.value), _pair(networks.interval), networks.patients)


def _sanity_verdicts(rows: Sequence[SanityRow]) -> list[str]:
    verdicts = []
    for row in rows:
        if row.stage != STAGES[-1]:
            continue
        name = MODALITY_NAMES[row.modality]
        if row.value is None:
            verdicts.append(f"{name} maps are even: they point nowhere, and there is nothing to check.")
        if row.ci is None:
            continue
        if row.ci[1] < SEEN_TO_CHANGE:
            verdicts.append(f"{name} maps depend on the weights: random ones give other maps.")
        elif row.ci[0] < SEEN_TO_CHANGE:
            verdicts.append(
                f"{name} maps: too few patients to tell whether they depend on the weights."
            )
        else:
            verdicts.append(
                f"{name} maps FAIL the sanity check: random weights give much the same maps, so they "
                "show the image rather than what was learned."
            )
    return verdicts


def _faithfulness_verdicts(rows: Sequence[FaithfulnessRow]) -> list[str]:
    verdicts = []
    for row in rows:
        if row.gain.ci is None:
            continue
        gain = interval_text(row.gain.value, row.gain.ci)
        if row.gain.ci[0] > 0:
            verdicts.append(
                f"By {row.curve}, the score depends on where the maps point more than on chance."
            )
        else:
            verdicts.append(
                f"By {row.curve}, the maps are NOT SHOWN to be better than random ones (gain "
                f"{gain}): where they point may not matter for the score."
            )
    return verdicts


def _gain(mean: PatientMean) -> Gain:
    return Gain(finite(mean.value), _pair(mean.interval), mean.patients, mean.p)


def _pair(interval: tuple[float, float] | None) -> Interval | None:
    return interval if interval is not None and np.isfinite(interval).all() else None
