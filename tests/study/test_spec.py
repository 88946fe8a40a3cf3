"""A study's file: what it asks for, and what it refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.spec import StudySpec


def read(content: Any, fit: tuple[str, ...] = ()) -> StudySpec:
    """Of a file with this content."""
    file = Path("my_study.yaml")
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return StudySpec.read(file, fit=fit)


def settings(words: tuple[str, ...]) -> dict[str, str]:
    """What `mufnet fit` is given: the last word of a setting counts."""
    return dict(word.removeprefix("--").split("=", 1) for word in words if "config=" not in word)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


ARMS = {"bmode": "bmode", "fused": {"config": ["fused"], "settings": {"model.dropout": 0.5}}}


def test_an_arm_is_its_configurations_and_what_is_laid_over_them() -> None:
    spec = read(
        {
            "study": "kidney",
            "arms": ARMS,
            "config": "demo",
            "settings": {"data": {"store": "my store", "batch_size": 8}, "model.dropout": 0.1},
        },
        ("--trainer.max_epochs=2",),
    )
    bmode, fused = spec.arms
    assert (bmode.name, fused.name) == ("bmode", "fused")
    assert bmode.arguments[:2] == ("--config=bmode", "--config=demo")
    assert fused.arguments[:2] == ("--config=fused", "--config=demo")
    assert settings(bmode.arguments) == {
        "data.store": "my store",
        "data.batch_size": "8",
        "model.dropout": "0.1",
        "trainer.max_epochs": "2",
        "tracking.study": "kidney",
        "tracking.arm": "bmode",
    }
    assert settings(fused.arguments)["model.dropout"] == "0.5"
    assert (spec.planned, spec.patients, spec.out) == (None, None, Path("results"))


def test_a_grid_is_every_arm_with_each_combination() -> None:
    spec = read(
        {
            "study": "kidney",
            "arms": ARMS,
            "grid": {
                "model.encoder": ["resnet50", "repvgg_a2"],
                "optimizer.init_args.lr": [0.1, 0.01],
            },
            "seeds": [3, 4],
            "reference": "fused",
        }
    )
    names = [arm.name for arm in spec.arms]
    assert len(names) == len(set(names)) == 2 * 2 * 2 * 2
    assert names[:3] == [
        "bmode resnet50 lr 0.1 seed 3",
        "fused resnet50 lr 0.1 seed 3",
        "bmode resnet50 lr 0.1 seed 4",
    ]
    last = settings(spec.arms[-1].arguments)
    assert last["model.encoder"] == "repvgg_a2"
    assert last["optimizer.init_args.lr"] == "0.01"
    assert last["seed_everything"] == "4"
    assert last["tracking.arm"] == names[-1] == "fused repvgg_a2 lr 0.01 seed 4"
    # the reference is tested against the others of its own combination
    assert spec.planned is not None
    assert len(spec.planned) == 8
    assert spec.planned[0] == ("fused resnet50 lr 0.1 seed 3", "bmode resnet50 lr 0.1 seed 3")


def test_what_is_the_same_for_all_is_in_no_name() -> None:
    spec = read({"study": "a", "arms": ARMS, "grid": {"model.encoder": ["resnet50"]}, "seeds": [7]})
    assert [arm.name for arm in spec.arms] == ["bmode", "fused"]
    assert settings(spec.arms[0].arguments)["seed_everything"] == "7"


def test_pairs_are_planned_of_arms_or_of_their_combinations() -> None:
    grid = {"model.encoder": ["resnet50", "repvgg_a2"]}
    planned = [["fused", "bmode"], ["fused resnet50", "fused repvgg_a2"]]
    spec = read({"study": "a", "arms": ARMS, "grid": grid, "planned": planned})
    assert spec.planned == (
        ("fused resnet50", "bmode resnet50"),
        ("fused repvgg_a2", "bmode repvgg_a2"),
        ("fused resnet50", "fused repvgg_a2"),
    )


def test_text_reaches_the_settings_as_it_is(phantom_store: Path) -> None:
    """That a command line is not YAML everywhere: quotes would become part of a path."""
    from mufnet_lightning.training.parsed import DataCLI

    Path("2024").symlink_to(phantom_store)
    spec = read(
        {
            "study": "kidney: pilot",
            "arms": {"fused": "fused"},
            "settings": {"data": {"store": "2024"}, "tracking.user": "1e3"},
        }
    )
    config = DataCLI(list(spec.arms[0].arguments)).config
    assert (config.tracking.study, config.tracking.user) == ("kidney: pilot", "1e3")
    assert config.data.init_args.store == "2024"


def test_values_of_other_kinds_keep_theirs() -> None:
    spec = read({"study": "a", "arms": ARMS, "settings": {"a.b": [1, "x"], "a.c": 0.5, "a.d": True}})
    words = settings(spec.arms[0].arguments)
    assert [yaml.safe_load(words[f"a.{name}"]) for name in "bcd"] == [[1, "x"], 0.5, True]


def test_what_is_left_blank_is_not_given() -> None:
    spec = read("study: a\nseeds:\ngrid:\narms:\n  x: {config: fused, settings: }\n")
    assert [arm.name for arm in spec.arms] == ["x"]
    assert settings(spec.arms[0].arguments) == {"tracking.study": "a", "tracking.arm": "x"}


def test_options_go_before_the_file() -> None:
    spec = read({"study": "a", "arms": ARMS}, ("--tracking.study=b",))
    assert settings(spec.arms[0].arguments)["tracking.study"] == "b"


def test_configurations_of_one_name_are_told_apart() -> None:
    spec = StudySpec.of_configurations(["a/fused.yaml", "b/fused.yaml"])
    assert [arm.name for arm in spec.arms] == ["a fused", "b fused"]
    assert settings(spec.arms[0].arguments) == {"tracking.arm": "a fused"}
    names = [arm.name for arm in StudySpec.of_configurations(["my.v1", "my.v2"]).arms]
    assert names == ["my.v1", "my.v2"]
    with pytest.raises(InputFault, match="two are called"):
        StudySpec.of_configurations(["fused", "fused"])


FAULTS = [
    ("[]", "expected a study"),
    ({"study": "a"}, "arms"),
    ({"study": "a", "arms": {}}, "arms: there is none"),
    ({"study": "a", "arms": ARMS, "gird": {}}, "gird"),
    ({"study": "a", "arms": {"x": {"confg": ["fused"]}}}, "confg"),
    ({"study": "a", "arms": {"x": "fussed"}}, "did you mean fused"),
    ({"study": "a", "arms": {"null": "fused"}}, "an arm is called 'null'"),
    ({"study": "a", "arms": {1: "fused"}}, "arms"),
    ({"study": "a", "arms": {"x=y": "fused"}}, "an arm is called 'x=y'"),
    ({"study": "a", "arms": ARMS, "seeds": ["many"]}, "seeds"),
    ({"study": "a", "arms": ARMS, "seeds": [1, 1]}, "one is there twice"),
    ({"study": "a", "arms": ARMS, "grid": {"model.encoder": []}}, "has no values"),
    ({"study": "a", "arms": ARMS, "grid": {"model.gamma": [1, 1]}}, "a value twice"),
    ({"study": "a", "arms": ARMS, "grid": {"model.gamma": [1, float("inf")]}}, "inf"),
    ({"study": "a", "arms": ARMS, "grid": {"model.gamma": list(range(150))}}, "more than 200"),
    ({"study": "a", "arms": ARMS, "reference": "x"}, "reference: there is no arm x"),
    ({"study": "a", "arms": ARMS, "planned": [["x", "fused"]]}, "planned: there is no arm x"),
    ({"study": "a", "arms": ARMS, "planned": [["fused", "fused"]]}, "are one arm"),
    (
        {"arms": ARMS, "seeds": [1, 2], "planned": [["fused", "bmode seed 1"]]},
        "two arms, or two arms with their combinations",
    ),
    ({"arms": ARMS, "grid": {key: list(range(20)) for key in "abcdefgh"}}, "more than 200"),
    (
        {"study": "a", "arms": ARMS, "planned": [["fused", "bmode"], ["bmode", "fused"]]},
        "bmode and fused twice|fused and bmode twice",
    ),
    ({"study": "a", "arms": ARMS, "reference": "fused", "planned": []}, "are both given"),
    ({"study": "a", "arms": ARMS, "settings": {"data": {"fold": 1}}}, "data.fold has no place here"),
    ({"study": "a", "arms": ARMS, "settings": {"seed_everything": 1}}, "say it as `seeds`"),
    ({"study": "a", "arms": ARMS, "patients": "nowhere.csv"}, "there is no file nowhere.csv"),
    ("study: a\nstudy: b\n", "study twice"),
]


@pytest.mark.parametrize(("content", "fault"), FAULTS)
def test_what_does_not_fit_is_refused_with_the_files_name(content: Any, fault: str) -> None:
    with pytest.raises(InputFault, match=fault) as refused:
        read(content)
    assert all("my_study.yaml" in one for one in refused.value.faults)
    assert "study_file" not in str(refused.value)


def test_the_papers_experiment_is_a_file() -> None:
    from mufnet_lightning.system.configs import find_config

    spec = StudySpec.read(find_config("study"))
    assert [arm.name for arm in spec.arms] == ["bmode", "ceus", "fused"]
    assert spec.planned == (("fused", "bmode"), ("fused", "ceus"))
    over = StudySpec.read(find_config("study"), ["demo"])
    assert over.arms[0].arguments == (
        *("--config=bmode", "--config=demo"),
        "--tracking.arm=bmode",  # the study's name is what the configurations say
    )
