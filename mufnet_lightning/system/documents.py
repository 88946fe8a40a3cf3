"""YAML and JSON from outside, within bounds: their depth, what aliases stand for, no key twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

DEEPEST = 50
"""Lists and mappings inside one another."""
MOST_NODES = 100_000
"""Values of a YAML document, those that aliases repeat counted each time."""


class DocumentError(ValueError):
    """A text that is no YAML or JSON, or not within bounds: `has lr twice, in lines 1 and 2`."""


def parse_yaml(text: str) -> Any:
    """What a YAML text holds, as plain values.

    Raises:
        DocumentError: it is no YAML, has a key twice, or nests or repeats itself without measure.

    >>> parse_yaml("a: [1, 2]")
    {'a': [1, 2]}
    >>> parse_yaml("lr: 1\\nlr: 2")
    Traceback (most recent call last):
    mufnet_lightning.system.documents.DocumentError: has lr twice, in lines 1 and 2
    """
    import yaml

    check_yaml(text)
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML's constructors raise whatever Python's do
        raise DocumentError(f"is not YAML: {' '.join(str(error).split())}") from None


def check_yaml(text: str) -> None:
    """Refuse a YAML text that is none, or not within bounds, before anything is made of it.

    Raises:
        DocumentError: as `parse_yaml` says.
    """
    import yaml

    try:
        _walk(yaml.SafeLoader(text))
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"is not YAML: {' '.join(str(error).split())}") from None


class _Open:
    """A list or a mapping whose end has not come yet."""

    def __init__(self, is_mapping: bool, anchor: str | None) -> None:
        self.anchor = anchor
        self.keys: dict[tuple[str, str], int] | None = {} if is_mapping else None
        self.children = 0
        self.size = 1


def _walk(loader: yaml.SafeLoader) -> None:
    """Go through the events of a document: they come one by one, however deep it nests."""
    import yaml

    open_: list[_Open] = []
    sizes: dict[str, int] = {}
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) == DEEPEST:
                raise DocumentError(f"nests deeper than {DEEPEST} lists or mappings, in line {line}")
            open_.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
            continue
        size = 1
        anchor: str | None = None
        if isinstance(event, yaml.CollectionEndEvent):
            ended = open_.pop()
            size, anchor = ended.size, ended.anchor
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise DocumentError(f"has an alias *{event.anchor} of nothing yet, in line {line}")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor = event.anchor
            if open_ and open_[-1].keys is not None and open_[-1].children % 2 == 0:
                tag = event.tag or loader.resolve(yaml.ScalarNode, event.value, event.implicit)
                key, keys = (str(tag), event.value), open_[-1].keys
                if key in keys:
                    name = event.value[:60]
                    raise DocumentError(f"has {name} twice, in lines {keys[key]} and {line}")
                keys[key] = line
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if open_:
            open_[-1].children += 1
            open_[-1].size += size
            size = open_[-1].size
        if size > MOST_NODES:
            raise DocumentError(f"has more than {MOST_NODES:,} values, in line {line}")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds, as plain values.

    Raises:
        DocumentError: it is no JSON, has a key twice in one object, or nests too deep.

    >>> parse_json('{"id": "one", "id": "two"}')
    Traceback (most recent call last):
    mufnet_lightning.system.documents.DocumentError: has "id" twice in one object
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except DocumentError:
        raise
    except json.JSONDecodeError as error:
        raise DocumentError(f"is not JSON: line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise DocumentError("nests too deep") from None
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise DocumentError(f"is not JSON: {error}") from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DocumentError(f'has "{twice[:60]}" twice in one object')
    return content
