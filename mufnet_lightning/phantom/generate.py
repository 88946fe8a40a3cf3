"""Simulated cohorts whose best possible AUC is known.

Each patient has a label and two hidden numbers, drawn independently once the label is given:
b ~ N(±d_b/2, 1) and c ~ N(±d_c/2, 1), plus for high grades. The B-mode pane is painted from b and
never sees c or the label; the CEUS pane is painted from c and never sees b or the label, each by the
kinds of signal that were chosen (`signals`); whatever else a clip holds (anatomy, motion, boxes,
number of frames, centre, scanner, gain, noise) is drawn from streams of its own. So a reader of one
pane cannot beat Φ(d/√2), nor a reader of both Φ(√((d_b² + d_c²)/2)), unless centre, scanner or number
of frames were tied to the grade on purpose.

Randomness comes from one seed sequence a patient, so the files do not depend on how many processes
wrote them. `patients` draws who is in the cohort, `scene` what is looked at, `signals` how a hidden
number shows, `ultrasound` what a scanner shows of it all, `clips` films it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mufnet_lightning.cohort.identity import write_id
from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.clips import Clip, write_clip
from mufnet_lightning.phantom.options import PhantomOptions, ceilings
from mufnet_lightning.phantom.patients import draw_latents, draw_patients
from mufnet_lightning.phantom.truth import write_truth
from mufnet_lightning.system.files import atomic_path
from mufnet_lightning.system.processes import in_processes


def write_phantom(out: Path, options: PhantomOptions) -> None:
    """Write a simulated cohort folder (DESIGN §3 and §5): tables, video clips and truth.json.

    The folder appears complete or not at all. Its cohort.json follows from the options too: the same
    phantom, written again, is the same cohort. Worker processes are spawned, so a script that calls
    this needs `if __name__ == "__main__":`.

    Args:
        out: folder to write; must not exist, or be empty.
        options: what to simulate.

    Raises:
        InputFault: `out` exists and is not an empty folder, or nothing can be written there.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputFault(f"{out} exists already; give a folder that does not")
    latents = draw_latents(options)
    patients, table = draw_patients(latents, options)
    with atomic_path(out) as folder:
        try:
            (folder / "clips").mkdir(parents=True)
        except OSError as error:
            raise InputFault(f"{out} cannot be written: {error.strerror}") from error
        clips = in_processes(partial(write_clip, folder, options=options), patients, "clips")
        _write_tables(folder, table, clips)
        write_truth(folder, patients, latents, clips, options)
        content = json.dumps(asdict(options), sort_keys=True)
        write_id(folder, hashlib.sha256(content.encode()).hexdigest()[:32])
    best = ceilings(options)
    print(
        f"wrote {options.patients} patients ({options.high_patients} high), "
        f"{sum(patient.frames for patient in patients)} annotated frames to {out}; ceilings: "
        f"B-mode {best['bmode']:.3f}, CEUS {best['ceus']:.3f}, fused {best['fused']:.3f}"
    )
    if options.confound:
        print(
            f"the {options.confound} is tied to the grade of {sum(p.tied for p in patients)} patients: "
            "who reads it off may beat the ceilings"
        )
    if options.duplicates:
        print(f"{options.duplicates} patients are another one's scan (truth.json: duplicate_of)")


def _write_tables(folder: Path, table: Sequence[Mapping[str, Any]], clips: Sequence[Clip]) -> None:
    tables = {
        "patients": [
            {**row, "tumor_diameter_cm": clip.diameter_cm}
            for row, clip in zip(table, clips, strict=True)
        ],
        "clips": [clip.row for clip in clips],
        "boxes": [box for clip in clips for box in clip.boxes],
    }
    for name, rows in tables.items():
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
