"""One verb of LightningCLI, from its words to its end."""

from __future__ import annotations

from collections.abc import Sequence

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.signals import terminated_as_interrupted
from mufnet_lightning.training.cli import MufnetCLI
from mufnet_lightning.training.messages import quiet_libraries


def run_lightning(arguments: Sequence[str]) -> None:
    """Run `fit`, `validate`, `test` or `predict` with the arguments behind it.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
    """
    with terminated_as_interrupted(), quiet_libraries():
        try:
            MufnetCLI(arguments)
        except RuntimeError as error:
            if "Error(s) in loading state_dict" not in str(error):
                raise
            raise InputFault(
                "the checkpoint does not fit this network; model.encoder, model.share_encoder and "
                "data.modalities must be as they were when it was trained"
            ) from None
