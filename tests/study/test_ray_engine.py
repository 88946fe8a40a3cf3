"""The same jobs on a Ray cluster: the same to the bit, and refused where they cannot be run."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from apart import Apart

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study import ray_engine, ray_machines
from mufnet_lightning.study.ray_engine import RayEngine
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

pytest.importorskip("ray")


def predictions(study: str) -> dict[str, str]:
    """A digest of each run's predictions, by its name."""
    client = mlflow_client()
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    made: dict[str, str] = {}
    for run in client.search_runs([experiment.experiment_id]):
        if run.data.tags["verb"] == "cv":
            assert run.info.status == "SCHEDULED"
            continue
        assert run.info.status == "FINISHED", run.info.run_name
        assert run.info.run_name not in made, "a fold was trained twice"
        file = resolve_artifact(run.info.run_id, "predictions.csv")
        made[str(run.info.run_name)] = hashlib.sha256(file.read_bytes()).hexdigest()
        steps = [p.step for p in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(6))
    return made


@pytest.mark.slow
def test_a_cluster_gives_the_same_as_this_machine_although_a_worker_is_killed(
    work: Path, tiny: list[str]
) -> None:
    words = ["cv", *tiny, "--data.n_folds=2", "--fold=0", "--trainer.max_epochs=6", "--threads=1"]
    assert main([*words, "--tracking.study=here"]) == 0
    with Apart(*words, "--tracking.study=there", "--engine=ray") as command:
        command.wait_for(lambda: list(Path("mlruns").glob("checkpoints/*/last.ckpt")))
        below = psutil.Process(command.pid).children(recursive=True)
        workers = [one for one in below if " ".join(one.cmdline()).startswith("ray::fused fold")]
        assert workers
        workers[0].send_signal(signal.SIGKILL)
        assert command.wait(240) == 0, command.printed()
        assert "it begins again" in command.printed()
        assert "from its last epoch" in command.printed()
    assert predictions("there") == predictions("here")
    assert len(predictions("here")) == 1


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngine]:
    """A cluster of this machine alone."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("ray"))
    engine = RayEngine()
    os.chdir(before)
    yield engine
    engine.close()


@pytest.mark.slow
def test_what_other_machines_do_not_share_is_told_before_anything_begins(
    engine: RayEngine,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    Path("store").mkdir()
    engine.reach([Path("store")])
    with pytest.raises(InputFault, match=r"does not see .*/elsewhere: share it under the same path"):
        engine.reach([Path("elsewhere")])
    monkeypatch.setattr(ray_engine, "machine", lambda: "another one")
    with pytest.raises(
        InputFault, match="SQLite file, which only one machine may write; start `mlflow"
    ):
        engine.reach([Path("store")])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    engine.reach([Path("store")])
    monkeypatch.setattr(ray_machines, "versions", lambda: {"torch": "1.0"})
    with pytest.raises(InputFault, match=r"has torch .*, and this one 1\.0: install the same"):
        engine.reach([Path("store")])
    monkeypatch.setattr(ray_engine, "_PATIENCE", 0.0)
    monkeypatch.setattr(ray_engine, "_PROBE", 0.001)
    with pytest.raises(InputFault, match=r"machine .* no worker of it answered within 0 s"):
        engine.reach([Path("store")])
    assert "waiting for the first answer of machine " in caplog.text
    assert not list(Path("mlruns/locks").glob("ray-*"))


def test_a_cluster_that_is_not_there_is_told() -> None:
    with pytest.raises(InputFault, match="Ray's client cannot tell how far a job is"):
        RayEngine("ray://127.0.0.1:10001")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InputFault, match=r"--ray-address 127\.0\.0\.1:9: no cluster answers"):
        RayEngine("127.0.0.1:9")
    assert signal.getsignal(signal.SIGTERM) == before
    assert threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize("verb", ["cv", "study", "sweep sweep"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--jobs=0",), "--jobs: 0 is not in bounds, expected 1 or more"),
        (("--threads=-1",), "--threads: -1 is not in bounds, expected 1 or more"),
        (("--engine=local", "--ray-address=auto"), "--ray-address goes with --engine ray"),
    ],
)
def test_what_cannot_be_is_refused(
    work: Path, capfd: pytest.CaptureFixture[str], verb: str, words: list[str], sentence: str
) -> None:
    assert main([*verb.split(), *words]) == 2
    assert capfd.readouterr().err == f"mufnet: {sentence}\n"
