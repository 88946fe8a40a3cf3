"""What does each verb make of inputs that are broken at random?

    python benchmarks/fuzz.py [--cases 2000] [--first 0] [--seed 0] [--only KIND] [--keep DIR]

Every case copies a small world (a cohort of AVI, MP4 and DICOM clips, a cohort of pairs, a store, a
trained checkpoint, annotations in nine formats, predictions, configurations), breaks one file or one
word of the command line in a way that is drawn from the seed and the number of the case (see
`fuzz_mutations.py`), and runs the real verb on it: in a fork of this process, which has everything
imported, within 20 s of CPU, 90 s, and 3 GiB of memory beyond what the imports take. Worker processes
are left out: their work is done in the fork itself. A fit goes as far as its checks before training.

Prints a table: how many of each kind were refused in sentences (exit code 2), accepted, accepted with a
warning (told); and what must not be: tracebacks, hangs, more memory than that, an output that is
half-written, and nonsense that was accepted. What failed is kept in --keep with words and output. Ends
with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import fuzz_mutations as mutate  # type: ignore[import-not-found]  # noqa: E402

WALL_S, CPU_S, MEMORY = 90.0, 20, 3 << 30
GOOD = ("refused", "accepted", "told")
BAD = ("traceback", "hang", "memory", "crash", "half-written", "wrongly accepted")
Words = list[str]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        files: one of these is broken, paths in the world.
        mutations: by one of these.
        verbs: and one of these is run, words with {world}.
        share: of all cases, relative to the others.
    """

    files: tuple[str, ...]
    mutations: tuple[mutate.Mutation, ...]
    verbs: tuple[str, ...]
    share: int = 4


PREPARE, INSPECT = "prepare cohort out", "inspect cohort"
PAIRS = "prepare pairs out"
FIT = (
    "fit --config=configs/fused.yaml --config=mine.yaml --data.store=store --trainer.accelerator=cpu "
    "--data.num_workers=0"
)
PREDICT = "predict --ckpt_path=last.ckpt --data.store=store --trainer.accelerator=cpu --output=out.csv"
COMPARE = "compare a.csv b.csv --no-record --out=compared"
TABLE, BYTES, TREE, NUMBER = mutate.of_table, mutate.of_bytes, mutate.of_tree, mutate.of_numbers


def _import(name: str, frames: str = " --frames-from={clip}_{frame} --first-frame=0") -> str:
    return f"import {name} cohort{frames} --write --replace"


