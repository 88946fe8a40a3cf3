"""`mufnet fit`, `validate`, `test` and `predict`: LightningCLI, behind a check without Lightning."""

from __future__ import annotations

from collections.abc import Sequence

from mufnet_lightning.commands.options import parse
from mufnet_lightning.commands.predict import Predict
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.commands.test import Test


def run_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run one of Lightning's verbs.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
        SystemExit: the help was asked for, and has been printed.
    """
    names = {argument.partition("=")[0] for argument in arguments}
    if verb == "predict" and _of_ours(names):
        parse(Predict, verb, arguments).run()
        return
    if verb == "test" and "--run" in names:
        parse(Test, verb, arguments).run()
        return
    check_run(verb, arguments)
    from mufnet_lightning.training.run import run_lightning

    run_lightning([verb, *arguments])


def _of_ours(names: set[str]) -> bool:
    """Whether predict is asked for a run, or for help without a checkpoint."""
    return "--run" in names or (bool(names & {"-h", "--help"}) and "--ckpt_path" not in names)
