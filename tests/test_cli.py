"""The command's frame: help at once, usage errors with exit code 2."""

import subprocess
import sys

import pytest

from mufnet_lightning.cli import main


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from mufnet_lightning.cli import main; main(['--help']);"
        "heavy = {'torch', 'lightning', 'mlflow', 'pandas', 'cv2', 'numpy'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in ("phantom", "prepare", "fit", "validate", "test", "predict", "cv"):
        assert f"\n    {verb} " in done.stdout


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["phantom"], ["prepare", "only-one"]])
def test_wrong_usage_is_told_with_exit_code_2(words, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: mufnet" in printed.err
    assert "Traceback" not in printed.err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mufnet 0.")
