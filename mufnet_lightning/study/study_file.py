"""What stands in a study's YAML file, and whether it fits together."""

from __future__ import annotations

import json
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.system.configs import find_config, guard_settings
from mufnet_lightning.training.messages import one_sentence, suggestion

_OWN = {
    "seed_everything": "say it as `seeds`",
    "tracking.study": "say it as `study`",
    "tracking.arm": "it is the arm's name",
    **dict.fromkeys(
        ("tracking.parent_run", "tracking.run_name", "data.fold", "data.folds_from"),
        "the study gives it to each of its folds",
    ),
}
"""Settings that are not the study's jobs' to have."""


@dataclass(frozen=True)
class ArmEntry:
    """An arm as a file has it.

    Args:
        config: configurations by name or path, each laid over the one before.
        settings: of `mufnet fit`, by dotted name or nested.
    """

    config: list[str] | str = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyFile:
    """What stands in a study file.

    Args:
        arms: by name; a text alone is the configuration.
        study: name of the MLflow experiment; that of the configurations unless given.
        config: configurations that are laid over each arm's.
        settings: of `mufnet fit`, of all arms.
        grid: values of settings; every arm is trained with each combination of them.
        seeds: every arm is trained with each.
        reference: the arm that each other one is tested against.
        planned: the pairs of arms that are tested, where no reference says so; each two unless given.
        patients: patients.csv in the cohort's folder, for Table 1 and the report.
        out: folder for tables, figures and report.
    """

    arms: dict[str, ArmEntry | str]
    study: str | None = None
    config: list[str] | str = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    reference: str | None = None
    planned: list[tuple[str, str]] | None = None
    patients: str | None = None
    out: str = "results"


def parsed_study(content: Any) -> StudyFile:
    """What a YAML file says, by the types above.

    Raises:
        InputFault: it is no study, or has a key or a value of another kind.
    """
    from jsonargparse import ArgumentParser

    content = keys_of(content, StudyFile, "study", "`study`, `arms`")
    strange = (
        [str(name) for name in content["arms"] if not isinstance(name, str)]
        if isinstance(content.get("arms"), dict)
        else []
    )
    if strange:
        raise InputFault(f"arms: {strange[0]} is no text; put it in quotes")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StudyFile, "study_file")
    try:
        parsed = parser.parse_object({"study_file": deepcopy(content)})
    except (ArgumentError, TypeError, ValueError) as error:
        raise InputFault(one_sentence(str(error)).replace("study_file.", "")) from None
    # the values as they stand there: the parser would make a number of the text "1e3"
    arms = {
        name: arm if isinstance(arm, str) else ArmEntry(**not_given(arm or {}))
        for name, arm in content["arms"].items()
    }
    said = StudyFile(**{**content, "arms": arms, "seeds": list(parsed.study_file.seeds)})
    check_finite({"settings": said.settings, "grid": said.grid})
    return said


def not_given(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """What a file says, without the keys that are left blank."""
    return {name: value for name, value in content.items() if value is not None}


def check_study(said: StudyFile) -> None:
    """Find what does not fit together.

    Raises:
        InputFault: with all of it.
    """
    faults = []
    if not said.arms:
        faults.append("arms: there is none")
    entries = {f"arms.{name}.settings": entry_of(entry).settings for name, entry in said.arms.items()}
    for where, settings in {"settings": said.settings, "grid": said.grid, **entries}.items():
        for name, _ in flat(settings):
            if name in _OWN:
                faults.append(f"{where}: {name} has no place here; {_OWN[name]}")
    for name, values in said.grid.items():
        if not values:
            faults.append(f"grid: {name} has no values")
        elif len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
            faults.append(f"grid: {name} has a value twice")
    if len(set(said.seeds)) < len(said.seeds):
        faults.append("seeds: one is there twice")
    if said.reference is not None and said.planned is not None:
        faults.append("reference and planned are both given; one of them says what is tested")
    if said.reference is not None and said.reference not in said.arms:
        faults.append(f"reference: there is no arm {said.reference} (there are {', '.join(said.arms)})")
    of_arms = [name for entry in said.arms.values() for name in names_in(entry_of(entry).config)]
    for name in dict.fromkeys([*names_in(said.config), *of_arms]):
        try:
            find_config(name)
        except InputFault as fault:
            faults += fault.faults
    if faults:
        raise InputFault(faults)


def keys_of(content: Any, form: type, what: str, some: str) -> dict[Any, Any]:
    """What a YAML file says, by its first names, without what is null.

    Args:
        content: of the file.
        form: the dataclass whose fields it may have.
        what: it is called, as "study", which docs/WHAT.md tells of.
        some: of its names.

    Raises:
        InputFault: it is something else, or has a name that there is not.
    """
    if not isinstance(content, dict):
        raise InputFault(f"expected a {what}: {some} and what else docs/{what}.md has")
    given = not_given(content)
    names = [field.name for field in fields(form)]
    strange = [str(name) for name in given if name not in names]
    if strange:
        raise InputFault([f"there is no {one} in a {what}{suggestion(one, names)}" for one in strange])
    guard_settings()
    return given


def entry_of(entry: ArmEntry | str) -> ArmEntry:
    """An arm's entry; a text alone is its configuration."""
    return ArmEntry([entry]) if isinstance(entry, str) else entry


def names_in(names: Sequence[str] | str) -> list[str]:
    """One name, or several."""
    return [names] if isinstance(names, str) else list(names)


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted names; a class goes before its arguments."""
    first = {name: settings[name] for name in ("class_path",) if name in settings}
    for name, value in {**first, **settings}.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
