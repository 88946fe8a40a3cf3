"""The house: imports point downwards, files stay short, results have types, words mean something."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mufnet_lightning"
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
LONGEST = 350  # lines
RESULTS = ("evaluation", "study", "explain", "report")
EMPTY_WORDS = {"found", "told"}


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder, by this project's contracts."""
    program = Path(sys.executable).with_name("lint-imports")
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [program, "--no-cache", "--config", ROOT / "pyproject.toml", *chosen],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def copy_of_the_package(folder: Path) -> Path:
    """To be changed."""
    return shutil.copytree(
        PACKAGE, folder / "mufnet_lightning", ignore=shutil.ignore_patterns("__pycache__")
    )


def rooms() -> list[str]:
    """The rooms from the top, as the contract has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "rooms")
    return list(layers)


def test_imports_point_downwards() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("evaluation/part.py", "mufnet_lightning.study.compare", "rooms"),
        ("system/files.py", "mufnet_lightning.cohort.read", "rooms"),
        ("evaluation/predictions.py", "torch", "evaluation"),
        ("training/run.py", "mufnet_lightning.phantom.truth", "truth"),
        ("data/folds.py", "mlflow", "handed"),
    ],
)
def test_an_import_that_points_up_is_caught(
    tmp_path: Path, importer: str, imported: str, contract: str
) -> None:
    with (copy_of_the_package(tmp_path) / importer).open("a", encoding="utf-8") as source:
        source.write(f"\n\ndef late() -> None:\n    import {imported}\n")  # inside a function too
    done = lint_imports(tmp_path, contract)
    assert done.returncode != 0
    module = importer.removesuffix(".py").replace("/", ".")
    assert re.search(rf"{module}\s+->\s+{imported}", done.stdout)


def test_a_circle_inside_a_room_is_caught(tmp_path: Path) -> None:
    room = copy_of_the_package(tmp_path) / "cohort"
    for importer, imported in (("first", "second"), ("second", "first")):
        text = f"import mufnet_lightning.cohort.{imported}\n"
        (room / f"{importer}.py").write_text(text, encoding="utf-8")
    done = lint_imports(tmp_path, "circles")
    assert done.returncode != 0
    assert "mufnet_lightning.cohort" in done.stdout


def test_every_room_is_in_the_contract_and_has_its_tests() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert there - {"__init__"} == set(rooms())
    tested = {path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*.py")}
    assert tested <= {*rooms(), "legacy", "corpus"}


def test_contributing_lists_the_rooms_in_their_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    assert ["__main__", *listed] == rooms()


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_fits_on_a_few_screens(name: str) -> None:
    assert len(SOURCES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


def public_callables(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions, and public methods of public classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_callables(node.body, f"{node.name}.")


@pytest.mark.parametrize("room", RESULTS)
def test_results_have_types(room: str) -> None:
    untyped = [
        f"{name}: {function}"
        for name, tree in TREES.items()
        if name.startswith(f"mufnet_lightning/{room}/")
        for function, node in public_callables(tree.body)
        if node.returns is not None
        and re.search(r"\b(dict|Mapping)\[str, Any\]", ast.unparse(node.returns))
        and not function.endswith(".as_json")  # what a contract's JSON is made of
    ]
    assert untyped == []


def offenders(is_one: Callable[[ast.AST], bool]) -> list[str]:
    """`file:line` of every node of the package for which it holds."""
    return [
        f"{name}:{getattr(node, 'lineno', '?')}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if is_one(node)
    ]


def test_print_is_for_results() -> None:
    def to_stderr(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        called = ast.unparse(node.func)
        return called == "sys.stderr.write" or (
            called == "print" and any(keyword.arg == "file" for keyword in node.keywords)
        )

    assert offenders(to_stderr) == []


def test_names_are_nouns_of_the_field() -> None:
    def says_nothing(node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                return name in EMPTY_WORDS
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                return name.strip("_").lower() in EMPTY_WORDS
            case ast.Attribute(attr=name, ctx=ast.Store()):
                return name in EMPTY_WORDS
        return False

    assert offenders(says_nothing) == []
