"""The wheel, in an environment of its own and far from the clone: all that a user needs is in it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from readme import verb_lines

ROOT = Path(__file__).parents[1]
SMALL = "--data.image_size=32 --trainer.max_epochs=1 --trainer.accelerator=cpu --explain.enabled=false"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this clone by what is installed; nothing is fetched."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `mufnet` and `python` of a fresh environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    places = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    programs = Path(places["scripts"])
    install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(programs / "python"), *install], check=True
    )
    # the libraries are those of this environment; its .pth files, an editable install's among them,
    # are not read from there
    libraries = Path(places["purelib"]) / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def run(programs: Path, folder: Path, program: str, *words: str) -> str:
    """What a program of the environment prints, started in a folder, without this clone's paths."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MLFLOW_", "PYTEST_"))
    }
    done = subprocess.run(
        [programs / program, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_code_configurations_templates_and_types(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("mufnet_lightning/**/*.py")}
    assert len(code) > 100
    configs = {f"mufnet_lightning/configs/{path.name}" for path in ROOT.glob("configs/*.yaml")}
    assert configs
    templates = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("mufnet_lightning/**/*.jinja")}
    assert templates
    assert {*code, *configs, *templates, "mufnet_lightning/py.typed"} <= names
    assert not any(name.startswith("tests/") for name in names)


NAMES = """
import sys
import mufnet_lightning as package
from mufnet_lightning.cli import main
print(package.__file__)
print(*[getattr(package, name).__name__ for name in package.__all__])
sys.exit(main(sys.argv[1:]))
"""


def test_the_first_lines_of_the_readme_and_the_names_of_the_library_work_in_an_empty_folder(
    programs: Path, tmp_path: Path
) -> None:
    by_verb = {line.split()[1]: line for line in reversed(verb_lines())}  # the first of each
    phantom, prepare, fit = (by_verb[verb] for verb in ("phantom", "prepare", "fit"))
    for line in (phantom, prepare):
        program, *words = shlex.split(line)
        run(programs, tmp_path, program, *words)
    # the names in the interpreter that trains: both wait for the same libraries
    _, *words = shlex.split(f"{fit} {SMALL}")
    file, names, *_ = run(programs, tmp_path, "python", "-c", NAMES, *words).splitlines()
    assert Path(file).is_relative_to(programs.parent)  # not this clone's
    assert {"RoiPairDataModule", "MufNetModule"} <= set(names.split())
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()
    assert len(list(tmp_path.glob("mlruns/artifacts/*/artifacts/checkpoints/selected.ckpt"))) == 1
