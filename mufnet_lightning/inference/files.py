"""Names of the files that `mufnet predict --run` writes."""

from __future__ import annotations

from mufnet_lightning.vocabulary import PREDICTIONS

PATIENTS, RESULT, PAGE = "patients.csv", "result.json", "page.html"
RESULT_FILES = (PREDICTIONS, PATIENTS, RESULT, PAGE)
