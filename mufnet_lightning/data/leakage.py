"""Which patients of a store trained a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mufnet_lightning.store.store import CropStore

SAME_COHORT = 0.9


def trained_on(checkpoint: Mapping[str, Any], store: CropStore) -> set[str]:
    """The patients of a store on whom a checkpoint was trained, also by way of its `init_from`.

    Another cohort's patients may bear the same ids. A store of another digest is taken for a later
    state of the same cohort when nine in ten of the shared ids have the same label (or none is known).
    """
    here = store.manifest.drop_duplicates("patient_id").set_index("patient_id")["label"]
    found: set[str] = set()
    for cohort in checkpoint.get("mufnet_trained", ()):
        known = pd.Series(cohort["patients"], dtype=object)
        shared = known.index.intersection(here.index)
        labels = here[shared]
        agree = (labels == known[shared]).mean() if labels.notna().any() else 1.0
        if cohort["digest"] == store.digest or agree >= SAME_COHORT:
            found |= set(known.index[known.index.isin(cohort["train"])]) & set(here.index)
    return found
