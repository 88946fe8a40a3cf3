"""Small real things that many tests share: a phantom's store, and a working folder with its runs."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from apart import warm_up
from working_folder import copy_runs, enter, make_working_folder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs a process a core
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a shell's background
    # an ignored signal is ignored in every process below, and some tests interrupt one
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["cohort_files", "trained_models"]  # small cohorts of real files; networks

CONFIGS = Path(__file__).parents[1] / "configs"
OWN = Path(__file__).parent / "own"


# files whose tests take longest, and start first: a long one that starts last leaves a core idle.
# The first of those that share `models` trains them, with others in between that do not wait for it
LONGEST = (
    "study/test_cross_validate.py",
    "study/test_sweep.py",
    "training/test_run.py",
    "training/test_ddp.py",
    "test_readme.py",
    "store/test_prepare.py",
    "legacy/test_legacy.py",
    "inference/test_serve.py",
    "test_privacy.py",
    "training/test_endings.py",
    "training/test_selection.py",
    "report/test_report.py",
    "test_library.py",
    "test_wheel.py",
    "study/test_explain_folds.py",
    "cohort/annotations/test_round_trips.py",
    "commands/test_quick_check.py",
    "training/test_records.py",
    "inference/test_next_patient.py",
    "inference/test_export.py",
    "commands/test_ui.py",
    "study/test_external.py",
    "study/test_pooling.py",
    "training/test_predict.py",
    "training/test_killed_fit.py",
    "data/test_folds.py",
    "cohort/annotations/test_faults.py",
    "commands/test_inspect.py",
    "store/test_crash.py",
    "tracking/test_server_away.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of `LONGEST`; then all other files as they were. A worker takes a file at a time."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def warm(request: pytest.FixtureRequest) -> None:
    """Folds, and commands apart, start from a process that has imported what a training needs."""
    if any("tiny_options" in getattr(item, "fixturenames", ()) for item in request.session.items):
        warm_up()  # first of all: it is kept, and what comes after would import less


@pytest.fixture(scope="session", autouse=True)
def quick_pdfs() -> Iterator[int]:
    """Letters as drawings: to cut a font to the letters of a PDF takes half the time of a figure.

    Yields what is shipped, with which tests/evaluation/test_figures.py draws.
    """
    from mufnet_lightning.evaluation.figures import STYLE

    shipped: int = STYLE["pdf.fonttype"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STYLE, "pdf.fonttype", 3)
        yield shipped


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 30 phantom patients (half of high grade), three pairs each (no spread); read only."""
    from mufnet_lightning.cli import main

    folder = tmp_path_factory.mktemp("phantom")
    size = ["--frames", "3", "--clip-length", "6", "--pane-size", "128", "--high-share", "0.5"]
    same = ["--frames-spread", "0", "--seed", "1"]
    assert main(["phantom", str(folder / "cohort"), "--patients", "30", *size, *same]) == 0
    assert main(["prepare", str(folder / "cohort"), str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture(scope="session")
def empty_tracking(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A new MLflow database; making its tables takes seconds, copying it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_tracking: bytes) -> Path:
    """A working folder with an empty default tracking store and the configs."""
    enter(tmp_path, monkeypatch)
    return make_working_folder(tmp_path, empty_tracking)


@pytest.fixture(scope="session")
def tiny_options(phantom_store: Path) -> tuple[str, ...]:
    """Options of a fit that takes a second: a tiny encoder, small crops, one epoch, no pictures."""
    return (
        "--config=configs/fused.yaml",
        "--config=configs/demo.yaml",
        f"--data.store={phantom_store}",
        "--data.image_size=32",
        "--data.batch_size=16",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--explain.enabled=false",
        "--tracking.figures=false",
        "--optimizer.init_args.lr=0.05",  # so few steps would teach nothing else
    )


@pytest.fixture
def tiny(tiny_options: tuple[str, ...]) -> list[str]:
    """The same, to be changed."""
    return list(tiny_options)


@pytest.fixture(scope="session")
def fitted_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_options: tuple[str, ...], empty_tracking: bytes
) -> Path:
    """A working folder in which `fit` ran once, with `tiny_options`; to be copied, never changed."""
    from mufnet_lightning.cli import main

    folder = make_working_folder(tmp_path_factory.mktemp("fitted"), empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        assert main(["fit", *tiny_options]) == 0
    return folder


@pytest.fixture
def fitted(work: Path, fitted_folder: Path) -> str:
    """The id of a finished fit with `tiny`, alone in the working folder: a copy of its own."""
    copy_runs(fitted_folder, work)
    (run,) = (path for path in (work / "mlruns" / "artifacts").iterdir() if path.name != "models")
    return run.name


@pytest.fixture
def own_blocks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Somebody's own classes, the module `own_blocks` in tests/own, where Python looks for modules."""
    monkeypatch.syspath_prepend(str(OWN))
    blocks = importlib.import_module("own_blocks")
    blocks.MADE.clear()
    return blocks
