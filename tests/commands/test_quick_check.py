"""The check before Lightning never refuses what the parser takes, and tells the usual mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mufnet_lightning.commands import schema
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.commands.schema import description_of, schemas, type_of
from mufnet_lightning.errors import InputFault

CONFIGS = Path(__file__).parents[2] / "configs"
OWN = """
class_path: {path}
init_args:
  nobody: knows
"""
TAKEN: list[list[str]] = [
    [],
    ["--config=fused", "--config=demo"],
    ["--config", "ceus", "-c", "demo"],
    ["-cbmode"],
    ["--trainer.max_epochs=null", "--trainer.precision=16-mixed", "--trainer.devices=[0,1]"],
    ["--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.limit_val_batches", "0.5"],
    ["--trainer.deterministic", "true", "--trainer.max_time", "00:01:00:00"],
    ["--trainer.callbacks+=LearningRateFinder", "--trainer.callbacks.max_lr=0.5"],
    ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"],
    ["--trainer.profiler=simple", "--trainer.strategy=ddp_find_unused_parameters_true"],
    ["--optimizer=torch.optim.AdamW", "--optimizer.lr=1e-3"],
    ["--optimizer.class_path=torch.optim.SGD", "--optimizer.init_args.lr=0.1"],
    ["--optimizer=SGD", "--optimizer.lr=.1", "--lr_scheduler=StepLR", "--lr_scheduler.step_size=3"],
    ["--model.encoder=resnet18", "--model.dropout", "0", "--model.init_args.gamma=3"],
    ["--model=MufNetModule", "--model.beta=0.99"],
    ["--model.class_path=mufnet_lightning.models.module.MufNetModule", "--model.normalize=false"],
    ["--model.loss={class_path: torch.nn.CrossEntropyLoss}"],
    ["--data.augmentation.flip=0.1", "--data.modalities=[bmode]", "--data.folds_from=folds.csv"],
    ["--data.init_args.batch_size=8", "--data.sampler=patient_balanced"],
    ["--seed_everything=false"],
    ["--seed_everything=7", "--explain.enabled=false", "--explain.method=gradcam++"],
    ["--tracking.study=3", "--tracking.run_name", "07", "--tracking.baseline=null"],
    ["--checkpoint.monitor=val/loss", "--checkpoint.mode=min"],
    ["--checkpoint.keep=average", "--checkpoint.average_share=0.5", "--data.protocol=kfold"],
    ["--config=whole.yaml"],
    ["--config=classes.yaml"],
    ["--config=flat.yaml", "--trainer.max_epochs=1"],
    ["--trainer=trainer.yaml"],
]
REFUSED: list[tuple[list[str], str]] = [
    (["--trainer.max_epoch=3"], "unrecognized arguments: --trainer.max_epoch=3; did you mean"),
    (["--model.encodr", "x"], "did you mean --model.encoder?"),
    (["--checkpoint.keep=worst"], "checkpoint.keep: Expected one of"),
    (["--model.init_args.encodr", "x"], "did you mean --model.encoder?"),
    (["--trainer.max_epochs", "many"], "trainer.max_epochs: expected one of int"),
    (["--trainer.max_epochs"], "argument --trainer.max_epochs: expected one argument"),
    (["--data.batch_size=1.5"], "data.batch_size: Expected a int"),
    (["--checkpoint.mode=up"], "checkpoint.mode: Expected one of 'max', 'min'"),
    (["--explain.method=gram"], "explain.method: Expected one of 'gradcam'"),
    (["--trainer.precision=99"], "trainer.precision: expected one of 64, 32, 16"),
    (["--seed_everything=x"], "seed_everything: expected one of"),
    (["stray"], "unrecognized arguments: stray"),
    (["--model.lr=0.1"], "model.lr is --optimizer"),
    (
        ["--config=wrong.yaml"],
        "wrong.yaml: there is no setting data.stor; did you mean data.store?",
    ),
    (["--config=typed.yaml"], "typed.yaml: data.batch_size: Expected a int"),
    (["--config=earlier.yaml"], "earlier.yaml: model.lr is --optimizer"),
    (["--config=broken.yaml"], "broken.yaml is not YAML"),
    (["--config=gone.yaml"], "configuration gone.yaml is not there"),
    (["--config=fuse"], "configuration fuse is not there; did you mean fused?"),
]


@pytest.fixture
def folder(work: Path, phantom_store: Path) -> Path:
    """A working folder with a store called `store`, as the configurations have it."""
    (work / "store").symlink_to(phantom_store)
    files: dict[str, Any] = {
        "classes": {
            "model": {"class_path": "MufNetModule", "init_args": {"dropout": 0.1, "gamma": 1}},
            "data": {"class_path": schema.SECTION_CLASSES["data"], "init_args": {"fold": 1}},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        },
        "flat": {"data.batch_size": 4, "trainer": {"callbacks": [{"class_path": "Timer"}]}},
        "trainer": {"max_epochs": 3},
        "wrong": {"data": {"stor": "x"}},
        "typed": {"data": {"batch_size": "many"}},
        "earlier": {"model": {"lr": 0.1}},
    }
    for name, content in files.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
    Path("broken.yaml").write_text("data: [\n")
    Path("folds.csv").touch()
    return work


@cache
def parser() -> Any:
    """The judge."""
    from mufnet_lightning.training.parsed import lightning_parser

    return lightning_parser()


@cache
def whole_configuration() -> str:
    """Every setting, as a run's config.yaml has it."""
    from mufnet_lightning.training.callbacks.record import composed_configuration

    judge = parser()
    config = judge.parse_args(["fit", "--config=fused"])["fit"]
    (verbs,) = (action.choices for action in judge._actions if action.dest == "subcommand")
    text: str = yaml.safe_dump(composed_configuration(verbs["fit"], config))
    return text


