"""Settings chosen by validation alone: what a space gives, what is refused, and that nobody peeks."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from apart import Apart
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mufnet_lightning.cli import main
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study import search_schedule, sweep_file
from mufnet_lightning.study.engines import JobEvent, JobProgress
from mufnet_lightning.study.job import FoldJob, JobEnd, TrialJob, finished_run
from mufnet_lightning.study.search import Search
from mufnet_lightning.study.search_schedule import run_searches
from mufnet_lightning.study.space import Space, words_of
from mufnet_lightning.study.sweep import _folds, _searches
from mufnet_lightning.study.sweep_file import SweepSpec, parsed_sweep
from mufnet_lightning.study.sweep_record import record_search, trial_table
from mufnet_lightning.tracking.runs import (
    PARENT_RUN,
    TrackedRun,
    mlflow_client,
    open_study,
    resolve_artifact,
)
from mufnet_lightning.training.messages import quiet_libraries
from mufnet_lightning.training.progress import Progress

SPACE: dict[str, Any] = {
    "optimizer.init_args.lr": {"low": 1e-4, "high": "1e-1", "log": True},  # YAML: 1e-1 is a text
    "model.dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
    "data.batch_size": {"low": 8, "high": 32, "step": 8},
    "trainer.max_epochs": {"low": 1, "high": 100, "log": True},
    "model.fusion": ["softmax", "sigmoid"],
    "optimizer.init_args.betas": [[0.9, 0.99], [0.8, 0.9]],
}


def drawn(space: Space, count: int) -> Iterator[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield space.draw(trial)
        assert space.draw(trial) == space.draw(optuna.trial.Trial(study, trial._trial_id))


def test_what_is_drawn_is_in_the_space() -> None:
    space = Space.of(SPACE)
    assert space.size is None
    many = list(drawn(space, 60))
    rates = np.array([one["optimizer.init_args.lr"] for one in many])
    assert rates.min() >= 1e-4
    assert rates.max() <= 0.1
    assert 0.2 < (rates < 3.2e-3).mean() < 0.8  # as many below the middle of the logarithms
    tenths = np.array([one["model.dropout"] for one in many]) * 10
    assert np.allclose(tenths, tenths.round())
    assert {*tenths.round()} == {*range(7)}
    sizes = [one["data.batch_size"] for one in many]
    assert {*sizes} == {8, 16, 24, 32}
    epochs = [one["trainer.max_epochs"] for one in many]
    assert all(isinstance(one, int) and 1 <= one <= 100 for one in [*sizes, *epochs])
    assert sum(one <= 10 for one in epochs) > 15
    assert {one["model.fusion"] for one in many} == {"softmax", "sigmoid"}
    assert [0.8, 0.9] in [one["optimizer.init_args.betas"] for one in many]


def test_corners_hold_each_value_and_each_bound() -> None:
    corners = list(Space.of(SPACE).corners())
    assert len(corners) == 1 + len(SPACE)
    assert corners[0]["optimizer.init_args.lr"] == 1e-4
    for name, what in SPACE.items():
        there = [corner[name] for corner in corners]
        for value in what if isinstance(what, list) else (what["low"], float(what["high"])):
            assert value in there
    assert words_of({"optimizer.init_args.betas": [0.8, 0.9], "model.fusion": "softmax"}) == (
        "--optimizer.init_args.betas=[0.8, 0.9]",
        "--model.fusion=softmax",
    )
    few = {"a": [1, 2, 3], "b": {"low": 1, "high": 4}, "c": {"low": 0.0, "high": 1.0, "step": 0.25}}
    assert Space.of(few).size == 3 * 4 * 5


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ([], "has no value"),
        ([3], "has 1 value, so there is nothing to choose"),
        ([3, 3], "has a value twice"),
        (3, "is 3, expected a list of values, or low and high"),
        ({"low": 1}, "lacks high"),
        ({"low": 2, "high": 1}, "goes from 2 to 1, expected low below high"),
        ({"low": 0, "high": 1, "log": True}, "has log, and low 0, expected more than 0"),
        ({"low": 1, "high": 4, "log": True, "step": 1}, "has both log and step"),
        ({"low": 1, "high": 4, "step": 2}, "does not come from 1 to 4 by steps of 2"),
        ({"low": 1, "high": 4, "step": 0.5}, "write low as 1.0 if it is not whole"),
        ({"low": 1, "high": 4, "stepp": 1}, "has no stepp; did you mean step?"),
        ({"low": "few", "high": 4}, "has low 'few', expected a number"),
        ({"low": 1, "high": 4, "log": "yes"}, "has log 'yes', expected true or false"),
    ],
)
def test_a_setting_that_gives_nothing_to_choose_is_told(what: object, said: str) -> None:
    with pytest.raises(InputFault, match=r"^space: model\.dropout ") as fault:
        Space.of({"model.dropout": what})
    assert said in str(fault.value)


GOOD: dict[str, Any] = {"arm": "fused", "space": {"model.dropout": {"low": 0.0, "high": 0.5}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trial": 3}, "there is no trial in a sweep; did you mean trials?"),
        ({"space": None}, "a sweep needs space"),
        ({"arm": "fussed"}, "configuration fussed is not there"),
        ({"trials": 0}, "trials: 0 is not in bounds"),
        ({"trials": "many"}, "trials"),
        ({"pruner": "mean"}, "pruner"),
        ({"metric": "test/auc"}, "metric: test/auc is not known, expected val/"),
        ({"metric": "val/loss"}, "metric: val/loss is not known"),
        ({"settings": {"data": {"with_test": True}}}, "data.with_test has no place here"),
        ({"settings": {"model.dropout": 0.1}}, "space: model.dropout is given as a setting too"),
        ({"space": {"data.init_args.split_seed": [0, 1]}}, "it decides who is scored"),
        ({"space": {"config": ["bmode", "fused"]}}, "a space is of single settings"),
        ({"space": {"data": [{"split_seed": 0}, {"split_seed": 1}]}}, "a space is of single settings"),
        ({"space": {"data.init_args": [{"split_seed": 1}, {}]}}, "a space is of single settings"),
        ({"space": {"tracking": [{"arm": "a"}, {"arm": "b"}]}}, "a space is of single settings"),
        ({"space": {"seed_everything": [0, 1]}}, "a seed is no setting to choose by its score"),
        ({"space": {"tracking.study": ["a", "b"]}}, "it changes no weight"),
        ({"space": {"model.fusion": ["softmax", "sigmoid"]}}, "30 are more than the space has"),
    ],
)
def test_a_file_that_does_not_fit_together_is_told(
    work: Path, change: dict[str, Any], said: str
) -> None:
    Path("sweep.yaml").write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(InputFault) as fault:
        SweepSpec.read(Path("sweep.yaml"))
    assert said in str(fault.value)
    assert str(fault.value).startswith("sweep.yaml: ")


def test_options_go_before_the_file_and_may_not_be_chosen_too(work: Path) -> None:
    said = parsed_sweep({**GOOD, "study": "s", "settings": {"trainer": {"max_epochs": 3}}})
    spec = SweepSpec.of(said, ["--data.fold_x=1"])
    assert spec.arm.arguments[-2:] == ("--data.fold_x=1", "--tracking.arm=fused")
    assert "--trainer.max_epochs=3" in spec.arm.arguments
    with pytest.raises(InputFault, match="given as a setting too"):
        SweepSpec.of(said, ["--model.dropout=0.1"])


def split(*tested: str) -> pd.DataFrame:
    rows = [(fold, patient, "test") for fold, patient in enumerate(tested)]
    return pd.DataFrame(rows, columns=["fold", "patient_id", "part"])


def test_nobody_chooses_who_is_tested_in_another_fold() -> None:
    flat, nested = (
        SweepSpec.of(parsed_sweep({**GOOD, "nested": is_nested})) for is_nested in (False, True)
    )
    assert _folds(flat, split("a", "a")) == (0,)
    assert _folds(nested, split("a", "b")) == (0, 1)
    with pytest.raises(InputFault, match="nested: true"):
        _folds(flat, split("a", "b"))


def test_settings_that_decide_who_is_scored_are_found_by_what_they_do(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_file, "_NOT_CHOSEN", {})  # another name for it, of a class of one's own
    space = {"data.init_args.split_seed": [0, 1]}
    spec = SweepSpec.of(parsed_sweep({"arm": "fused", "space": space, "trials": 2}), tiny)
    fault = pytest.raises(InputFault, match=r"decides who is scored.* \(with data.*split_seed 1\)")
    with quiet_libraries(), fault:
        next(_searches(spec, None))
    assert not runs()


def test_calls_that_begin_at_once_come_to_the_same_searches(
    work: Path, tiny: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = [*tiny, "--data.n_folds=2", "--data.protocol=nested"]
    spec = SweepSpec.of(parsed_sweep({**GOOD, "nested": True}), words)
    with quiet_libraries():
        first, second, asked = (list(_searches(spec, threads)) for threads in (None, None, 5))
    ids = [[search.parent.id for search in searches] for searches in (first, second, asked)]
    assert len(ids[0]) == 2
    assert ids[0] == ids[1] == ids[2]
    assert {run.info.status for run in runs(verb="sweep")} == {"SCHEDULED"}
    assert [search.threads for search in asked] == [5, 5]
    assert not runs(verb="sweep", cpu_threads="5")
    asked[0].begin()  # threads that are asked for hold, and are kept; the change is told
    assert "fused-sweep-fold0 was begun with --threads" in caplog.text
    assert [run.data.tags["fold"] for run in runs(verb="sweep", cpu_threads="5")] == ["0"]
    asked[0].break_off(KeyboardInterrupt())
    first[0].begin()
    with pytest.raises(InputFault, match="another process is at work on fused-sweep-fold0"):
        second[0].begin()
    first[0].break_off(KeyboardInterrupt())


def test_a_server_that_refuses_for_a_moment_ends_no_sweep(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Told([[0.5 + number / 100] * 3 for number in range(4)])
    asked: list[str] = []

    def at_times(job: FoldJob, parent: TrackedRun) -> TrackedRun | None:
        asked.append(job.name)
        if asked.count(job.name) <= 2:
            raise InputFault("away") if asked.count(job.name) == 1 else MlflowException("away")
        return finished_run(job, parent)

    monkeypatch.setattr("mufnet_lightning.study.search.finished_run", at_times)
    search = search_of(4)
    run_searches([search], 1, engine, record_search, at_once=2)
    (parent,) = runs(verb="sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trials"] == 4
    assert len(engine.words) == 4
    assert asked.count("fused trial 0") == 3
    assert parent.data.tags["cpu_threads"] == "1"
    over = replace(search_of(4), threads=7)
    over.begin()  # nothing is left to compute: the number stays that of the results
    over.break_off(KeyboardInterrupt())
    assert runs(verb="sweep", cpu_threads="1")

    # and where it goes on refusing, and nothing runs, the sweep ends with that, and can be gone on with
    monkeypatch.setattr(search_schedule, "_PATIENCE", 0.0)
    asked.clear()
    with pytest.raises(InputFault, match="away"):
        run_searches([search_of(5)], 1, Told([[0.6] * 3] * 5), record_search, at_once=1)
    asked += ["fused trial 4"] * 9
    run_searches([search_of(5)], 1, Told([[0.6] * 3] * 5), record_search, at_once=1)
    (parent,) = runs(verb="sweep")
    assert parent.info.status == "FINISHED"


@pytest.fixture
def blind_store(phantom_store: Path, tmp_path: Path) -> Path:
    """A copy of the phantom's store in which no crop of a test patient can be read."""
    store = tmp_path / "blind"
    shutil.copytree(phantom_store, store, ignore=shutil.ignore_patterns("cache"))
    data = RoiPairDataModule(store=str(store), image_size=32, n_folds=2)
    for row in data.part_rows("test"):
        for name in ("bmode_path", "ceus_path"):
            (store / data.store.manifest.iloc[row][name]).write_bytes(b"nobody may read this")
    return store


