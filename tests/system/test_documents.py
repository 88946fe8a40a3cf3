"""YAML and JSON that would take a machine down are refused while they are read."""

from __future__ import annotations

import time

import jsonargparse
import pytest
import yaml

from mufnet_lightning.system.configs import guard_settings
from mufnet_lightning.system.documents import MOST_NODES, DocumentError, parse_json, parse_yaml

LAUGHS = "\n".join(
    ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)
BLOCKS = "".join(f"{' ' * depth}a:\n" for depth in range(3_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, rf"has more than {MOST_NODES:,} values, in line 6"),
        ("[" * 100_000, "nests deeper than 50 lists or mappings, in line 1"),
        ("{a: " * 100_000, "nests deeper than 50"),
        (BLOCKS, "nests deeper than 50 lists or mappings, in line 51"),
        ("a: &a [*a]", r"has an alias \*a of nothing yet, in line 1"),
        ("model:\n  lr: 1\n  gamma: 2\n  lr: 3\n", "has lr twice, in lines 2 and 4"),
        ('a: {lr: 1, "lr": 2}', "has lr twice, in lines 1 and 1"),
        ("a: [1", "is not YAML: "),
        ("a: \0", "is not YAML: "),
        ("a: 2023-99-99", "is not YAML: month must be in 1..12"),
        ("a: !!python/object:os.system {}", "is not YAML: could not determine a constructor"),
        ("a: !!int ''", "is not YAML: "),
    ],
)
def test_yaml_is_refused_with_its_line(text: str, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(DocumentError, match=reason):
        parse_yaml(text)
    assert time.process_time() - began < 2


def test_yaml_that_people_write_is_read() -> None:
    text = "base: &base {lr: 1, k: [1, 2]}\nmine: {<<: *base, lr: 2}\n1: a\n'1': b\n"
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nests too deep"),
        ('{"id": "a",\n"id": "b"}', 'has "id" twice in one object'),
        ('{"a": {"b": 1, "b": 2}}', 'has "b" twice'),
        ('{"a":\n1', "is not JSON: line 2"),
        ("9" * 5_000, "is not JSON: Exceeds the limit"),
        (b'{"a": "\xff"}', "is not JSON: 'utf-8' codec"),
    ],
)
def test_json_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_json(text)


def test_values_of_the_command_line_are_read_within_the_same_bounds() -> None:
    guard_settings()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--a", type=list[int])
    assert parser.parse_args(["--a=[1, 2]"]).a == [1, 2]
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000):  # libyaml's recursion ends the process
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_args([f"--a={text}"])
