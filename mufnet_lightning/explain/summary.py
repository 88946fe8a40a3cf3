"""The numbers of an explanation, with the patient as the unit: by grade, and the checks of the maps.

Needs no torch, so that a report over many runs can pool their tables and summarise them again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.statistics.attention import PatientMean, by_grade, over_patients
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.text import p_text
from mufnet_lightning.vocabulary import MODALITY_NAMES, STAGES

Summary = dict[str, Any]
SEEN_TO_CHANGE = 0.5  # rank correlation below which a map is called another one


def summarise(
    table: pd.DataFrame,
    checks: pd.DataFrame | None,
    modalities: Sequence[str],
    told: Mapping[str, Any],
) -> Summary:
    """Strict JSON: what was `told`, and

    - `images`, `patients`, `modalities`;
    - `by_grade`: a row a measure: `measure`, `name`, `low` and `high` (each `value`, `ci`, `patients`),
      `difference`, `ci`, `p`, `p_holm`, `missing` (images);
    - `sanity`: a row a stage and modality: `value`, `ci`;
    - `faithfulness`: `deletion` and `insertion`: `value`, `random`, and `gain` (how much better than
      random maps) with `ci` and `p`;
    - `pointing`: a row a modality and kind (`energy` or `hit`): `value`, `chance`, `gain` over it with
      `ci` and `p`, and `random_weights`, the gain of networks with random weights: their mean with
      the interval over networks (`draws`);
    - `verdicts`: in words, what the checks mean.

    What was not checked is empty.

    Args:
        table: see `explain_images`.
        checks: see `check_maps`; None where it was not done.
        modalities: of the network.
        told: kept as it is.
    """
    summary = {
        **told,
        "modalities": list(modalities),
        "images": int(table["pair_id"].nunique()),
        "patients": int(table["patient_id"].nunique()),
        "by_grade": _by_grade(table, modalities),
        "sanity": [] if checks is None else _sanity(checks, modalities),
        "faithfulness": {} if checks is None else _faithfulness(checks),
        "pointing": _pointing(table, checks, modalities) if "signal_area" in table else [],
    }
    return {**summary, "verdicts": _verdicts(summary)}


def measure_names(modalities: Sequence[str]) -> dict[str, str]:
    """The measures' columns and what they are called."""
    names = {f"inside_{m}": f"{MODALITY_NAMES[m]}: energy inside the lesion" for m in modalities}
    names |= {f"area_{m}": f"{MODALITY_NAMES[m]}: area above half maximum" for m in modalities}
    if len(modalities) == 2:
        names |= {"iou": "overlap of the two maps (IoU)", "correlation": "correlation of the two maps"}
    return names


def printed(summary: Summary) -> str:
    """The numbers as text, for a terminal."""
    head = (
        f"{summary['method']} for the {summary['target']} class: {summary['patients']} patients, "
        f"{summary['images']} images; means over patients (95% interval)"
    )
    blocks = [head, by_grade_frame(summary).to_string(index=False)]
    for frame in (pointing_frame(summary), sanity_frame(summary), faithfulness_frame(summary)):
        if not frame.empty:
            blocks.append(frame.to_string(index=False))
    return "\n\n".join([*blocks, *summary["verdicts"]])


def by_grade_frame(summary: Summary) -> pd.DataFrame:
    """A row a measure."""
    return pd.DataFrame(
        {
            "measure": row["name"],
            "low grade": _with_interval(row["low"]),
            "high grade": _with_interval(row["high"]),
            "high − low": _with_interval({"value": row["difference"], "ci": row["ci"]}),
            "p": p_text(row["p"]),
            "p (Holm)": p_text(row["p_holm"]),
        }
        for row in summary["by_grade"]
    )


def pointing_frame(summary: Summary) -> pd.DataFrame:
    """A row a modality and kind of pointing; empty without a phantom."""
    kinds = {"energy": "energy in the signal", "hit": "maximum in the signal"}
    return pd.DataFrame(
        {
            "pointing": f"{MODALITY_NAMES[row['modality']]}: {kinds[row['kind']]}",
            "maps": _text(row["value"]),
            "chance": _text(row["chance"]),
            "maps − chance": _with_interval(row["gain"]),
            "p": p_text(row["gain"]["p"]),
            "random weights − chance": _with_interval(row["random_weights"]),
        }
        for row in summary["pointing"]
    )


def sanity_frame(summary: Summary) -> pd.DataFrame:
    """A row a stage of randomisation, a column a modality; empty without the check."""
    rows: dict[str, dict[str, str]] = {}
    for row in summary["sanity"]:
        cells = rows.setdefault(row["stage"], {"weights drawn anew": row["stage"]})
        cells[f"{MODALITY_NAMES[row['modality']]}: rank correlation"] = _with_interval(row)
    return pd.DataFrame(list(rows.values()))