def test_without_its_test_part_no_crop_of_it_is_opened(blind_store: Path) -> None:
    whole, part = (
        RoiPairDataModule(
            store=str(blind_store),
            image_size=32,
            n_folds=2,
            batch_size=8,
            num_workers=0,
            with_test=with_test,
        )
        for with_test in (True, False)
    )
    part.prepare_data()
    part.setup("fit")
    assert part.parts == ("train", "val")
    seen = {int(row) for batch in part.val_dataloader()[0] for row in batch["row"]}
    assert seen == set(part.part_rows("val").tolist())
    cache = part.store.cache("bmode", 32, part._readable)
    tested = whole.part_rows("test")
    assert all(not cache[int(row)].any() for row in tested)
    assert all(cache[int(row)].any() for row in part.part_rows("train"))
    for asked in (
        lambda: part.part_rows("test"),
        part.test_dataloader,
        part.predict_dataloader,
        lambda: part.rows_dataloader(tested[:1]),
    ):
        with pytest.raises(InputFault, match=r"data\.with_test is false"):
            asked()
    with pytest.raises(InputFault):
        whole.prepare_data()


def test_where_nobody_is_left_to_score_it_is_told(phantom_store: Path) -> None:
    data = RoiPairDataModule(
        store=str(phantom_store), image_size=32, protocol="kfold", n_folds=2, with_test=False
    )
    with pytest.raises(InputFault, match="nobody is left to score"):
        data.setup("fit")
    with pytest.raises(InputFault, match=r"data\.with_test is false"):
        RoiPairDataModule(store=str(phantom_store), watch_test=True, with_test=False)


