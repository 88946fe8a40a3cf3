"""The command's frame: help at once, mistakes in one sentence with exit code 2, nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gateway import gateway

from mufnet_lightning.cli import main
from mufnet_lightning.commands.verbs import LIGHTNING_VERBS, VERBS, file_of

HEAVY = "{'torch', 'lightning', 'mlflow', 'pandas', 'numpy', 'cv2', 'scipy', 'sklearn', 'matplotlib'}"
CODE = f"""
import sys
from mufnet_lightning.cli import main
code = main(sys.argv[1:])
loaded = {HEAVY} & set(sys.modules)
print(f"loaded {{sorted(loaded)}}" if loaded else "nothing heavy", file=sys.stderr)
sys.exit(code)
"""


def called(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`mufnet` in a process of its own, which says in the end what it imported."""
    command = [sys.executable, "-c", CODE, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence with which words are refused."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("mufnet: ")
    return line.removeprefix("mufnet: ")


def test_help_lists_every_verb_and_loads_nothing() -> None:
    done = called("--help")
    assert (done.returncode, done.stderr) == (0, "nothing heavy\n")
    for verb in VERBS:
        assert f"\n    {verb} " in done.stdout
    assert "jsonargparse" not in done.stdout


def test_a_verb_is_a_file_of_its_name() -> None:
    folder = Path(str(sys.modules["mufnet_lightning.commands.verbs"].__file__)).parent
    # these are both: LightningCLI's, and with --run their own
    of_lightning = {*LIGHTNING_VERBS} - {"predict", "test"}
    assert {verb for verb in VERBS if (folder / f"{file_of(verb)}.py").is_file()} == {
        *VERBS
    } - of_lightning


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in LIGHTNING_VERBS])
def test_the_help_of_a_verb_tells_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: mufnet {verb}")
    assert printed.err == ""


@pytest.mark.parametrize("verb", LIGHTNING_VERBS)
def test_the_help_of_lightnings_verbs_tells_ours_too(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of_a_checkpoint = ["--ckpt_path", "runs:/ID"] if verb == "predict" else []
    assert main([verb, *of_a_checkpoint, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: mufnet {verb}")
    for option in ("--trainer.max_epochs", "--model.encoder", "--data.store", "--explain.method"):
        assert option in printed
    assert ("--output" in printed) is (verb == "predict")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "a verb is needed (`mufnet --help` lists them)"),
        (["fitt"], "there is no verb fitt; did you mean fit? (`mufnet --help` lists them)"),
        (["--frobnicate"], "there is no verb --frobnicate (`mufnet --help` lists them)"),
        (["phantom"], "phantom needs OUT; `mufnet phantom --help` tells more"),
        (["prepare", "one"], "prepare needs STORE; `mufnet prepare --help` tells more"),
        (["compare"], "compare needs ARM; `mufnet compare --help` tells more"),
        (["compare", "one"], "compare needs two arms or more"),
        (["explain"], "explain needs --run; `mufnet explain --help` tells more"),
        (["characteristics", "p.csv"], "characteristics needs --by"),
        (
            ["phantom", "x", "--patint", "3"],
            "unrecognized arguments: --patint 3; did you mean --patients?",
        ),
        (["phantom", "x", "--patients", "many"], "patients: Expected a int. Got value: many"),
        (["phantom", "x", "--format", "mov"], "format: Expected one of 'avi', 'mp4'. Got value: mov"),
        (["phantom", "x", "--config", "gone.yaml"], "configuration gone.yaml is not there"),
        (["phantom", "x", "--patients"], "argument --patients: expected one argument"),
        (["cv", "--fold", "0,x"], "fold: "),
        (["completion", "tcsh"], "shell: Expected one of 'bash', 'zsh'"),
    ],
)
def test_a_mistake_is_one_sentence_with_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *words).startswith(expected)


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--trainer.max_epoch", "3"],
        ["validate", "--ckpt_path", "gone.ckpt"],
        ["cv", "--config", "fuse"],
        ["study", "--data.batch_size", "many"],
        ["compare", "--leve", "patient"],
        ["explain", "--run", "x", "--method", "gram"],
        ["report"],
        ["prepare", "gone", "store"],
        ["characteristics", "gone.csv", "--by", "grade"],
        ["explain", "--run", "x", "--store", "gone"],
        ["report", "demo", "--cohort", "gone"],
        ["ui", "--port", "x"],
    ],
)
def test_a_mistake_is_told_without_the_libraries(words: list[str], tmp_path: Path) -> None:
    main(["fit", "--help"])  # describes the parser where it is not described yet
    done = called(*words, folder=tmp_path)
    *sentence, imported = done.stderr.splitlines()
    assert (done.returncode, imported, len(sentence)) == (2, "nothing heavy", 1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_interrupted_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mufnet_lightning.commands.prepare.Prepare.run", interrupt)
    assert main(["prepare", ".", "b"]) == 130
    assert capsys.readouterr().err == "mufnet: interrupted\n"


def test_a_fault_of_ours_ends_with_1_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("mufnet_lightning.commands.prepare.Prepare.run", fail)
    assert main(["prepare", ".", "b"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("RuntimeError: a bug\n")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    command = f"{sys.executable} -m mufnet_lightning fit --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (done.stdout.splitlines()[0] + "\n", "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mufnet 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_verbs_options_and_choices(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    options = ("--high-share", "--trainer.max_epochs", "gradcam++", "--folds-from", "--bmode-pane")
    for text in (*VERBS, *options):
        assert text in script


def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = (
        'COMP_WORDS=(mufnet explain --method "lay"); COMP_CWORD=3; _shtab_mufnet; echo ${COMPREPLY[@]}'
    )
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", f"source ./script; {ask}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.stdout == "layercam\n"


@pytest.mark.parametrize("status", [401, 500])
def test_a_tracking_server_in_trouble_is_told_in_a_sentence(
    status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    with gateway(status=status) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert "the tracking store refuses: " in refused(capsys, "report", "kidney")