KINDS: dict[str, Kind] = {
    "patients.csv": Kind(("cohort/patients.csv",), (TABLE, TABLE, BYTES), (PREPARE, INSPECT)),
    "clips.csv": Kind(("cohort/clips.csv",), (TABLE, TABLE, BYTES), (PREPARE, INSPECT), 6),
    "boxes.csv": Kind(("cohort/boxes.csv",), (TABLE, TABLE, BYTES), (PREPARE, INSPECT), 6),
    "pairs.csv": Kind(("pairs/pairs.csv", "pairs/patients.csv"), (TABLE, TABLE, BYTES), (PAIRS,)),
    "cohort.json": Kind(("cohort/cohort.json",), (TREE, BYTES), (PREPARE,), 2),
    "films": Kind(
        ("cohort/clips/C1.avi", "cohort/clips/C2.avi", "cohort/clips/C3.mp4"),
        (mutate.of_film, BYTES),
        (PREPARE, INSPECT),
        8,
    ),
    "DICOM": Kind(
        ("cohort/clips/C4.dcm", "cohort/clips/C5.dcm"), (mutate.of_dicom, BYTES), (PREPARE, INSPECT), 8
    ),
    "pictures": Kind(
        tuple(f"pairs/images/0 bmode.{ending}" for ending in ("png", "jpg", "bmp", "tif")),
        (mutate.of_picture, BYTES),
        (PAIRS,),
        6,
    ),
    "predictions": Kind(("a.csv",), (TABLE, TABLE, BYTES), (COMPARE, f"{COMPARE} --level=patient"), 6),
    "characteristics": Kind(
        ("people.csv",),
        (TABLE, TABLE, BYTES),
        ("characteristics people.csv --by grade --format csv",),
        6,
    ),
    "configuration": Kind(("mine.yaml",), (TREE, TREE, TREE, BYTES, NUMBER), (FIT,), 8),
    "store": Kind(
        ("store/manifest.csv", "store/store.json", "store/{crop}", "store/{cache}"),
        (BYTES, TABLE, TREE),
        (FIT, PREDICT),
        4,
    ),
    "checkpoint": Kind(("last.ckpt",), (BYTES,), (PREDICT,), 4),
    "COCO": Kind(("notes/coco.json",), (TREE, NUMBER, BYTES), (_import("notes/coco.json"),), 2),
    "CVAT": Kind(("notes/cvat.xml",), (NUMBER, BYTES), (_import("notes/cvat.xml", ""),), 2),
    "LabelMe": Kind(
        ("notes/labelme/C1_0002.json",), (TREE, NUMBER, BYTES), (_import("notes/labelme"),), 2
    ),
    "VIA": Kind(("notes/via.json", "notes/via.csv"), (TREE, NUMBER, BYTES), (_import("{file}"),), 2),
    "YOLO": Kind(
        ("notes/yolo/labels/C1_0002.txt", "notes/yolo/data.yaml"),
        (NUMBER, BYTES),
        (_import("notes/yolo"),),
        2,
    ),
    "masks": Kind(
        ("notes/masks/C1_0002.png",), (mutate.of_picture, BYTES), (_import("notes/masks"),), 2
    ),
    "NIfTI": Kind(
        ("notes/nifti/C1.nii.gz", "notes/nifti/C1.nii"), (BYTES,), (_import("{file}", ""),), 2
    ),
    "DICOM SEG, SR": Kind(("notes/seg.dcm", "notes/sr.dcm"), (BYTES,), (_import("{file}", ""),), 2),
    "words": Kind(
        (),
        (),
        (
            *(PREPARE + " --margin=0.1", INSPECT, COMPARE + " --margin=0.1", FIT, PREDICT),
            *("characteristics people.csv --by=grade --variables=age,sex", _import("notes/coco.json")),
            *(
                "predict --run=last.ckpt --store=store --out=predicted",
                "plan --auc=0.9 --low=20 --high=10",
            ),
        ),
        8,
    ),
}


@dataclass
class Result:
    """What came of a case."""

    outcome: str
    seconds: float
    output: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="begin with this case [0]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(KINDS), help="one kind of input")
    parser.add_argument("--case", type=int, help="this one alone, with all that it printed")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    from rich.progress import track

    with tempfile.TemporaryDirectory(prefix="mufnet-fuzz-") as scratch:
        world = Path(scratch) / "world"
        _warm_up()
        make_world(world)
        usual = _warm_modules(world, Path(scratch) / "warm")
        kinds = (
            [options.only]
            if options.only
            else [n for n, kind in KINDS.items() for _ in range(kind.share)]
        )
        table: dict[str, Counter[str]] = {name: Counter() for name in dict.fromkeys(kinds)}
        slowest = 0.0
        numbers = range(options.first, options.cases) if options.case is None else [options.case]
        with contextlib.suppress(KeyboardInterrupt):  # the table so far
            for number in track(numbers, "cases", disable=not sys.stderr.isatty()):
                random = Random(f"{options.seed} {number}")
                name = random.choice(kinds)
                place = Path(scratch) / f"case-{number}"
                shutil.copytree(world, place, symlinks=True)
                words, done, nonsense = break_it(KINDS[name], place, random)
                result = run_case(place, words, nonsense, usual)
                table[name][result.outcome] += 1
                slowest = max(slowest, result.seconds)
                if result.outcome in BAD or options.case is not None:
                    _keep(
                        options.keep / f"{number} {name} {result.outcome}", place, words, done, result
                    )
                    print(
                        f"case {number}, {name}: {done}: {result.outcome}: mufnet {' '.join(words)}"[
                            :300
                        ],
                        flush=True,
                    )
                    if options.case is not None:
                        print(result.output)
                shutil.rmtree(place, ignore_errors=True)
                if number % 250 == 249:
                    print(f"{shown(table)}\nafter case {number:,}\n", flush=True)
    print(shown(table))
    failed = sum(counts[outcome] for counts in table.values() for outcome in BAD)
    ran = sum(counts.total() for counts in table.values())
    print(f"{ran:,} cases, seed {options.seed}, the longest {slowest:.1f} s; {failed} failed")
    return 1 if failed else 0