class Told:
    """An engine that trains nothing: what trials give stands in a table, epoch by epoch."""

    def __init__(self, curves: Sequence[Sequence[float]]) -> None:
        self.curves = curves
        self.stopped: list[int] = []
        self.words: list[tuple[str, ...]] = []
        self._running: list[tuple[TrialJob, Iterator[JobEvent]]] = []

    def reach(self, folders: Sequence[Path]) -> None:
        """All is here."""

    def takes(self, job: FoldJob) -> bool:
        return len(self._running) < 2

    def begin(self, job: FoldJob) -> None:
        assert isinstance(job, TrialJob)
        self.words.append(job.arguments)
        self._running.append((job, self._train(job)))

    def stop(self, job: FoldJob) -> None:
        assert isinstance(job, TrialJob)
        self.stopped.append(job.trial)

    def events(self, seconds: float) -> list[JobEvent]:
        told = [next(events) for _, events in self._running]
        ended = [event.job for event in told if isinstance(event, JobEnd)]
        self._running = [one for one in self._running if one[0] not in ended]
        return told

    def close(self) -> None:
        self._running = []

    def _train(self, job: TrialJob) -> Iterator[JobEvent]:
        client = mlflow_client()
        tags = {"verb": "fit", "fold": "0", "trial": str(job.trial), PARENT_RUN: job.parent_id}
        parent = client.get_run(job.parent_id)
        run = client.create_run(parent.info.experiment_id, tags=tags, run_name=job.name)
        client.log_text(run.info.run_id, CONFIG, "config.yaml")
        curve = self.curves[job.trial]
        for epoch, value in enumerate(curve, 1):
            yield JobProgress(job, Progress(len(curve), float(epoch), value, scores={"val/auc": value}))
            if job.trial in self.stopped:
                client.set_terminated(run.info.run_id, "KILLED")
                yield JobEnd(job, "stopped")
        client.log_metric(run.info.run_id, "val_selected/auc", max(curve))
        client.set_terminated(run.info.run_id, "FINISHED")
        yield JobEnd(job, "done")


