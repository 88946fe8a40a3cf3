"""`mufnet fit`, `validate`, `test` and `predict`: LightningCLI, behind a check without Lightning."""

from __future__ import annotations

from collections.abc import Sequence

from mufnet_lightning.commands.quick_check import check_run


def run_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run one of Lightning's verbs.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
        SystemExit: the help was asked for, and has been printed.
    """
    check_run(verb, arguments)
    from mufnet_lightning.training.run import run_lightning

    run_lightning([verb, *arguments])