def accepts(words: Sequence[str]) -> bool:
    """Whether the judge takes the words."""
    try:
        parser().parse_args(["fit", *words])
    except InputFault:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("words", TAKEN, ids=" ".join)
def test_what_the_parser_takes_passes(words: list[str], folder: Path) -> None:
    if "--config=whole.yaml" in words:
        Path("whole.yaml").write_text(whole_configuration())
    assert accepts(words)
    check_run("fit", [*words, "--data.store=store"])


@pytest.mark.slow
@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=str)
def test_what_is_refused_here_the_parser_refuses_too(
    words: list[str], sentence: str, folder: Path
) -> None:
    with pytest.raises(InputFault) as fault:
        check_run("fit", words)
    assert sentence in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not accepts(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [file for file in sorted(CONFIGS.glob("*.yaml")) if file.stem not in ("study", "sweep")],
    ids=lambda file: file.stem,
)
def test_every_configuration_of_ours_passes(file: Path, folder: Path) -> None:
    assert accepts([f"--config={file.stem}"])
    check_run("fit", [f"--config={file.stem}", "--data.store=store"])


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(-2, 2),
    st.sampled_from(
        ["0.5", "1e-3", "auto", "max", "x y", "", "[1]", "null", "gradcam", "warn", "no", "1_0"]
    ),
    st.lists(st.sampled_from(["bmode", "ceus", "1", "x"]), max_size=2),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_that_the_parser_takes_is_refused(data: st.DataObject, folder: Path) -> None:
    """As an option and in a file, for every setting of plain type."""
    plain = [one.name for one in schemas()["fit"].settings if one.type and one.name != "extends"]
    name = data.draw(st.sampled_from(plain))
    value = data.draw(VALUES)
    Path("drawn.yaml").write_text(
        yaml.safe_dump({name.split(".")[0]: value} if "." not in name else nested(name, value))
    )
    text = value if isinstance(value, str) else json.dumps(value)
    for words in ([f"--{name}={text}"], ["--config=drawn.yaml"]):
        refusal = refused_here(words)
        by_store = "the folds are" in refusal or "no crop store" in refusal
        assert not refusal or by_store or not accepts(words), refusal


def refused_here(words: Sequence[str]) -> str:
    """The sentence, or nothing."""
    try:
        check_run("fit", words)
    except InputFault as fault:
        return str(fault)
    return ""


def nested(name: str, value: object) -> dict[str, Any]:
    """`{"data": {"fold": 1}}` of data.fold."""
    *above, last = name.split(".")
    content: dict[str, Any] = {last: value}
    for part in reversed(above):
        content = {part: content}
    return content


