"""A study, laid down in one YAML file: its arms, what is tested between them, and what is written.

study: kidney
config: [my]              # laid over every arm
settings:
  data.store: my_store
arms:
  bmode: {config: bmode}
  ceus: {config: ceus}
  fused: {config: fused, settings: {model.dropout: 0.5}}
grid:                     # every arm with each of these, and each combination of several
  model.encoder: [efficientnet_b3, resnet50]
seeds: [0]
reference: fused          # the others are tested against it; or planned: [[fused, ceus], ...]
patients: my_cohort/patients.csv
out: results
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.study_file import (
    ArmEntry,
    StudyFile,
    check_study,
    entry_of,
    flat,
    names_in,
    parsed_study,
)
from mufnet_lightning.system.configs import read_config
from mufnet_lightning.system.documents import parse_yaml
from mufnet_lightning.vocabulary import ARM_SIGNS, ARMS

MOST_ARMS = 200
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StudyArm:
    """An arm to be cross-validated.

    Attributes:
        name: of it.
        arguments: of `mufnet fit`.
        of_folds: what folds have beside it, each its own.
        tags: of the cross-validation's run.
    """

    name: str
    arguments: tuple[str, ...]
    of_folds: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StudySpec:
    """A study, laid down before anything is trained.

    Attributes:
        arms: in their order; all take the folds of the first one.
        planned: pairs of names that are tested; None: each two.
        patients: patients.csv in the cohort's folder; None where there is none.
        out: folder for tables, figures and report.
    """

    arms: tuple[StudyArm, ...]
    planned: Pairs | None = None
    patients: Path | None = None
    out: Path = Path("results")

    @classmethod
    def read(cls, file: Path, config: Sequence[str] = (), fit: Sequence[str] = ()) -> StudySpec:
        """Of a study file.

        Args:
            file: YAML, see the top of this module.
            config: configurations that are laid over the file's own.
            fit: further options of `mufnet fit`, of all arms.

        Raises:
            InputFault: it cannot be read, or what it says does not fit together.
        """
        content = read_config(file)
        try:
            said = parsed_study(content)
            return cls.of(replace(said, config=[*names_in(said.config), *config]), fit)
        except InputFault as fault:
            raise InputFault([f"{file}: {one}" for one in fault.faults]) from None

    @classmethod
    def of(cls, said: StudyFile, fit: Sequence[str] = ()) -> StudySpec:
        """Of what a study file says: every arm with each combination of the grid, and each seed.

        Raises:
            InputFault: it does not fit together.
        """
        check_study(said)
        combined = math.prod(map(len, (*said.grid.values(), *([said.seeds] if said.seeds else ()))))
        if combined * len(said.arms) > MOST_ARMS:
            raise InputFault(
                f"{len(said.arms)} arms with {combined} combinations each are more than {MOST_ARMS}"
            )
        cells = list(_cells(said))
        arms = []
        for cell in cells:
            for name, entry in said.arms.items():
                arms.append(StudyArm(cell.name(name), tuple(_words(said, name, entry, cell, fit))))
        names = [arm.name for arm in arms]
        for name in names:
            if not re.fullmatch(ARM_SIGNS, name) or parse_yaml(name) is None:
                raise InputFault(
                    f"an arm is called {name!r}, expected letters, digits, spaces and . _ + -, "
                    "80 at most"
                )
            if names.count(name) > 1:
                raise InputFault(f"two arms are called {name}")
        patients = None if said.patients is None else Path(said.patients)
        if patients is not None and not patients.is_file():
            raise InputFault(f"patients: there is no file {patients}")
        return cls(tuple(arms), _planned(said, cells, names), patients, Path(said.out))

    @classmethod
    def of_configurations(
        cls,
        arms: Sequence[str],
        config: Sequence[str] = (),
        fit: Sequence[str] = (),
        patients: Path | None = None,
        out: Path = Path("results"),
    ) -> StudySpec:
        """Of a configuration an arm.

        Args:
            arms: configurations by name or path.
            config: laid over each of them.
            fit: options of `mufnet fit`, of all arms.
            patients, out: see above.
        """
        names = [Path(arm).stem if Path(arm).suffix in (".yaml", ".yml") else arm for arm in arms]
        if len(set(names)) < len(names):
            names = [f"{Path(arm).parent.name} {name}" for arm, name in zip(arms, names, strict=True)]
        made = []
        for arm, name in zip(arms, names, strict=True):
            words = [*(f"--config={file}" for file in (arm, *config)), *fit]
            if name not in ARMS and re.fullmatch(ARM_SIGNS, name):
                words.append(f"--tracking.arm={name}")  # two of the same modalities are told apart
            made.append(StudyArm(name, tuple(words)))
        if len(set(names)) < len(names):
            raise InputFault(f"--arms: two are called {max(names, key=names.count)}")
        return cls(tuple(made), None, patients, out)


@dataclass(frozen=True)
class _Cell:
    """A combination of the grid, and a seed.

    Attributes:
        settings: values by setting.
        label: what an arm's name says of it: what is the same for all has no place there.
    """

    settings: Mapping[str, Any]
    label: str

    def name(self, arm: str) -> str:
        """Of an arm with it."""
        return f"{arm} {self.label}".strip()


def _cells(said: StudyFile) -> Iterator[_Cell]:
    axes = dict(said.grid)
    if said.seeds:
        axes["seed_everything"] = list(said.seeds)
    changing = [name for name, values in axes.items() if len(values) > 1]
    for values in itertools.product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        yield _Cell(settings, " ".join(_label(name, settings[name]) for name in changing))


def _label(setting: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    short = re.sub(r"[^\w.+-]+", "-", text)
    if isinstance(value, str):
        return short.strip("-")
    return f"{'seed' if setting == 'seed_everything' else setting.rpartition('.')[2]} {short}"


def _words(
    said: StudyFile, name: str, entry: ArmEntry | str, cell: _Cell, fit: Sequence[str]
) -> Iterator[str]:
    arm = entry_of(entry)
    for file in (*names_in(arm.config), *names_in(said.config)):
        yield f"--config={file}"
    settings = {**dict(flat(said.settings)), **dict(flat(arm.settings)), **cell.settings}
    for key, value in settings.items():
        yield f"--{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
    if said.study is not None:
        yield f"--tracking.study={said.study}"
    yield from fit
    yield f"--tracking.arm={cell.name(name)}"


def _planned(said: StudyFile, cells: Sequence[_Cell], names: Sequence[str]) -> Pairs | None:
    pairs = said.planned
    if said.reference is not None:
        pairs = [(said.reference, other) for other in said.arms if other != said.reference]
    if pairs is None:
        return None
    planned: list[tuple[str, str]] = []
    for a, b in pairs:
        if a in said.arms and b in said.arms:
            planned += [(cell.name(a), cell.name(b)) for cell in cells]
            continue
        strange = [name for name in (a, b) if name not in names]
        if strange and all(name in (*names, *said.arms) for name in (a, b)):
            raise InputFault(f"planned: {a} and {b}: two arms, or two arms with their combinations")
        if strange:
            known = ", ".join(dict.fromkeys((*said.arms, *names)))
            raise InputFault(f"planned: there is no arm {strange[0]} (there are {known})")
        planned.append((a, b))
    seen = set[frozenset[str]]()
    for a, b in planned:
        if a == b or frozenset((a, b)) in seen:
            raise InputFault(f"planned: {a} and {b} {'are one arm' if a == b else 'twice'}")
        seen.add(frozenset((a, b)))
    return tuple(planned)