def shown(table: dict[str, Counter[str]]) -> str:
    """The table, a row a kind."""
    columns = [*GOOD, *BAD]
    lines = ["| " + " | ".join(["input", "cases", *columns]) + " |", "|---" * (len(columns) + 2) + "|"]
    total: Counter[str] = Counter()
    for name, counts in table.items():
        total += counts
        lines.append(_line(name, counts, columns))
    return "\n".join([*lines, _line("all", total, columns)])


def _line(name: str, counts: Counter[str], columns: Words) -> str:
    numbers = [sum(counts.values()), *(counts[column] for column in columns)]
    return "| " + " | ".join([name, *(f"{number:,}" for number in numbers)]) + " |"


def break_it(kind: Kind, place: Path, random: Random) -> tuple[Words, str, bool]:
    """Break one file of a world, or a word; (words of the verb, what was done, whether nonsense)."""
    verb = random.choice(kind.verbs)
    if not kind.files:
        words = verb.split()
        at = random.randrange(1, len(words))
        name, equals, value = words[at].partition("=")
        bad = False
        if equals and random.random() < 0.8:
            value = random.choice(mutate.WORDS).replace("\0", "")
            bad = name == "--margin" and value in (
                "nan",
                "inf",
                "-inf",
                "1e308",
                "-1",
                "",
                "true",
                "9" * 23,
            )
            words[at] = f"{name}={value}"
        elif random.random() < 0.5:
            words[at] = random.choice(mutate.WORDS).replace("\0", "")
        else:
            words.insert(
                at, random.choice(["--", "-h-", "--x", f"{name}=", *mutate.WORDS]).replace("\0", "")
            )
        return words, "word", bad
    inside = _named(place, random.choice(kind.files))
    file = place / inside
    mutation = random.choice(kind.mutations)
    if mutation is TREE and file.suffix not in (".yaml", ".json"):
        mutation = BYTES
    if mutation is TABLE and file.suffix != ".csv":
        mutation = BYTES
    for other in kind.files:  # pictures: the one that is broken is the one that the table names
        if kind is KINDS["pictures"] and other == inside:
            text = (place / "pairs/pairs.csv").read_text()
            (place / "pairs/pairs.csv").write_text(text.replace("images/0 bmode.png", inside[6:]))
    done, bad = mutation(file, random)
    bad = bad and not inside.startswith("store/cache")  # it is built again
    if inside.startswith("store/crops"):
        shutil.rmtree(place / "store/cache")  # so that the crop is read
    return verb.replace("{file}", inside).split(), f"{inside}: {done}", bad


def _warnings(text: str) -> set[str]:
    return {line for line in text.splitlines() if "warning: " in line}


