"""A dataclass of options, given as words, as a file, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from mufnet_lightning.commands.compare import Compare
from mufnet_lightning.commands.cv import Cv
from mufnet_lightning.commands.explain import Explain
from mufnet_lightning.commands.options import again, fields_of, option, parse, several, word
from mufnet_lightning.commands.phantom import Phantom
from mufnet_lightning.commands.study import Study
from mufnet_lightning.commands.verbs import LIGHTNING_VERBS, VERBS
from mufnet_lightning.errors import InputFault


@dataclass(frozen=True)
class Example:
    """Try everything.

    Args:
        out: where
        side_length: how long
        names: who
        codes: which
        loud: how
    """

    out: Annotated[Path, word("OUT")]
    side_length: Annotated[float, option("N")] = 1.5
    names: Annotated[tuple[str, ...], again("NAME")] = ()
    codes: Annotated[tuple[int, ...], several("N,...")] = ()
    loud: bool = False

    def run(self) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["here"], Example(Path("here"))),
        (["--side-length", "2", "here"], Example(Path("here"), 2.0)),
        (["here", "--side_length=2"], Example(Path("here"), 2.0)),
        (["here", "--names", "007", "--names=a,b"], Example(Path("here"), names=("007", "a,b"))),
        (["here", "--names", "[x]", "--names", "null"], Example(Path("here"), names=("[x]", "null"))),
        (["here", "--codes", "0,3", "--loud"], Example(Path("here"), codes=(0, 3), loud=True)),
        (["here", "--config", "all.yaml"], Example(Path("here"), 3.0, ("x", "y"), (1, 2), True)),
        (
            ["here", "--config=all.yaml", "--side-length=4"],
            Example(Path("here"), 4.0, ("x", "y"), (1, 2), True),
        ),
        (
            ["here", "--config=all.yaml", "--names=z"],
            Example(Path("here"), 3.0, ("x", "y", "z"), (1, 2), True),
        ),
    ],
)
def test_words_and_files_become_options(
    given: list[str], expected: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.yaml").write_text("side_length: 3\nnames: [x, y]\ncodes: [1, 2]\nloud: true\n")
    assert parse(Example, "example", given) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("side_lenght: 3", "there is no setting side_lenght; did you mean side_length?"),
        ("side_length: long", "side_length: Expected a float"),
        ("loud: 3", "--loud: expected true or false, got 3"),
        ("names: 3", "names: "),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(
    content: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(content)
    with pytest.raises(InputFault) as fault:
        parse(Example, "example", ["here", "--config=wrong.yaml"])
    assert str(fault.value).startswith(sentence)


def test_an_option_is_never_shortened() -> None:
    with pytest.raises(InputFault, match="unrecognized arguments: --side 2"):
        parse(Example, "example", ["here", "--side", "2"])


def test_what_is_not_ours_is_fits() -> None:
    words = ["--fold", "0,3", "--config", "fused", "--folds_from=x", "--data.store", "y", "--restart"]
    expected = Cv((0, 3), "x", True, fit=("--config", "fused", "--data.store", "y"))
    assert parse(Cv, "cv", words) == expected
    words = ["--arms", "a", "b", "--config", "my.yaml", "--out=r", "--config=x", "--model.beta", "0"]
    study = parse(Study, "study", words)
    fit = ("--model.beta", "0")
    assert study == Study(None, ("a", "b"), ("my.yaml", "x"), None, Path("r"), fit=fit)
    layers = ("--config=my.yaml", "--config=x", "--model.beta", "0")
    spec = study.spec()
    assert [arm.name for arm in spec.arms] == ["a", "b"]
    assert [arm.arguments for arm in spec.arms] == [
        (f"--config={name}", *layers, f"--tracking.arm={name}") for name in "ab"
    ]
    assert (spec.planned, spec.out) == (None, Path("r"))
    assert parse(Study, "study", []).arms == ("bmode", "ceus", "fused")
    assert parse(Study, "study", ["my.yaml", "--data.store", "y"]) == Study(
        "my.yaml", fit=("--data.store", "y")
    )
    assert parse(Study, "study", ["my.yaml", "--config", "demo"]).config == ("demo",)
    with pytest.raises(InputFault, match="a study file has its own arms"):
        parse(Study, "study", ["my.yaml", "--arms", "a"])


def test_the_words_of_version_0_1_still_work() -> None:
    words = "x --patients 9 --high-share 0.5 --clip-length 6 --auc-bmode 0.7 --format mp4 --seed 3"
    phantom = parse(Phantom, "phantom", words.split())
    assert (phantom.high_share, phantom.clip_length, phantom.format, phantom.seed) == (0.5, 6, "mp4", 3)
    words = "a B=b --level patient --method delong --threshold 0.5 --selection --no-record"
    compare = parse(Compare, "compare", words.split())
    assert compare.arms == ("a", "B=b")
    assert (compare.level, compare.threshold) == ("patient", "0.5")
    assert (compare.selection, compare.no_record) == (True, True)
    words = "--run r --patient 1 --patient 2 --all --layer blocks.3 --target high --steps 5 --draws 0"
    explain = parse(Explain, "explain", words.split())
    assert (explain.reference, explain.patient, explain.all) == ("r", ("1", "2"), True)
    assert (explain.layer, explain.target, explain.steps, explain.draws) == ("blocks.3", "high", 5, 0)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in LIGHTNING_VERBS])
def test_every_field_is_documented(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    from docstring_parser import parse as parse_docstring

    from mufnet_lightning.commands.options import command_of

    command = command_of(verb)
    documented = [param.arg_name for param in parse_docstring(command.__doc__ or "").params]
    assert documented == [given.field for given in fields_of(command)]
