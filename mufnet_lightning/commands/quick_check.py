"""What is wrong with the options of a run, told before torch and Lightning are imported.

Names and plain types are checked by a parser of plain settings, made from the description of the real
one (see `schema`); then whether the store is there and has the fold. The real parser stays the judge:
whatever is more than plain (a class and its arguments, a file of a group's settings) is left to it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import get_loader

from mufnet_lightning.commands.options import Parser
from mufnet_lightning.commands.schema import SECTION_CLASSES, VerbSchema, schemas, type_of
from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.system.configs import config_layers
from mufnet_lightning.system.guards import LARGEST_SETTINGS, LARGEST_TABLE, read_text


def check_run(verb: str, words: Sequence[str], folds: Sequence[int] = ()) -> None:
    """Refuse options of `mufnet fit`, `validate`, `test` or `predict` that cannot be right.

    Args:
        verb: one of these.
        words: behind it.
        folds: of a cross-validation that are to be run.

    Raises:
        InputFault: an option or a setting is not known, a value is of another type, or there is no
            such configuration, checkpoint, store or fold.
        SystemExit: the help was asked for, and has been printed.
    """
    schema = schemas()[verb]
    options = list(_options(words))
    if any(name in ("-h", "--help") for name, _ in options):
        print(schema.help)
        raise SystemExit(0)
    if any(name.endswith(".help") for name, _ in options):
        return  # asks the real parser what a class takes
    given = _Given(schema)
    for name, value in options:
        if name == "--config" and value is not None:
            for file in config_layers(value):
                given.add_file(file)
        elif name.startswith("--") and name != "--print_config":
            given.add_option(name, value)
        elif not name.startswith("-"):
            given.add_word(name)
    given.check(verb)
    if any(name.startswith("--print_config") for name, _ in options):
        return  # whatever is to be printed, nothing is run
    _check_checkpoint(verb, given)
    if "data" not in given.opaque:
        _check_store(verb, given, folds)


class _Given:
    """What was given, without what the real parser alone can judge."""

    def __init__(self, schema: VerbSchema) -> None:
        self.schema = schema
        self.files: list[tuple[Path, dict[str, Any]]] = []
        self.words: list[tuple[str, str]] = []
        self.values = {setting.name: setting.default for setting in schema.settings}
        self.given: set[str] = set()
        self.opaque: set[str] = set()
        self._open = {setting.name for setting in schema.settings if setting.type is None}

    def add_word(self, word: str) -> None:
        """A word that is no option, nor the value of one."""
        self.words.append(("", word))

    def add_option(self, name: str, value: str | None) -> None:
        """An option; with a + it adds to a list."""
        plus = "+" if name.endswith("+") else ""
        setting = _without_class(name.removeprefix("--").removesuffix("+"))
        if self._is_whole(setting, value) or not self._is_plain(setting):
            return
        read = None if value is None else _scalar(value)
        if value is None or not self._is_unset(setting, read):
            text = "" if value is None else f"={value}"
            self.words.append((setting, f"--{setting}{plus}{text}"))
        if value is not None and not plus:
            self._set(setting, read)

    def add_file(self, file: Path) -> None:
        """A configuration file; one that is no mapping is left to the real parser."""
        content = get_loader("yaml")(read_text(file, LARGEST_SETTINGS))
        if isinstance(content, dict) and "arms" in content:
            raise InputFault(f"{file} is a study: `mufnet study {file}` runs it")
        if isinstance(content, dict) and "space" in content:
            raise InputFault(f"{file} is a sweep: `mufnet sweep {file}` runs it")
        if isinstance(content, dict):
            settings = dict(self._settings(content))
            self.files.append((file, settings))
            for name, value in settings.items():
                self._set(name, value)

    def check(self, verb: str) -> None:
        """Have names and plain values checked, file by file, then the options.

        Raises:
            InputFault: one cannot be right.
        """
        parser = Parser(prog=f"mufnet {verb}", allow_abbrev=False)
        parser.add_argument("--config", type=str)
        parser.also = [name for one in self.schema.settings for name in (one.name, *one.flags)]
        for setting in self.schema.settings:
            if setting.type is not None:
                parser.add_argument(*setting.flags, dest=setting.name, type=type_of(setting.type))
        for file, settings in self.files:
            judged = {
                name: value
                for name, value in settings.items()
                if not self._is_opaque(name) and not self._is_unset(name, value)
            }
            try:
                parser.parse_object(_nested(judged), defaults=False)
            except InputFault as fault:
                raise InputFault(f"{file}: {fault}") from None
        parser.parse_args([word for name, word in self.words if not self._is_opaque(name)])
        check_finite(self.values)

    def _settings(self, content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
        known = [setting.name for setting in self.schema.settings]
        for key, value in content.items():
            name = f"{above}{key}"
            inner = value
            if name in SECTION_CLASSES and isinstance(value, dict) and "class_path" in value:
                self._is_whole(name, None if "dict_kwargs" in value else value["class_path"])
                inner = value.get("init_args") or {}
            if isinstance(inner, dict) and any(one.startswith(f"{name}.") for one in known):
                yield from self._settings(inner, f"{name}.")
            elif not self._is_whole(name, inner) and self._is_plain(name):
                yield name, inner

    def _is_whole(self, name: str, value: Any) -> bool:
        """Whether it is a whole group, or its class; what is in it is known if the class is ours."""
        section = name.partition(".")[0]
        named = (section, f"{section}.class_path") if section in SECTION_CLASSES else ()
        if name in named and value in _class_names(section):
            return True
        if name in (*self.schema.groups, *named) or name.startswith(f"{section}.dict_kwargs"):
            self.opaque.add(section)
            return True
        return False

    def _is_plain(self, name: str) -> bool:
        return not any(name == one or name.startswith(f"{one}.") for one in self._open)

    def _is_unset(self, name: str, value: Any) -> bool:
        """The real parser lets null pass for any argument of a class."""
        return value is None and name.partition(".")[0] in SECTION_CLASSES and name in self.values

    def _is_opaque(self, name: str) -> bool:
        section = name.partition(".")[0]
        return section in SECTION_CLASSES and section in self.opaque

    def _set(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.given.add(name)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options with their values; a word that is neither stands alone."""
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-c"):
            name, equals, value = "--config", "=" if word[2:] else "", word[2:].removeprefix("=")
        if equals:
            yield name, value
        elif (
            name.startswith("--")
            and not name.endswith(".help")
            and name not in ("--help", "--print_config")
        ):
            yield name, remaining.pop(0) if remaining and not remaining[0].startswith("--") else None
        else:
            yield name, None


