"""The tags of a run: what it is known again by, and nothing of who or where."""

from __future__ import annotations

from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.provenance import commit_tags
from mufnet_lightning.tracking.runs import PARENT_RUN

NAMELESS = {"mlflow.user": "unknown", "mlflow.source.name": "mufnet"}
"""In place of the account and the path of the command, which MLflow notes by itself."""


def run_tags(
    verb: str,
    study: str,
    *,
    note: str | None = None,
    parent: str | None = None,
    **more: str | None,
) -> dict[str, str]:
    """The tags of a run that begins, as `TrackedRun` reads them; those that are None are left out.

    Args:
        verb: what makes it.
        study: that it is filed in.
        note: what the MLflow UI shows as its description.
        parent: id of the run that it belongs to.
        more: `arm`, `fold`, `protocol`, `selection` and what else a verb knows it again by.
    """
    tags = {"verb": verb, "study": study, NOTE: note, PARENT_RUN: parent, **more, **commit_tags()}
    return NAMELESS | {name: value for name, value in tags.items() if value is not None}