CONFIG = "data: {with_test: false, folds_from: own.csv}\ntracking: {}\n"


def search_of(trials: int, **more: Any) -> Search:
    spec = SweepSpec.of(parsed_sweep({**GOOD, "trials": trials, **more}))
    client = mlflow_client()
    known = client.search_runs([open_study("s")], "tags.verb = 'sweep'")
    parent = known[0] if known else client.create_run(open_study("s"), tags={"verb": "sweep"})
    Path("mlruns/sweeps").mkdir(exist_ok=True)
    return Search(spec, 0, (0,), TrackedRun.of(parent), "fused", 0, 1, Path("store"))


def test_a_hopeless_trial_is_stopped_and_the_rest_goes_on_later(work: Path) -> None:
    good, bad = (0.6, 0.7, 0.8), (0.6, 0.1, 0.1)
    engine = Told([good, (0.6, 0.8, 0.9), (0.6, 0.8, 0.85), bad])
    search = search_of(4)
    run_searches([search], 1, engine, record_search, at_once=1)
    assert engine.stopped == [3]
    (parent,) = mlflow_client().search_runs([open_study("s")], "tags.verb = 'sweep'")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["chosen_trial"] == "1"
    assert parent.data.metrics["trials"] == 4
    (pruned,) = mlflow_client().search_runs([open_study("s")], "tags.trial = '3'")
    assert pruned.info.status == "KILLED"
    assert pruned.data.tags["reason"].startswith("pruned after epoch 2")
    folder = resolve_artifact(parent.info.run_id, "trials.csv")
    chosen = yaml.safe_load(resolve_artifact(parent.info.run_id, "chosen.yaml").read_text())
    assert chosen["data"] == {"folds_from": "own.csv"}  # who chose is not tested by it
    table = pd.read_csv(folder)
    assert list(table["state"]) == ["complete"] * 3 + ["pruned"]
    assert list(table["val/auc"]) == [0.8, 0.9, 0.85, 0.1]
    figures = {one.path for one in mlflow_client().list_artifacts(parent.info.run_id, "figures")}
    assert "figures/optimization_history.png" in figures

    # more trials are asked for: those that are there stay, and the draws are as of a longer sweep
    later = Told([good] * 6)
    run_searches([search_of(6)], 1, later, record_search, at_once=1)
    assert len(later.words) == 2
    assert not {*later.words} & {*engine.words}


