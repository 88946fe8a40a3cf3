"""An exported file answers what `mufnet predict` answers, or is not kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from trained_models import Models

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.export import export_grader
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.inference.load import load_grader
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.store.cache import resized
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.runs import resolve_artifact
from mufnet_lightning.vocabulary import MODALITIES

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[0]
Arrays = dict[str, NDArray[Any]]


def loaded(file: Path) -> tuple[Any, dict[str, str]]:
    """A file as a function, and what it says of itself; by nothing of ours."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        said = session.get_modelmeta().custom_metadata_map
        return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)), said
    said = {"card": "", "inputs": ""}
    network = torch.export.load(file, extra_files=said).module()

    def run(inputs: Arrays) -> Arrays:
        answer = network({name: torch.from_numpy(value) for name, value in inputs.items()})
        return {name: value.detach().numpy() for name, value in answer.items()}

    return run, said


def read(file: Path) -> NDArray[np.uint8]:
    """A picture, RGB."""
    pixels = cv2.imread(str(file))
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8)


def grader_of(encoder: str, **more: Any) -> Grader:
    """A network with a small encoder of somebody's own, never trained."""
    torch.manual_seed(0)
    settings = {"modalities": ["bmode", "ceus"], "fusion": "softmax", **more}
    missing = settings.pop("takes_missing", False)
    net = MufNet(encoder={"class_path": f"own_blocks.{encoder}"}, **settings).eval()
    card = ModelCard("mine", net.modalities, ("low", "high"), 16, 1, takes_missing=missing)
    return Grader(card, Ensemble([net]), torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "name"), [("cv", "model.onnx"), ("fit", "model.onnx"), ("fit", "model.pt2")]
)
def test_a_file_answers_what_predict_answers(
    which: str,
    name: str,
    models: Models,
    phantom_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(models.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = models.cv if which == "cv" else models.fits[0]
    file = tmp_path / name
    assert main(["export", f"runs:/{run}", str(file)]) == 0
    printed = capfd.readouterr()
    assert re.fullmatch(
        rf"{file}: \d\.\d MB, at most \d\.\de[+-]\d\d away from the network\n", printed.out
    )
    assert printed.err == ""
    assert list(tmp_path.iterdir()) == [file]  # no weights beside it, no draft
    assert str(Path(torch.__file__).parents[1]).encode() not in file.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()

    answers, said = loaded(file)
    grader = load_grader(run, "cpu")
    assert ModelCard.from_json(json.loads(said["card"])) == grader.card
    assert said["inputs"] == "bmode, ceus, present"

    # what the run recorded of its test part is what `predict` says of it; all of it as one batch
    table = read_predictions(resolve_artifact(run, "predictions.csv"))
    recorded = table[table["split"] == "test"].set_index("pair_id")
    manifest = CropStore.open(phantom_store).manifest.set_index("pair_id").loc[recorded.index]
    pictures = {
        modality: [read(phantom_store / path) for path in manifest[f"{modality}_path"]]
        for modality in MODALITIES
    }
    size = grader.card.image_size
    inputs: Arrays = {
        modality: np.stack(
            [resized(picture, size).transpose(2, 0, 1) for picture in pictures[modality]]
        )
        for modality in MODALITIES
    }
    inputs["present"] = np.ones((len(recorded), 2), bool)
    got = answers(inputs)
    assert len(recorded) > 5
    np.testing.assert_allclose(got["score"], recorded["score"], atol=1e-4)
    np.testing.assert_allclose(got["weights"], recorded[["weight_bmode", "weight_ceus"]], atol=1e-4)
    assert recorded["score"].std() > 1e-3  # or any file would do
    if which == "cv":
        each = [read_predictions(resolve_artifact(fold, "predictions.csv")) for fold in models.fits]
        scores = [one.set_index("pair_id")["score"].loc[recorded.index] for one in each]
        np.testing.assert_allclose(got["spread"], np.std(scores, axis=0, ddof=1), atol=1e-4)
    else:
        assert set(got) == {"score", "weights"}

    # one that lacks a modality, as a batch of one; what stands in its place is not looked at
    one = {modality: values[:1] for modality, values in inputs.items()}
    one["present"] = np.array([[True, False]])
    expected = grader.grade_pictures([{"bmode": pictures["bmode"][0]}])
    np.testing.assert_allclose(answers(one)["score"], expected.score, atol=1e-4)
    one["ceus"] = 255 - one["ceus"]
    np.testing.assert_allclose(answers(one)["score"], expected.score, atol=1e-4)
    assert abs(expected.score[0] - got["score"][0]) > 1e-6

    if name == "model.onnx":
        for modality in MODALITIES:
            picture = cv2.cvtColor(pictures[modality][0], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(tmp_path / f"{modality}.png"), picture)
        monkeypatch.chdir(tmp_path)
        exec(compile(EXAMPLE, str(DOCS), "exec"), {})
        score = recorded["score"].iloc[0]
        threshold = f"{grader.card.threshold:.4f}"
        answer = re.fullmatch(
            rf"score (\d\.\d+), above {threshold} it is high grade\n", capfd.readouterr().out
        )
        assert answer
        assert float(answer[1]) == pytest.approx(score, abs=2e-4)


def test_who_has_no_modality_gets_no_number_and_another_size_is_refused(
    own_blocks: ModuleType, tmp_path: Path
) -> None:
    """A sigmoid's weights of nothing are 0, and the head would give a number all the same."""
    grader = grader_of("Encoder", fusion="sigmoid", takes_missing=True)
    export_grader(grader, tmp_path / "model.pt2")
    answers, _ = loaded(tmp_path / "model.pt2")
    black = np.zeros((2, 3, 16, 16), np.uint8)
    present = np.array([[False, False], [False, True]])
    got = answers({"bmode": black, "ceus": black, "present": present})
    assert np.isnan(got["score"]).tolist() == [True, False]
    larger = np.zeros((2, 3, 32, 32), np.uint8)
    with pytest.raises((AssertionError, RuntimeError)):
        answers({"bmode": larger, "ceus": larger, "present": present})


@pytest.mark.slow  # the first ONNX of a process takes seconds
def test_a_single_arm_and_an_own_encoder_become_onnx(own_blocks: ModuleType, tmp_path: Path) -> None:
    grader = grader_of("Encoder", modalities=["ceus"])
    done = export_grader(grader, tmp_path / "model.onnx")
    assert done.difference < 1e-6
    assert done.size == (tmp_path / "model.onnx").stat().st_size
    answers, said = loaded(tmp_path / "model.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), np.uint8)
    got = answers({"ceus": pictures})
    expected = grader.grade_pictures([{"ceus": picture.transpose(1, 2, 0)} for picture in pictures])
    np.testing.assert_allclose(got["score"], expected.score, atol=1e-6)
    assert got["weights"].tolist() == [[1.0]] * 3
    assert said["inputs"] == "ceus"


def test_an_encoder_that_cannot_be_traced_is_told(own_blocks: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match=r"cannot trace model\.encoder own_blocks\.LooksFirst") as told:
        export_grader(grader_of("LooksFirst"), tmp_path / "model.pt2")
    assert len(told.value.faults[0].splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_kept(own_blocks: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_text("of yesterday")
    with pytest.raises(InputFault, match=r"not written: .* by \d\.\de-\d\d, allowed is less than"):
        export_grader(grader_of("ExportsOtherwise"), file)
    assert file.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [file]


def test_a_network_that_gives_no_number_is_not_exported(own_blocks: ModuleType, tmp_path: Path) -> None:
    grader = grader_of("Encoder")
    with torch.no_grad():
        grader.ensemble.members[0].head.bias.fill_(torch.nan)
    with pytest.raises(InputFault, match="no number"):
        export_grader(grader, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_agreement_that_says_little_is_told(
    own_blocks: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grader = grader_of("Encoder", modalities=["bmode"])
    export_grader(grader, tmp_path / "model.pt2")
    assert not [one for one in caplog.records if one.name.startswith("mufnet")]
    with torch.no_grad():
        grader.ensemble.members[0].head.weight.zero_()  # every patient gets the same score
    export_grader(grader, tmp_path / "model.pt2")
    (record,) = [one for one in caplog.records if one.name.startswith("mufnet")]
    assert "alike" in record.getMessage()


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("model.pth", "expected a name that ends in .onnx (ONNX) or .pt2 (torch.export)"),
        ("nowhere/model.onnx", "there is no folder nowhere"),
        ("folder.pt2", "folder.pt2 is a folder"),
    ],
)
def test_where_nothing_can_be_written_is_told_before_torch_is_there(
    out: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.pt2").mkdir()
    code = (
        "import sys; from mufnet_lightning.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(9 if 'torch' in sys.modules else code)"
    )
    command = [sys.executable, "-c", code, "export", "runs:/0", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_missing_library_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # an import of it now fails
    assert main(["export", "runs:/0", str(tmp_path / "model.onnx")]) == 2
    told = capsys.readouterr().err
    assert "ONNX needs onnxscript; install" in told
    assert "pip install 'mufnet-lightning[onnx]'" in told
