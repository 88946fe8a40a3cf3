"""A fit that is killed around its checkpoints and taken up again has the points of a whole one."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from working_folder import enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.checkpoints import resolve_checkpoint
from mufnet_lightning.tracking.journal import journals
from mufnet_lightning.tracking.liveness import RESUMED
from mufnet_lightning.tracking.runs import find_run, mlflow_client
from mufnet_lightning.training.logger import RunLogger

EPOCHS = 4


def fit_until(words: list[str], epoch: int, confirmed: bool) -> None:
    """Fit; killed when the checkpoint of an epoch is on the disk, before or behind its confirmation."""
    confirm = RunLogger.confirm

    def killing(self: RunLogger, done: int) -> None:
        if confirmed or done != epoch:
            confirm(self, done)
        if done == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLogger, "confirm", killing)
        main(["fit", *words])


def fit_until_the_model_is_logged(words: list[str]) -> None:
    """Fit; killed when all epochs are trained and scored, and the selected one is an artifact."""

    def killing(self: RunLogger, register: str | None = None) -> None:
        self.experiment.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLogger, "keep_model", killing)
        main(["fit", *words])


def killed(work: Callable[..., None], *arguments: object) -> None:
    """Do it in a process of its own, which kills itself."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(200)
    process.kill()
    assert process.exitcode == -signal.SIGKILL


def last() -> str:
    """The last checkpoint of the only run."""
    (file,) = Path("mlruns").glob("checkpoints/*/last.ckpt")
    return str(file)


def histories() -> dict[str, list[tuple[int, float]]]:
    """The points of the only run that is finished, but for those of the machine."""
    store = mlflow_client()
    (study,) = [e for e in store.search_experiments() if e.name == "demo"]
    (run,) = store.search_runs([study.experiment_id])
    assert run.info.status == "FINISHED"
    assert "reason" not in run.data.tags
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    run_id = find_run(run.info.run_id).id
    return {name: [(p.step, p.value) for p in store.get_metric_history(run_id, name)] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_a_fit_that_is_killed_has_no_point_twice_and_misses_none(
    tmp_path: Path,
    empty_tracking: bytes,
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    every: int,
) -> None:
    validates = f"--trainer.check_val_every_n_epoch={every}"
    words = [*tiny, f"--trainer.max_epochs={EPOCHS}", validates]
    enter(make_working_folder(tmp_path / "whole", empty_tracking), monkeypatch)
    assert main(["fit", *words]) == 0
    expected = histories()
    assert [step for step, _ in expected["train/loss"]] == list(range(EPOCHS))

    enter(make_working_folder(tmp_path / "killed", empty_tracking), monkeypatch)
    begin: list[str] = []
    for epoch, confirmed in ((1, False), (2, True)):
        killed(fit_until, [*words, *begin], epoch, confirmed)
        begin = [f"--ckpt_path={last()}"]
        if epoch == 1:
            shutil.copy(last(), "earlier.ckpt")
    killed(fit_until_the_model_is_logged, [*words, *begin])

    # an earlier epoch, as the selected one may be, would train later ones again into the same run
    run = Path(last()).parent.name
    before = find_run(run).tags[RESUMED]
    assert main(["fit", *words, "--ckpt_path=earlier.ckpt"]) == 2
    assert find_run(run).tags[RESUMED] == before  # what is refused is no going on
    assert f"has {EPOCHS} epochs, and this checkpoint goes on behind 2 of them" in caplog.text
    assert "checkpoints/selected.ckpt" in {
        entry.path for entry in mlflow_client().list_artifacts(run, "checkpoints")
    }
    assert str(resolve_checkpoint(f"runs:/{run}", unfinished=True)) == str(Path(last()).resolve())
    assert main(["fit", *words, f"--ckpt_path=runs:/{run}"]) == 0
    assert histories() == expected
    assert not journals(Path("mlruns"))
