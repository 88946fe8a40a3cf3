"""How a training ends that does not come to its end: diverged, stopped at any place, killed early."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.job import _begun
from mufnet_lightning.system.sealed import read_sealed
from mufnet_lightning.tracking.checkpoints import (
    checkpoint_folder,
    last_checkpoint,
    remove_left_checkpoints,
)
from mufnet_lightning.tracking.liveness import held
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    children_of,
    find_run,
    find_runs,
    finished_folds,
    mlflow_client,
)
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.training.parsed import _begun_without_checkpoint, _left_run


def runs() -> list[TrackedRun]:
    experiments = mlflow_client().search_experiments()
    return [run for one in experiments for run in find_runs(one.experiment_id)]


def only_run() -> TrackedRun:
    (run,) = runs()
    return run


def test_a_fit_that_diverges_stops_says_where_and_keeps_its_last_good_epoch(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.max_epochs=4", "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"]
    assert main(["fit", *tiny, *words, "--lr_scheduler.gamma=1e30"]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "diverged" in one]
    run = only_run()
    assert run.status == "FAILED"
    reason = run.tags["reason"]
    assert "epoch 1" in reason
    assert "5e+28" in reason
    assert "learning rate ten times smaller" in reason
    assert reason.removeprefix("Diverged: ") in line
    assert f"mlruns/checkpoints/{run.id}/last.ckpt" in reason
    assert read_sealed(last_checkpoint(run.id))["epoch"] == 0
    assert not any(name.startswith("test/") for name in run.metrics)
    # what was said of the epoch in which it diverged is there, beside those that count
    broken = {name for name in run.metrics if name.startswith("diverged/")}
    assert broken
    for name in broken:
        points = mlflow_client().get_metric_history(run.id, name)
        counted = mlflow_client().get_metric_history(run.id, name.removeprefix("diverged/"))
        assert [point.step for point in points] == [1]
        assert [point.step for point in counted] == [0]


@pytest.mark.slow
def test_a_fold_that_diverges_is_counted_by_no_cross_validation(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data.n_folds=2", "--trainer.max_epochs=4", "--jobs=1"]
    words += ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=1e30"]
    assert main(["cv", *tiny, *words]) == 2
    assert "fold 0: the training diverged" in capsys.readouterr().err
    (parent,) = [run for run in runs() if run.verb == "cv"]
    (fold,) = [run for run in runs() if run.verb == "fit"]
    assert (parent.status, fold.status) == ("FAILED", "FAILED")
    assert finished_folds(parent) == {}
    assert not any(name.startswith(("test/", "val/")) for name in parent.metrics)


def test_weights_that_became_no_numbers_are_never_a_checkpoint(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # a gradient that is no number behind a loss that is one, at the end of an epoch
    def spoil(self: SelectedCheckpoint, trainer: Trainer, module: Any) -> None:
        module.net.head.bias.data[0] = torch.nan
        super(SelectedCheckpoint, self).on_train_epoch_end(trainer, module)

    monkeypatch.setattr(SelectedCheckpoint, "on_train_epoch_end", spoil)
    assert main(["fit", *tiny]) == 2
    assert "weights are no numbers any more (first in net.head.bias)" in capsys.readouterr().err
    run = only_run()
    assert run.status == "FAILED"
    assert not list(checkpoint_folder(run.id).glob("*"))


def _stop(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _then(function: Callable[..., Any]) -> Callable[..., Any]:
    def stopped(*arguments: Any, **options: Any) -> Any:
        _stop()
        return function(*arguments, **options)

    return stopped


def _swallowed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The interrupt is lost there, as in a finalizer."""

    def stopped(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            _stop()
        return function(*arguments, **options)

    return stopped


STAGES = {
    "parsing": "mufnet_lightning.training.parsed.LightningCLI.parse_arguments",
    "before the training": "mufnet_lightning.training.cli.state_start",
    "training": "mufnet_lightning.models.module.MufNetModule.training_step",
    "validation": "mufnet_lightning.models.module.MufNetModule.validation_step",
    "writing a checkpoint": "mufnet_lightning.training.checkpoint_io.write_sealed",
    "test": "mufnet_lightning.models.module.MufNetModule.test_step",
    "the artifact": "mufnet_lightning.training.cli.keep_selected",
    "the model": "mufnet_lightning.training.logger.RunLogger.keep_model",
}


@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_ends_a_fit_wherever_it_is(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        where, _, name = STAGES[stage].rpartition(".")
        patch.setattr(STAGES[stage], _then(getattr(_named(where), name)))
        assert main(["fit", *tiny]) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    if stage in ("parsing", "before the training"):  # no run has been opened
        assert runs() == []
        return
    run = only_run()
    assert (run.status, run.tags["reason"]) == ("KILLED", "interrupted")
    if stage in ("training", "test"):  # of the first epoch; behind the last one
        assert main(["fit", *tiny, f"--ckpt_path=runs:/{run.id}"]) == 0
        assert only_run().is_finished
        assert "test/auc" in only_run().metrics
        points = mlflow_client().get_metric_history(run.id, "train/loss")
        assert [point.step for point in points] == [0]
        assert not checkpoint_folder(run.id).exists()


def _named(path: str) -> Any:
    import importlib

    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def test_an_interrupt_that_is_lost_is_raised_again(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mufnet_lightning.system.signals._AGAIN", 0.3)
    first = _swallowed(RunLogger.describe)
    monkeypatch.setattr(RunLogger, "describe", first)
    assert main(["fit", *tiny, "--trainer.max_epochs=500"]) == 130
    assert only_run().status == "KILLED"


def test_a_run_that_is_alive_is_not_gone_on_with(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("mufnet_lightning.models.module.MufNetModule.training_step", _then(_stop))
        assert main(["fit", *tiny]) == 130
    run = only_run()
    mlflow_client().update_run(run.id, status="RUNNING")  # as a kill leaves it
    capsys.readouterr()
    with held(run.id):
        assert main(["fit", *tiny, f"--ckpt_path={run.id}"]) == 2
    assert "is being written by a process that is alive" in capsys.readouterr().err
    assert only_run().status == "RUNNING"


def test_what_a_kill_behind_the_end_has_left_is_removed_by_the_next_call(fitted: str) -> None:
    left = checkpoint_folder(fitted)
    left.mkdir(parents=True)
    (left / "last.ckpt").write_bytes(b"")
    client = mlflow_client()
    notebook = client.create_run(find_run(fitted).experiment_id).info.run_id
    client.set_terminated(notebook)
    others = [checkpoint_folder(run_id) for run_id in ("0" * 32, notebook)]
    for other in others:
        other.mkdir()
    remove_left_checkpoints()
    assert not left.exists()
    # nobody knows whose the first is; the second holds the only checkpoints of its run
    assert all(other.exists() for other in others)


def test_a_run_that_was_killed_behind_its_end_is_not_begun_once_more(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its user goes on with a run that broke off, and would get a second one of fewer epochs.

    Where those are a notebook run's only checkpoints they stay, and are trained further.
    """
    assert main(["fit", *tiny]) == 0
    run = only_run()
    checkpoint_folder(run.id).mkdir(parents=True)
    again = ["fit", *tiny, f"--ckpt_path=runs:/{run.id}", "--trainer.max_epochs=2"]
    assert main(again) == 2
    assert f"({run.id}) had come to its end when its process was stopped" in capsys.readouterr().err
    assert not checkpoint_folder(run.id).exists()
    assert only_run().is_finished
    assert main(again) == 0  # now it is meant so: trained further, as a run of its own
    assert len(runs()) == 2
    notebook = mlflow_client().create_run(run.experiment_id).info.run_id
    mlflow_client().set_terminated(notebook)
    checkpoint_folder(notebook).mkdir(parents=True)
    assert _left_run(notebook) is None
    assert checkpoint_folder(notebook).is_dir()


def test_the_checkpoints_of_a_fit_are_there_until_it_is_finished(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    remove = shutil.rmtree

    def noted(path: Any, *arguments: Any, **options: Any) -> None:
        if "checkpoints" in Path(path).parts:
            status = find_run(Path(path).name).status
            seen.append((status, last_checkpoint(Path(path).name).is_file()))
        remove(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", noted)
    assert main(["fit", *tiny]) == 0
    assert seen == [("FINISHED", True)]


def test_a_fold_that_was_killed_in_its_first_epoch_goes_on_in_its_run(fitted: str) -> None:
    fit = find_run(fitted)
    client = mlflow_client()
    parent = TrackedRun.of(client.create_run(fit.experiment_id, tags={"verb": "cv"}))
    tags = {"mlflow.parentRunId": parent.id, "verb": "fit", "fold": "1"}
    begun = client.create_run(fit.experiment_id, tags=tags).info.run_id
    client.log_metric(begun, "system/cpu", 1.0)
    assert _begun(children_of(parent)) == begun
    found = _begun_without_checkpoint(begun)
    assert found is not None
    assert found.id == begun
    folder = checkpoint_folder(begun)
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"half")
    assert _begun(children_of(parent)) is None  # a new run
    shutil.rmtree(folder)
    client.log_metric(begun, "train/loss", 1.0)  # of an epoch whose checkpoint is elsewhere
    assert _begun(children_of(parent)) is None
    assert _begun_without_checkpoint(begun) is None


@pytest.mark.parametrize(("monitor", "mode"), [("val/auc", "min"), ("val/loss", "max")])
def test_a_mode_that_would_select_the_worst_epoch_is_refused(monitor: str, mode: Any) -> None:
    with pytest.raises(InputFault, match="would select the worst epoch"):
        SelectedCheckpoint(monitor=monitor, mode=mode)
