"""What the MLflow UI shows as a description: what one is looking at, in two sentences."""

from __future__ import annotations

NOTE = "mlflow.note.content"
"""MLflow's own tag for it, of runs and of experiments."""
NOTE_LENGTH = 8000
"""Characters that MLflow keeps of a run's; it cuts off what is beyond (`MAX_TAG_VAL_LENGTH`)."""


def study_note(study: str) -> str:
    """Of a study."""
    return (
        f"Study **{study}**: networks that tell high from low grade of kidney tumours in ultrasound; "
        "a run `ARM-foldN` is one training, and `ARM-cv` a cross-validation with its folds as "
        "children. The number to look at is `test/patient_auc` with its 95% interval (`..._ci_low`, "
        "`..._ci_high`) of the runs `ARM-cv`, or of trainings on the same fold; runs `compare-...` "
        "hold the paired tests between arms, on the same patients."
    )