def run_case(place: Path, words: Words, nonsense: bool, usual: set[str]) -> Result:
    """Run a verb in a fork, within bounds; `usual` are the warnings of the verbs on the whole world."""
    started = time.monotonic()
    output = place / "output.txt"
    child = os.fork()
    if child == 0:
        _in_child(place, words, output)
    while True:
        ended, status, _ = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - started > WALL_S:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return Result("hang", time.monotonic() - started, _text(output))
        time.sleep(0.01)
    seconds, text = time.monotonic() - started, _text(output)
    code = os.waitstatus_to_exitcode(status)
    short = code != 2  # else it was refused for what it claims, within these bounds
    if short and ("MemoryError" in text or "Cannot allocate" in text or "Insufficient memory" in text):
        return Result("memory", seconds, text)
    if code == -signal.SIGXCPU:
        return Result("hang", seconds, text)
    if code < 0:
        return Result("crash", seconds, text)
    if code not in (0, 2) or "Traceback" in text:
        return Result("traceback", seconds, text)
    if left := _half_written(place, code):
        return Result("half-written", seconds, f"{left}\n{text}")
    if code == 2:
        return Result("refused", seconds, text)
    told = _warnings(text) - usual
    if nonsense and not told:
        return Result("wrongly accepted", seconds, text)
    return Result("told" if told else "accepted", seconds, text)