def faithfulness_frame(summary: Summary) -> pd.DataFrame:
    """Deletion and insertion; empty without the check."""
    return pd.DataFrame(
        {
            "area under the curve": name,
            "maps": _text(found["value"]),
            "random maps": _text(found["random"]),
            "gain": _with_interval(found["gain"]),
            "p": p_text(found["gain"]["p"]),
        }
        for name, found in summary["faithfulness"].items()
    )


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _by_grade(table: pd.DataFrame, modalities: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for column, name in measure_names(modalities).items():
        found = by_grade(table[column], table["label"].to_numpy(int), table["patient_id"])
        sides = {
            side: {
                "value": _number(found.means[i]),
                "ci": _pair(found.intervals[i]),
                "patients": found.patients[i],
            }
            for i, side in enumerate(("low", "high"))
        }
        rows.append(
            {
                "measure": column,
                "name": name,
                **sides,
                "difference": found.difference,
                "ci": _pair(found.interval),
                "p": found.p,
                "p_holm": None,
                "missing": found.missing,
            }
        )
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(p)
    return rows


def _sanity(checks: pd.DataFrame, modalities: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "modality": m,
            **_mean(over_patients(checks[f"similarity_{stage}_{m}"], checks["patient_id"])),
        }
        for stage in STAGES
        for m in modalities
    ]


def _faithfulness(checks: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name, sign in (("deletion", -1), ("insertion", 1)):
        own, random = checks[name], checks[f"{name}_random"]
        gain = over_patients(sign * (own - random), checks["patient_id"])
        found[name] = {
            "value": _number(own.mean()),
            "random": _number(random.mean()),
            "gain": {**_mean(gain), "p": gain.p},
        }
    return found


def _pointing(
    table: pd.DataFrame, checks: pd.DataFrame | None, modalities: Sequence[str]
) -> list[dict[str, Any]]:
    patients = table["patient_id"]
    chance = over_patients(table["signal_area"], patients).value
    rows = []
    for kind in ("energy", "hit"):
        for m in modalities:
            values = table[f"signal_{kind}_{m}"]
            gain = over_patients(values - table["signal_area"], patients)
            row = {
                "kind": kind,
                "modality": m,
                "value": _number(over_patients(values, patients).value),
                "chance": _number(chance),
                "gain": {**_mean(gain), "p": gain.p},
                "random_weights": None,
            }
            if checks is not None:
                row["random_weights"] = _random_pointing(table, checks, f"random_{kind}_{m}_")
            rows.append(row)
    return rows


def _random_pointing(table: pd.DataFrame, checks: pd.DataFrame, prefix: str) -> dict[str, Any]:
    """A random network is the unit: all patients, and all folds, see the same ones."""
    area = table.groupby("pair_id")["signal_area"].first()[checks["pair_id"]].to_numpy()
    columns = [name for name in checks if str(name).startswith(prefix)]
    # a map of zeros only points nowhere
    gains = checks[columns].sub(area, axis=0).mean()
    found = over_patients(gains, np.arange(len(gains)))
    return {"value": _number(found.value), "ci": _pair(found.interval), "draws": found.patients}


def _verdicts(summary: Summary) -> list[str]:
    told = []
    last = [row for row in summary["sanity"] if row["stage"] == STAGES[-1]]
    for row in last:
        name = MODALITY_NAMES[row["modality"]]
        if row["value"] is None:
            told.append(f"{name} maps are even: they point nowhere, and there is nothing to check.")
        if row["ci"] is None:
            continue
        if row["ci"][1] < SEEN_TO_CHANGE:
            told.append(f"{name} maps depend on the weights: random ones give other maps.")
        elif row["ci"][0] < SEEN_TO_CHANGE:
            told.append(f"{name} maps: too few patients to tell whether they depend on the weights.")
        else:
            told.append(
                f"{name} maps FAIL the sanity check: random weights give much the same maps, so they "
                "show the image rather than what was learned."
            )
    for name, found in summary["faithfulness"].items():
        gain = found["gain"]
        if gain["ci"] is None:
            continue
        if gain["ci"][0] > 0:
            told.append(f"By {name}, the score depends on where the maps point more than on chance.")
        else:
            told.append(
                f"By {name}, the maps are NOT SHOWN to be better than random ones (gain "
                f"{_with_interval(gain)}): where they point may not matter for the score."
            )
    return told


def _mean(found: PatientMean) -> dict[str, Any]:
    return {"value": _number(found.value), "ci": _pair(found.interval), "patients": found.patients}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return [float(v) for v in interval] if interval and np.isfinite(interval).all() else None


def _with_interval(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return ""
    text = f"{found['value']:.3f}"
    return text if found["ci"] is None else f"{text} ({found['ci'][0]:.3f}, {found['ci'][1]:.3f})"