def test_a_trial_that_is_asked_again_is_not_trained_again(work: Path) -> None:
    space = {"model.fusion": ["softmax", "sigmoid"], "model.dropout": [0.0, 0.5]}
    engine = Told([[0.5 + number / 100] for number in range(4)])
    search = search_of(4, space=space)
    run_searches([search], 1, engine, lambda one: record_search(one), at_once=1)
    search = search_of(4, space=space)
    search.begin()
    table = trial_table(search)
    search.break_off(KeyboardInterrupt())
    assert len(table) == 4
    assert table["same_as"].isna().sum() == len(engine.words) == len({*engine.words})
    assert len(table.drop_duplicates(["model.fusion", "model.dropout"])) == len(engine.words)


def runs(**tags: str) -> list[Run]:
    store = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return [run for run in store.search_runs(ids) if tags.items() <= run.data.tags.items()]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_sees_no_test_patient_before_it_has_chosen(
    work: Path,
    tiny: list[str],
    phantom_store: Path,
    blind_store: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = [word for word in tiny if "config" not in word and "data.store" not in word]
    options = [word for word in options if "lr=" not in word]
    sweep = {
        "study": "chosen",
        "arm": {"config": "fused"},
        "config": "demo",
        "settings": {"data": {"store": str(blind_store), "n_folds": 2}},
        "space": {
            "optimizer.init_args.lr": {"low": 1e-3, "high": 1e-1, "log": True},
            "model.fusion": ["softmax", "sigmoid"],
        },
        "trials": 3,
        "out": "out",
    }
    Path("s.yaml").write_text(yaml.safe_dump(sweep))
    words = ["sweep", "s.yaml", "--jobs=1", *options]
    with Apart(*words) as command:
        command.wait_for(lambda: "trial 1: validated on fold 0" in command.printed())
        command.send(signal.SIGKILL)
        command.process.join()
    before = {run.info.run_id: run for run in runs(verb="fit")}
    assert any(run.info.status == "FINISHED" for run in before.values())

    # all trials pass, though nobody can read the test patients' crops; the study then cannot
    assert main(words) == 2
    printed = capfd.readouterr()
    assert "== fused-sweep: 3 trials" in printed.out
    assert "nobody may read" not in printed.err
    assert "crops/" in printed.err
    trials = [run for run in runs(verb="fit") if "trial" in run.data.tags]
    finished = [run for run in trials if run.info.status == "FINISHED"]
    assert sorted(run.data.tags["trial"] for run in finished) == ["0", "1", "2"]
    for run in finished:
        earlier = before.get(run.info.run_id)
        if earlier is not None and earlier.info.status == "FINISHED":
            assert earlier.data.params == run.data.params
        assert not any(name.startswith("test") for name in run.data.metrics)
        assert "images_test" not in run.data.params
    table = pd.read_csv("out/trials.csv")
    assert list(table["trial"]) == [0, 1, 2]
    best = table.iloc[int(table["val/auc"].argmax())]
    chosen = yaml.safe_load(Path("out/chosen.yaml").read_text())
    assert chosen["optimizer"]["init_args"]["lr"] == pytest.approx(best["optimizer.init_args.lr"])
    assert chosen["model"]["init_args"]["fusion"] == best["model.fusion"]

    # they can be read now: no trial is trained again, and what was chosen is tested
    shutil.copytree(phantom_store / "crops", blind_store / "crops", dirs_exist_ok=True)
    assert main(words) == 0
    assert {r.info.run_id for r in runs() if "trial" in r.data.tags} == {r.info.run_id for r in trials}
    (parent,) = runs(verb="cv")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["chosen_from_trials"] == "3"
    assert "chosen from 3 trials" in parent.data.tags["mlflow.note.content"]
    page = Path("out/report.html").read_text()
    assert "The settings of fused were chosen from 3 trials" in page
    folds = [run for run in runs(verb="fit") if "trial" not in run.data.tags]
    assert {run.data.params["model.fusion"] for run in folds} == {best["model.fusion"]}