def _scalar(text: str) -> Any:
    import yaml

    try:
        return get_loader("yaml")(text)
    except (yaml.YAMLError, ValueError):
        return text


def _without_class(name: str) -> str:
    section, _, rest = name.partition(".")
    return (
        f"{section}.{rest.removeprefix('init_args.')}" if section in SECTION_CLASSES and rest else name
    )


def _class_names(section: str) -> tuple[str, str]:
    path = SECTION_CLASSES[section]
    return path, path.rpartition(".")[2]


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        *above, last = name.split(".")
        inner = nested
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def _check_checkpoint(verb: str, given: _Given) -> None:
    reference = given.values.get("ckpt_path")
    if reference is None and verb != "fit":
        other = "; or --run RUN --store DIR, another cohort" if verb == "test" else ""
        raise InputFault(f"{verb} needs --ckpt_path: a checkpoint file, or runs:/ID of a run{other}")
    if isinstance(reference, str) and Path(reference).suffix and not Path(reference).is_file():
        raise InputFault(f"{reference}: there is no such file")


def _check_store(verb: str, given: _Given, folds: Sequence[int]) -> None:
    """Only where the settings say it: a checkpoint may bring both."""
    values = given.values
    if verb != "fit" and not given.files and "data.store" not in given.given:
        return
    store = Path(str(values["data.store"]))
    StoreInfo.read(store)
    if verb != "fit" or values.get("ckpt_path") is not None or values["data.folds_from"] is not None:
        return
    count = _fold_count(values["data.protocol"], values["data.n_folds"], store)
    if count is None:
        return
    fold = values["data.fold"]
    if isinstance(fold, int) and not 0 <= fold < count:
        raise InputFault(f"data.fold is {fold}, but the folds are 0 to {count - 1}")
    for fold in folds:
        if not 0 <= fold < count:
            raise InputFault(f"--fold {fold}: the folds are {', '.join(map(str, range(count)))}")


def _fold_count(protocol: Any, n_folds: Any, store: Path) -> int | None:
    if protocol != "center":
        return n_folds if isinstance(n_folds, int) and n_folds > 1 else None
    try:
        text = read_text(store / "manifest.csv", LARGEST_TABLE)
        centers = {row.get("center") for row in csv.DictReader(io.StringIO(text, newline=""))}
    except (OSError, ValueError, csv.Error):  # whoever opens the store says why
        return None
    return len(centers) if len(centers) > 1 and not centers & {"", None} else None