@pytest.mark.parametrize("section", ["model", "data"])
def test_a_class_of_somebodys_own_is_left_to_the_parser(section: str, folder: Path) -> None:
    Path("own.yaml").write_text(yaml.safe_dump({section: yaml.safe_load(OWN.format(path="their.Own"))}))
    check_run("fit", ["--config=own.yaml", f"--{section}.something=1"])
    check_run("fit", [f"--{section}=their.Own", f"--{section}.something=1", f"--{section}.else", "2"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.store=gone"], "there is no crop store at gone: expected store.json"),
        (["--config=fused", "--data.store", "gone"], "there is no crop store at gone"),
        (["--data.fold=5"], "data.fold is 5, but the folds are 0 to 4"),
        (["--data.protocol=kfold", "--data.fold=5"], "data.fold is 5, but the folds are 0 to 4"),
        (["--data.fold=-1"], "data.fold is -1, but the folds are 0 to 4"),
        (["--data.n_folds=3", "--data.fold=3"], "data.fold is 3, but the folds are 0 to 2"),
        (["--data.protocol=center", "--data.fold=9"], "data.fold is 9, but the folds are 0 to 1"),
        (["--ckpt_path=gone.ckpt"], "gone.ckpt: there is no such file"),
    ],
)
def test_store_fold_and_checkpoint(words: list[str], sentence: str, folder: Path) -> None:
    with pytest.raises(InputFault, match=sentence):
        check_run("fit", words)


def test_the_last_word_counts(folder: Path) -> None:
    check_run("fit", ["--data.fold=9", "--data.fold=1"])
    check_run("fit", ["--data.fold=9", "--config=fused"])  # which says 0
    with pytest.raises(InputFault, match=r"data\.fold is 9"):
        check_run("fit", ["--config=fused", "--data.fold=9"])


def test_a_split_that_is_brought_is_not_judged(folder: Path) -> None:
    check_run("fit", ["--data.fold=9", "--data.folds_from=0123456789"])
    check_run("test", ["--ckpt_path=runs:/0123456789", "--data.fold=9"])
    check_run("test", ["--ckpt_path=runs:/0123456789"])


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_verb_that_scores_needs_a_checkpoint(verb: str, folder: Path) -> None:
    with pytest.raises(InputFault, match=f"{verb} needs --ckpt_path"):
        check_run(verb, ["--config=fused"])
    assert ("output" in {one.name for one in schemas()[verb].settings}) is (verb == "predict")


def test_folds_of_a_cross_validation(folder: Path) -> None:
    check_run("fit", ["--config=fused"], folds=[0, 4])
    with pytest.raises(InputFault, match="--fold 5: the folds are 0, 1, 2, 3, 4"):
        check_run("fit", ["--config=fused"], folds=[0, 5])


@pytest.mark.parametrize(
    "hint", [int, str, bool, int | None, list[int] | str, float | bool | None, Path | None], ids=str
)
def test_a_plain_type_survives_its_description(hint: Any) -> None:
    assert type_of(json.loads(json.dumps(description_of(hint)))) == hint


@pytest.mark.parametrize("hint", [dict[str, Any], Any, object, int | dict[str, int], complex])
def test_what_is_more_than_plain_has_no_description(hint: Any) -> None:
    assert description_of(hint) is None


def test_the_description_is_kept_and_renewed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[int] = []

    def describe() -> dict[str, schema.VerbSchema]:
        built.append(1)
        return {"fit": schema.VerbSchema([schema.Setting("a.b", "int", 1, ["--a.b"])], ["a"], "help")}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(schema, "_describe", describe)
    assert schemas() == schemas() == describe()
    assert len(built) == 2
    monkeypatch.setattr(sys, "version", "another")
    schemas()
    assert len(built) == 3
    for damaged in ("{", "[]", '{"key": 1}'):
        (file,) = (tmp_path / "mufnet").glob("parser-*.json")
        file.write_text(damaged)
        assert schemas()["fit"].help == "help"
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert schemas()["fit"].help == "help"


def test_a_study_is_no_configuration_of_a_fit(folder: Path) -> None:
    with pytest.raises(
        InputFault, match=r"study\.yaml is a study: `mufnet study .*study\.yaml` runs it"
    ):
        check_run("fit", ["--config=study"])
