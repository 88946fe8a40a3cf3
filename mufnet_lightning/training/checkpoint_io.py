"""How Lightning writes and reads the checkpoints of a training: whole, sealed, and numbers alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.fabric.utilities.types import _PATH

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.sealed import not_finite, read_sealed, refuse_not_finite, write_sealed
from mufnet_lightning.training.divergence import Diverged, rates_of

_STATES = ("state_dict", "current_model_state")  # the second of a training that averages


class SealedCheckpointIO(CheckpointIO):
    """Checkpoints that are whole or not there, and say so themselves (see `system.sealed`).

        trainer = Trainer(plugins=[SealedCheckpointIO()], ...)

    Weights that are no numbers are not written: the checkpoint before them stays.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint in place of the one that is there.

        Raises:
            Diverged: some of its weights are no numbers.
            OSError: it cannot be written.
        """
        file = Path(path)
        for name in _STATES:
            strange = not_finite(checkpoint.get(name) or {})
            if strange is not None:
                raise Diverged(
                    f"weights are no numbers any more (first in {strange})",
                    int(checkpoint.get("epoch", 0)),
                    int(checkpoint.get("global_step", 0)),
                    rates_of(checkpoint.get("optimizer_states", [])),
                    [one for one in sorted(file.parent.glob("*.ckpt")) if one.name[0] != "."],
                )
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_sealed(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
            raise InputFault(f"{file}: the checkpoint cannot be written: {_first(error)}") from None

    def load_checkpoint(
        self, path: _PATH, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, after it was found whole; no code in it is run, whoever asks for it.

        Raises:
            InputFault: it is not there, or damaged, or some of its weights are no numbers.
        """
        content: dict[str, Any] = read_sealed(Path(path), map_location=map_location or "cpu")
        for name in _STATES:
            refuse_not_finite(content.get(name) or {}, str(path))
        return content

    def remove_checkpoint(self, path: _PATH) -> None:
        """Remove a checkpoint, where it is there."""
        if Path(path).is_dir():
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)


def _first(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or repr(error)).splitlines()[0]
