"""The datamodule on a real store: pairing, parts, augmentation, workers, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from edited_stores import seal

from mufnet_lightning.data.augmentation import Augmentation
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import FoldTable
from mufnet_lightning.data.sampler import ClassBalancedSampler, Draw
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.cache import resized
from mufnet_lightning.store.inputs import TWINS
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.system.configs import find_config


def datamodule(store: Path, **options: Any) -> RoiPairDataModule:
    settings: dict[str, Any] = {"image_size": 48, "batch_size": 8, "num_workers": 0, **options}
    data = RoiPairDataModule(str(store), **settings)
    data.prepare_data()
    data.setup("fit")
    return data


def read(store: CropStore, row: int, modality: str, size: int) -> np.ndarray:
    path = store.root / store.manifest[f"{modality}_path"].iloc[row]
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return resized(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), size)


def test_a_test_batch_is_the_stores_crops_of_both_modalities_in_order(phantom_store: Path) -> None:
    data = datamodule(phantom_store, image_size=32)
    (first, *_) = list(data.test_dataloader())
    assert first["bmode"].shape == first["ceus"].shape == (8, 3, 32, 32)
    assert first["bmode"].dtype == torch.uint8
    assert first["row"].tolist() == data.part_rows("test")[:8].tolist()
    for position, row in enumerate(first["row"].tolist()):
        for modality in ("bmode", "ceus"):
            expected = read(data.store, row, modality, 32)
            got = first[modality][position].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(got, expected)
        assert first["label"][position] == data.store.manifest["label"].iloc[row]


def test_parts_hold_whole_patients_and_all_of_them(phantom_store: Path) -> None:
    data = datamodule(phantom_store)
    patient = data.store.manifest["patient_id"].to_numpy()
    parts = [set(patient[data.part_rows(part)]) for part in ("train", "val", "test")]
    assert set.union(*parts) == set(patient)
    assert sum(map(len, parts)) == len(set(patient))


@pytest.mark.parametrize("modalities", [["bmode"], ["ceus"], ["bmode", "ceus"]])
def test_every_arm_has_the_same_patients_in_the_same_parts(
    phantom_store: Path, modalities: list[str]
) -> None:
    data = datamodule(phantom_store, modalities=modalities)
    everything = datamodule(phantom_store)
    assert data.folds.equals(everything.folds)
    assert (data.part_rows("test") == everything.part_rows("test")).all()
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {*modalities, "label", "row"}


def test_only_training_is_augmented(phantom_store: Path) -> None:
    data = datamodule(phantom_store)

    def plain(loader: Iterable[dict[str, torch.Tensor]], row: int) -> torch.Tensor:
        (image,) = [b["ceus"][b["row"].tolist().index(row)] for b in loader if row in b["row"]]
        return image

    row = int(data.part_rows("val")[0])
    (loader,) = data.val_dataloader()
    assert torch.equal(plain(loader, row), plain(loader, row))
    cache = data.store.cache("ceus", 48)
    changed = [
        (image.permute(1, 2, 0).numpy() != cache[int(r)]).any()
        for batch in data.train_dataloader()
        for image, r in zip(batch["ceus"], batch["row"], strict=True)
    ]
    assert np.mean(changed) > 0.8


def test_the_numbers_drawn_do_not_depend_on_the_workers(phantom_store: Path) -> None:
    alone = list(datamodule(phantom_store).train_dataloader())
    helped = list(datamodule(phantom_store, num_workers=2).train_dataloader())
    assert len(alone) == len(helped)
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_lost_in_crop_and_cache_is_one_sentence_of_a_worker_too(
    phantom_store: Path, tmp_path: Path, workers: int
) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    data = datamodule(store, num_workers=workers)
    data.setup("fit")
    loader, *_ = data.val_dataloader()
    name = data.store.manifest["ceus_path"].iloc[data.part_rows("val")[5]]
    (store / name).write_bytes(b"")
    (cache,) = (store / "cache").glob("ceus_48.u8")
    with cache.open("r+b") as file:
        file.write(bytes(cache.stat().st_size))
    with pytest.raises(InputFault) as caught:
        list(loader)
    (fault,) = caught.value.faults
    assert fault.startswith(f"the crop store {data.store.root}: {name} is not as it was written: ")


def whole_batches(data: RoiPairDataModule, loader: Any) -> list[dict[str, torch.Tensor]]:
    """As a Trainer hands them on."""
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "device"},
        {"resident": True},
        {"augment": "device", "num_workers": 2},
        {"augment": "device", "resident": True, "modalities": ["ceus"]},
    ],
)
def test_where_a_batch_is_made_does_not_change_it(phantom_store: Path, options: Any) -> None:
    plain = datamodule(phantom_store, modalities=options.get("modalities", ["bmode", "ceus"]))
    other = datamodule(phantom_store, **options)
    expected = whole_batches(plain, plain.train_dataloader())
    made = whole_batches(other, other.train_dataloader())
    assert len(made) == len(expected)
    for a, b in zip(expected, made, strict=True):
        assert set(a) == set(b)
        assert torch.equal(a["row"], b["row"])
        assert torch.equal(a["label"], b["label"])
        for modality in plain.modalities:
            assert b[modality].dtype == torch.uint8
            assert b[modality].shape == a[modality].shape
            difference = (a[modality].int() - b[modality].int()).abs()
            assert difference.float().mean() < 0.3  # OpenCV's map has 32nds of a pixel
    # what is not augmented is the same to the bit
    for a, b in zip(
        whole_batches(plain, plain.test_dataloader()),
        whole_batches(other, other.test_dataloader()),
        strict=True,
    ):
        assert all(torch.equal(a[name], b[name]) for name in a)
    rows = plain.part_rows("test")[:3]
    alone = next(iter(other.rows_dataloader(rows)))  # whole without a Trainer
    assert alone["ceus"].shape[1:] == (3, 48, 48)


def grey_store(store: Path, copy: Path, crops: str) -> Path:
    """A copy of a store, some crops of which are grey."""
    shutil.copytree(store, copy)
    shutil.rmtree(copy / "cache", ignore_errors=True)
    for file in (copy / "crops").glob(crops):
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        cv2.imwrite(str(file), pixels)
    seal(copy)
    return copy


def test_grey_crops_reach_the_network_as_rgb(phantom_store: Path, tmp_path: Path) -> None:
    store = grey_store(phantom_store, tmp_path / "grey", "*_bmode.png")
    for options in ({}, {"augment": "device"}, {"resident": True}):
        data = datamodule(store, **options)
        assert data.store.cache("bmode", 48).channels == 1
        loaded = next(iter(data.train_dataloader()))
        if not options.get("resident"):
            assert loaded["bmode"].shape == (8, 1, 48, 48)
        (batch, *_) = whole_batches(data, data.train_dataloader())
        assert batch["bmode"].shape == batch["ceus"].shape == (8, 3, 48, 48)
        assert torch.equal(batch["bmode"][:, 0], batch["bmode"][:, 2])
        (rows,) = [next(iter(data.rows_dataloader(data.usable_rows[:2])))]
        assert rows["bmode"].shape == (2, 3, 48, 48)


def test_resident_crops_of_a_store_without_a_modality_are_zeros_there(
    phantom_store: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "bmode"))
    manifest = pd.read_csv(store / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.assign(ceus_path="").to_csv(store / "manifest.csv", index=False)
    info = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**info, "modalities": ["bmode"]}))
    seal(store)
    made = []
    for resident in (False, True):
        data = RoiPairDataModule(
            str(store), image_size=48, batch_size=8, num_workers=0, resident=resident
        )
        data.missing_allowed = True
        data.prepare_data()
        data.setup("predict")
        made.append(whole_batches(data, data.predict_dataloader())[0])
    plain, resident_batch = made
    assert set(plain) == set(resident_batch)
    assert all(torch.equal(plain[name], resident_batch[name]) for name in plain)
    assert not plain["ceus"].any()


def test_a_transform_of_ones_own_gets_rgb_of_grey_crops(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType
) -> None:
    store = grey_store(phantom_store, tmp_path / "grey", "*.png")
    data = datamodule(store, transform="own_blocks.Shift")
    assert data.store.cache("ceus", 48).channels == 1
    assert next(iter(data.train_dataloader()))["ceus"].shape == (8, 3, 48, 48)


def test_a_transform_of_ones_own_runs_in_the_loader_alone(phantom_store: Path) -> None:
    for options in ({"augment": "device"}, {"resident": True}):
        with pytest.raises(InputFault, match=r"data\.transform is of your own"):
            datamodule(phantom_store, transform="own_blocks.Shift", **options)


def test_epochs_are_augmented_anew_and_seeds_differ(phantom_store: Path) -> None:
    loader = datamodule(phantom_store).train_dataloader()
    first = next(iter(loader))
    assert torch.equal(first["ceus"], next(iter(loader))["ceus"])
    assert isinstance(loader.sampler, ClassBalancedSampler)
    loader.sampler.set_epoch(1)  # what Lightning does
    assert not torch.equal(first["ceus"], next(iter(loader))["ceus"])
    other = next(iter(datamodule(phantom_store, seed=1).train_dataloader()))
    assert not torch.equal(first["ceus"], other["ceus"])


def test_an_image_drawn_twice_is_augmented_twice(phantom_store: Path) -> None:
    dataset = datamodule(phantom_store).train_dataloader().dataset
    a, b = dataset[Draw(0, seed=1)], dataset[Draw(0, seed=2)]
    assert a["row"] == b["row"]
    assert not torch.equal(a["bmode"], b["bmode"])
    with pytest.raises(TypeError, match="Draws"):
        dataset[0]


def test_class_counts_are_the_training_folds(phantom_store: Path) -> None:
    data = datamodule(phantom_store)
    labels = data.store.manifest["label"].iloc[data.part_rows("train")]
    assert data.class_counts == [int((labels == 0).sum()), int((labels == 1).sum())]


def test_pairs_that_lack_a_modality_are_left_out_of_the_fused_arm_only(
    phantom_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantom_store, tmp_path / "store", ignore=shutil.ignore_patterns("cache"))
    manifest = CropStore.open(tmp_path / "store").manifest.copy()
    row = int(datamodule(phantom_store).part_rows("test")[0])
    manifest.loc[row, "ceus_path"] = ""
    manifest.to_csv(tmp_path / "store" / "manifest.csv", index=False)
    seal(tmp_path / "store")
    fused = datamodule(tmp_path / "store")
    assert row not in fused.part_rows("test")
    assert row in datamodule(tmp_path / "store", modalities=["bmode"]).part_rows("test")
    assert fused.folds.equals(datamodule(phantom_store).folds)


def test_pairs_that_lack_a_modality_say_so_where_they_are_allowed(
    phantom_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(phantom_store, store, ignore=shutil.ignore_patterns("cache"))
    manifest = pd.read_csv(store / "manifest.csv", keep_default_na=False)
    manifest.loc[:1, "ceus_path"] = ""
    manifest.loc[2, "bmode_path"] = ""
    manifest.loc[3, ["bmode_path", "ceus_path"]] = ""
    manifest.to_csv(store / "manifest.csv", index=False)
    seal(store)
    data = RoiPairDataModule(str(store), image_size=32, batch_size=8, num_workers=0)
    data.missing_allowed = True
    assert data.usable_rows.tolist() == [row for row in range(len(manifest)) if row != 3]
    first = next(iter(data.rows_dataloader(data.usable_rows)))
    assert first["present"].tolist() == [[True, False]] * 2 + [[False, True]] + [[True, True]] * 5
    assert (first["ceus"][:2] == 0).all()
    assert (first["bmode"][2] == 0).all()
    np.testing.assert_array_equal(first["bmode"][0].permute(1, 2, 0), read(data.store, 0, "bmode", 32))
    data = RoiPairDataModule(str(store), image_size=32, num_workers=0)
    assert "present" not in next(iter(data.rows_dataloader(data.usable_rows)))


def test_a_store_of_one_modality_serves_where_the_other_may_lack(
    files: ModuleType, tmp_path: Path
) -> None:
    tables = files.cohort_tables()
    for clip in tables["clips"]:
        clip["bmode_pane"] = ""
    prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    data = RoiPairDataModule(str(tmp_path / "store"), image_size=32, num_workers=0)
    with pytest.raises(InputFault, match="no bmode crops"):
        data.prepare_data()
    data.missing_allowed = True
    data.prepare_data()
    batch = next(iter(data.rows_dataloader(data.usable_rows)))
    assert batch["bmode"].shape == batch["ceus"].shape
    assert not batch["bmode"].any()
    assert batch["ceus"].any()
    assert not batch["present"][:, 0].any()
    assert batch["present"][:, 1].all()


def test_a_folds_file_of_other_patients_is_refused(phantom_store: Path, tmp_path: Path) -> None:
    folds = datamodule(phantom_store).folds
    stranger = folds.assign(patient_id=folds["patient_id"].replace(folds["patient_id"][0], "X"))
    stranger.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(InputFault, match="patient X is not in store"):
        datamodule(phantom_store, folds_from=str(tmp_path / "folds.csv"))
    turned = folds.assign(label=1 - folds["label"])
    turned.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(InputFault, match="has label"):
        datamodule(phantom_store, folds_from=str(tmp_path / "folds.csv"))


def test_given_folds_stand_above_a_file_and_a_file_above_the_seed(
    phantom_store: Path, tmp_path: Path
) -> None:
    made, other = (datamodule(phantom_store, split_seed=seed).folds for seed in (0, 7))
    file = tmp_path / "folds.csv"
    other.to_csv(file, index=False)
    of_file = datamodule(phantom_store, folds_from=str(file))
    pd.testing.assert_frame_equal(of_file.folds, other, check_dtype=False)
    given = RoiPairDataModule(str(phantom_store), folds_from=str(file))
    given.given_folds = FoldTable(made, "a run")
    pd.testing.assert_frame_equal(given.folds, made)
    stranger = made.assign(patient_id=made["patient_id"].replace(made["patient_id"][0], "X"))
    given = RoiPairDataModule(str(phantom_store))
    given.given_folds = FoldTable(stranger, "run 4f2c")
    with pytest.raises(InputFault, match="run 4f2c: patient X is not in store"):
        _ = given.folds


def test_folds_of_a_run_must_be_given_by_who_knows_runs(phantom_store: Path) -> None:
    with pytest.raises(InputFault, match=r"folds_from is runs:/4f2c.*no such file.*given_folds"):
        datamodule(phantom_store, folds_from="runs:/4f2c")


def test_an_own_sampler_and_transform_feed_the_training(
    phantom_store: Path, own_blocks: ModuleType
) -> None:
    data = datamodule(
        phantom_store,
        seed=40,
        sampler={"class_path": "own_blocks.EveryImage", "init_args": {"limit": 12}},
        transform={"class_path": "own_blocks.Shift", "init_args": {"step": 2}},
    )
    loader = data.train_dataloader()
    assert type(loader.sampler) is own_blocks.EveryImage
    batches = list(loader)
    rows = torch.cat([batch["row"] for batch in batches])
    assert rows.tolist() == data.part_rows("train")[:12].tolist()
    cache = data.store.cache("ceus", 48)
    images = torch.cat([batch["ceus"] for batch in batches])
    for draw, (image, row) in enumerate(zip(images, rows.tolist(), strict=True)):
        expected = cache[row] + np.uint8(2 * (40 + draw))
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "own_blocks.NotATransform"])
@pytest.mark.parametrize("setting", ["sampler", "transform"])
def test_what_is_no_sampler_or_transform_is_refused_and_never_called(
    phantom_store: Path, own_blocks: ModuleType, setting: str, path: str
) -> None:
    options: dict[str, Any] = {setting: path}
    with pytest.raises(InputFault, match=f"data.{setting} is {path}, expected the class path of a"):
        RoiPairDataModule(str(phantom_store), **options)
    assert own_blocks.MADE == []


def test_a_sampler_that_is_none_of_ours_is_told_with_ours(phantom_store: Path) -> None:
    with pytest.raises(InputFault, match="'balanced', expected class_balanced, patient_balanced or"):
        RoiPairDataModule(str(phantom_store), sampler="balanced")


def test_the_settings_are_plain_values_that_make_it_again(phantom_store: Path, tmp_path: Path) -> None:
    data = datamodule(phantom_store, modalities=("ceus",), augmentation=Augmentation(flip=0.25), fold=2)
    torch.save(dict(data.hparams), tmp_path / "settings.ckpt")
    settings = torch.load(tmp_path / "settings.ckpt", weights_only=True)
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings
    augmentation = Augmentation(**settings.pop("augmentation"))
    again = RoiPairDataModule(**settings, augmentation=augmentation)
    assert again.augmentation == data.augmentation
    assert (again.modalities, again.fold, again.image_size) == (("ceus",), 2, 48)


def test_the_defaults_are_the_papers() -> None:
    config = yaml.safe_load(find_config("paper").read_text())["data"]
    data = RoiPairDataModule()
    augmentation = config.pop("augmentation")
    assert {name: data.hparams[name] for name in config} == config
    assert {name: data.hparams["augmentation"][name] for name in augmentation} == augmentation


def test_patients_who_look_alike_are_told_of_and_kept_together_on_request(
    phantom_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    data = datamodule(store)
    assert "look alike" not in caplog.text
    here = data.folds[data.folds["fold"] == 0]
    (train, test) = (here.loc[here["part"] == part, "patient_id"].iloc[0] for part in ("train", "test"))
    twins = f"patient_id,twin_id,crop,twin_crop,similarity\n{train},{test},a.png,b.png,0.99\n"
    (store / TWINS).write_text(twins)
    seal(store)
    datamodule(store)
    assert "look alike and stand in different parts of the split: 1" in caplog.text
    caplog.clear()
    grouped = datamodule(store, group_duplicates=True)
    assert "look alike" not in caplog.text
    for _, fold in grouped.folds.groupby("fold"):
        part = fold.set_index("patient_id")["part"]
        assert part[train] == part[test]


def test_a_store_with_some_grades_missing_is_refused_for_training(cohort: Path, tmp_path: Path) -> None:
    table = pd.read_csv(cohort / "patients.csv", dtype=str)
    table.loc[1, "grade"] = ""
    table.to_csv(cohort / "patients.csv", index=False)
    prepare_store(cohort, tmp_path / "store", with_grades=False)
    data = RoiPairDataModule(str(tmp_path / "store"))
    with pytest.raises(InputFault, match="1 of its 3 patients have no grade, the first of them P2"):
        data.setup("fit")
    whole = pd.DataFrame(
        {"fold": 0, "patient_id": ["P1", "P2", "P3"], "label": [0, 1, 0], "part": "test"}
    )
    data = RoiPairDataModule(str(tmp_path / "store"))
    data.given_folds = FoldTable(whole, "folds.csv")
    with pytest.raises(InputFault, match=r"folds.csv: patient P2 has label 1, but no grade in store"):
        data.setup("fit")
