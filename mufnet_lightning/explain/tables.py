"""The numbers of an explanation as people read them: tables, and text for a terminal."""

from __future__ import annotations

import pandas as pd

from mufnet_lightning.evaluation.text import interval_text, number_text, p_text
from mufnet_lightning.explain.summary import Summary
from mufnet_lightning.vocabulary import MODALITY_NAMES

POINTING = {"energy": "energy in the signal", "hit": "maximum in the signal"}


def printed(summary: Summary) -> str:
    """The numbers as text, for a terminal."""
    options = summary.origin.options
    head = (
        f"{options.method} for the {options.target} class: {summary.patients} patients, "
        f"{summary.images} images; means over patients (95% interval)"
    )
    blocks = [head, by_grade_frame(summary).to_string(index=False)]
    for frame in (pointing_frame(summary), sanity_frame(summary), faithfulness_frame(summary)):
        if not frame.empty:
            blocks.append(frame.to_string(index=False))
    return "\n\n".join([*blocks, *summary.verdicts])


def by_grade_frame(summary: Summary) -> pd.DataFrame:
    """A row a measure."""
    return pd.DataFrame(
        {
            "measure": row.name,
            "low grade": interval_text(row.low.value, row.low.ci),
            "high grade": interval_text(row.high.value, row.high.ci),
            "high − low": interval_text(row.difference, row.ci),
            "p": p_text(row.p),
            "p (Holm)": p_text(row.p_holm),
        }
        for row in summary.by_grade
    )


def pointing_frame(summary: Summary) -> pd.DataFrame:
    """A row a modality and kind of pointing; empty without a phantom."""
    rows = []
    for row in summary.pointing:
        random = row.random_weights
        rows.append(
            {
                "pointing": f"{MODALITY_NAMES[row.modality]}: {POINTING[row.kind]}",
                "maps": number_text(row.value),
                "chance": number_text(row.chance),
                "maps − chance": interval_text(row.gain.value, row.gain.ci),
                "p": p_text(row.gain.p),
                "random weights − chance": interval_text(random.value, random.ci) if random else "",
            }
        )
    return pd.DataFrame(rows)


def sanity_frame(summary: Summary) -> pd.DataFrame:
    """A row a stage of randomisation, a column a modality; empty without the check."""
    rows: dict[str, dict[str, str]] = {}
    for row in summary.sanity:
        cells = rows.setdefault(row.stage, {"weights drawn anew": row.stage})
        cells[f"{MODALITY_NAMES[row.modality]}: rank correlation"] = interval_text(row.value, row.ci)
    return pd.DataFrame(list(rows.values()))


def faithfulness_frame(summary: Summary) -> pd.DataFrame:
    """Deletion and insertion; empty without the check."""
    return pd.DataFrame(
        {
            "area under the curve": row.curve,
            "maps": number_text(row.value),
            "random maps": number_text(row.random),
            "gain": interval_text(row.gain.value, row.gain.ci),
            "p": p_text(row.gain.p),
        }
        for row in summary.faithfulness
    )