def _in_child(place: Path, words: Words, output: Path, tell_modules: bool = False) -> None:
    code = 1
    try:
        os.chdir(place)
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        spent = int(sum(os.times()[:2]))
        most = CPU_S * (3 if tell_modules else 1)  # to import is no part of a case
        resource.setrlimit(resource.RLIMIT_CPU, (spent + most, spent + most + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from mufnet_lightning.cli import main as mufnet

        code = mufnet(words)
        if tell_modules:
            (place / "modules.txt").write_text("\n".join(sys.modules))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _half_written(place: Path, code: int) -> str:
    """What is left that nobody can use, or that looks whole and is not."""
    drafts = [path.name for path in place.rglob(".partial-*")]
    if drafts:
        return f"left: {', '.join(drafts)}"
    store = place / "out"
    if store.is_dir() and not (store / "store.json").is_file():
        return f"a store without store.json: {sorted(path.name for path in store.iterdir())}"
    if code == 2 and store.is_dir():
        return "a store in spite of a fault"
    compared = place / "compared"
    if code == 2 and compared.is_dir() and any(compared.iterdir()):
        return "tables in spite of a fault"
    return ""


def _text(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""


def _keep(folder: Path, place: Path, words: Words, done: str, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = f"{done}\nmufnet {' '.join(words)}\n{result.outcome}, {result.seconds:.1f} s\n\n"
    (folder / "what.txt").write_text(head + result.output, errors="replace")
    broken = place / done.partition(":")[0]
    if broken.is_file() and not broken.is_symlink() and broken.stat().st_size < 5_000_000:
        shutil.copy(broken, folder / broken.name)


def _named(place: Path, file: str) -> str:
    """A file of a store by what it is, `{crop}` or `{cache}`: the first one."""
    store = place / "store"
    crop, cache = (min(store.rglob(f"*.{ending}")).relative_to(store) for ending in ("png", "u8"))
    return file.replace("{crop}", crop.as_posix()).replace("{cache}", cache.as_posix())


def _warm_up() -> None:
    """Import everything, and take worker processes and training itself out of the verbs."""
    import cv2
    import torch

    from mufnet_lightning.cohort import panes
    from mufnet_lightning.commands import options, schema, verbs
    from mufnet_lightning.phantom import generate
    from mufnet_lightning.store import cut_apart, prepare
    from mufnet_lightning.store.inspection import seen
    from mufnet_lightning.system import processes
    from mufnet_lightning.training import cli

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for verb in verbs.VERBS:
        if verb not in verbs.LIGHTNING_VERBS:
            options.command_of(verb)
    schema.schemas()

    def here(work: Callable, jobs: list, *_: object) -> list:  # type: ignore[type-arg]
        return [work(job) for job in jobs]

    for module in (panes, cut_apart, prepare, seen, generate):
        module.in_processes = here  # type: ignore[attr-defined]
    processes.start_early = lambda preload: None  # type: ignore[assignment,return-value]
    for verb in ("report.inspection", "study.compare", "study.table_one", "inference.predict"):
        __import__(f"mufnet_lightning.{verb}")
    cli.MufnetCLI.fit = lambda self, **given: self.check_before_training()  # type: ignore[method-assign]


def _warm_modules(world: Path, place: Path) -> set[str]:
    """Import what each verb imports when it is called, which a fork would do again each time.

    Each has to work on the world as it is, or nothing that is broken in it would be looked at.

    Returns:
        The warnings of them all.
    """
    usual: set[str] = set()
    verbs = {
        verb.replace("{file}", file)
        for kind in KINDS.values()
        for verb in kind.verbs
        for file in kind.files or ("",)
    }
    for verb in sorted(verbs):
        shutil.copytree(world, place, symlinks=True)
        child = os.fork()
        if child == 0:
            _in_child(place, verb.split(), place / "output.txt", True)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"mufnet {verb} fails undisturbed:\n{_text(place / 'output.txt')}")
        usual |= _warnings(_text(place / "output.txt"))
        names = (place / "modules.txt").read_text().split() if (place / "modules.txt").is_file() else []
        for name in names:
            if name not in sys.modules and "__main__" not in name:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        shutil.rmtree(place)
    return usual


def make_world(world: Path) -> None:
    """Write everything that a case may break."""
    import annotation_files as made
    import cohort_files as files
    import cv2
    import numpy as np
    import pandas as pd
    from annotation_files import Drawn
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    from mufnet_lightning.cli import main as mufnet

    (world / "configs").parent.mkdir(parents=True)
    shutil.copytree(HERE.parent / "configs", world / "configs")
    os.chdir(world)
    tables = _tables(files)
    cohort = files.write_cohort(world / "cohort", tables)
    frames = [files.clip_frame(number, 2) for number in range(files.CLIP_LENGTH)]
    files.write_clip(cohort / "clips/C2.avi", frames, "MJPG")
    frames = [files.clip_frame(number, 3) for number in range(files.CLIP_LENGTH)]
    files.write_clip(cohort / "clips/C3.mp4", frames, "mp4v")
    (cohort / "clips/C3.avi").unlink()
    (cohort / "clips/C4.avi").unlink()
    for clip in range(6, 12):
        frames = [files.clip_frame(number, clip) for number in range(files.CLIP_LENGTH)]
        files.write_clip(cohort / f"clips/C{clip}.avi", frames, "MJPG")
    clips = [
        np.stack([files.clip_frame(number, clip) for number in range(files.CLIP_LENGTH)])
        for clip in (4, 5)
    ]
    source = made.as_source(files.write_dicom(cohort / "clips/C4.dcm", clips[0]))
    packed = files.write_dicom(cohort / "clips/C5.dcm", clips[1])
    packed.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    packed.save_as(cohort / "clips/C5.dcm", enforce_file_format=True)
    pairs = files.write_pairs_cohort(world / "pairs")
    picture = cv2.imread(str(pairs / "images/0 bmode.png"))
    assert picture is not None
    for ending in ("jpg", "bmp", "tif"):
        cv2.imwrite(str(pairs / f"images/0 bmode.{ending}"), picture)
    boxes = [
        Drawn("C1", 2, 90, 20, 16, 12),
        Drawn("C1", 6, 98, 21, 20, 12),
        Drawn("C2", 1, 90, 9, 9, 9),
    ]
    notes = world / "notes"
    notes.mkdir()
    made.coco(notes / "coco.json", boxes)
    made.cvat_film(notes / "cvat.xml", boxes[:2], "C1.avi")
    made.labelme(notes / "labelme", boxes)
    made.via(notes / "via.json", boxes)
    made.via(notes / "via.csv", boxes)
    made.yolo(notes / "yolo", boxes)
    made.pictures(notes / "masks", boxes)
    made.nifti(notes / "nifti", boxes[:2])
    first = next((notes / "nifti").glob("C1.nii*"))
    import nibabel

    volume = nibabel.load(first)
    for name in ("C1.nii", "C1.nii.gz"):
        nibabel.save(volume, notes / "nifti" / name)
    drawn = [Drawn("C4", 2, 90, 20, 16, 12)]
    made.segmentation(notes / "seg.dcm", source, drawn)
    made.report(notes / "sr.dcm", source, drawn)
    random = np.random.default_rng(0)
    people = pd.DataFrame({"patient_id": [f"P{number:03}" for number in range(60)]})
    people["grade"] = 1 + np.arange(60) % 4
    people["age"] = random.integers(30, 80, 60)
    people["sex"] = random.choice(["f", "m"], 60)
    people["size"] = random.normal(4, 1, 60).round(2)
    people.to_csv(world / "people.csv", index=False)
    for name in ("a", "b"):
        rows = pd.DataFrame({"pair_id": [f"C{number}/1" for number in range(60)]})
        rows["patient_id"] = [f"P{number // 2:03}" for number in range(60)]
        rows["label"] = np.arange(60) // 2 % 2
        rows["score"] = random.random(60).round(4)
        rows["fold"] = 0
        rows["split"] = "test"
        rows.to_csv(world / f"{name}.csv", index=False)
    settings = ["--patients=30", "--frames=3", "--clip-length=6", "--pane-size=128", "--high-share=0.5"]
    assert mufnet(["phantom", str(world / "phantom"), *settings]) == 0
    assert mufnet(["prepare", str(world / "phantom"), str(world / "store")]) == 0
    shutil.rmtree(world / "phantom")
    (world / "mine.yaml").write_text(
        "extends: demo\nseed_everything: 3\ndata:\n  image_size: 32\n  batch_size: 8\n  n_folds: 4\n"
        "  split_seed: 2\n  sampler: class_balanced\n  augmentation: {rotate: 10.0, scale: 0.1}\n"
        "model:\n  dropout: 0.1\n  beta: 0.999\n  gamma: 2.0\n  classes: [low grade, high grade]\n"
        "optimizer:\n  class_path: torch.optim.SGD\n  init_args:\n    lr: 0.05\n    momentum: 0.9\n"
        "    weight_decay: 0.0001\nlr_scheduler:\n  class_path: torch.optim.lr_scheduler.StepLR\n"
        "  init_args: {step_size: 3, gamma: 0.5}\ntrainer:\n  max_epochs: 1\n  gradient_clip_val: 1.0\n"
        "explain:\n  enabled: false\ntracking:\n  figures: false\n  study: fuzz\n"
    )
    _train(world)
    for name, kind in KINDS.items():
        for file in kind.files:
            assert (world / _named(world, file)).is_file(), (name, file)


def _tables(files: object) -> dict[str, list[dict[str, object]]]:
    """Eleven clips in four forms, of ten patients, five of each class."""
    tables = files.cohort_tables()  # type: ignore[attr-defined]
    boxes = [row for row in tables["boxes"] if row["clip_id"] == "C4"]
    for number in range(5, 12):
        clip, patient = {"clip_id": f"C{number}"}, {"patient_id": f"P{number - 1}"}
        tables["clips"].append(tables["clips"][0] | clip | patient)
        tables["patients"].append(patient | {"grade": str(1 + number % 4), "center": "north"})
        tables["boxes"] += [row | clip for row in boxes]
    endings = ("avi", "avi", "mp4", "dcm", "dcm", *["avi"] * 6)
    for row, ending in zip(tables["clips"], endings, strict=True):
        row["path"] = f"clips/{row['clip_id']}.{ending}"
        row |= {"scanner": "one", "mm_per_pixel": "0.2", "start_s": "1"}
    return tables  # type: ignore[no-any-return]


def _train(world: Path) -> None:
    """A checkpoint of one short epoch, in a process of its own: forks want no threads of a training."""
    import subprocess

    words = [*FIT.split(), "--trainer.limit_train_batches=2"]
    code = "import sys; from mufnet_lightning.cli import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run(
        [sys.executable, "-c", code, *words], cwd=world, check=True, stdout=subprocess.DEVNULL
    )
    last = next((world / "mlruns").rglob("last.ckpt"), None) or next((world / "mlruns").rglob("*.ckpt"))
    shutil.copy(last, world / "last.ckpt")
    shutil.rmtree(world / "mlruns")


if __name__ == "__main__":
    sys.exit(main())
