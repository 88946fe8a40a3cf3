"""A comparison as the MLflow UI shows it: Markdown, in the length that MLflow keeps."""

from __future__ import annotations

from dataclasses import dataclass

from mufnet_lightning.evaluation.text import markdown_table, names_text
from mufnet_lightning.study.table_two import OPTIMISM, RATE_TESTS, Comparison
from mufnet_lightning.tracking.notes import NOTE_LENGTH

ARMS_FILE = "arms.json"
"""Of each arm its run's id, or what else it was read from."""


@dataclass(frozen=True)
class _Block:
    """A part of the note, and what stands there where there is no room for it."""

    text: str
    instead: str = ""


def comparison_note(comparison: Comparison) -> str:
    """Tables with links to the runs that are compared; the longest are named where there is no room.

    Args:
        comparison: of any number of arms.
    """
    blocks = list(_blocks(comparison))
    while len(_joined(blocks)) > NOTE_LENGTH:
        longest = max(blocks, key=lambda block: len(block.text) if block.instead else 0)
        if not longest.instead:
            break
        blocks[blocks.index(longest)] = _Block(longest.instead)
    return _joined(blocks)


def _joined(blocks: list[_Block]) -> str:
    return "\n\n".join(block.text for block in blocks)


def _blocks(comparison: Comparison) -> list[_Block]:
    result = comparison.result
    tests = "the planned paired tests" if result.planned else "the paired test of each two"
    arms = names_text([f"**{arm.name}**" for arm in comparison.arms])
    opening = (
        f"{arms} on the same test patients and images: each arm's AUC and rates, and "
        f"below them {tests}. "
        if result.tests
        else f"{arms} on its test patients: AUC and rates. "
    )
    flattered = [arm.name for arm in result.arms if arm.chosen]
    if flattered:
        opening = (
            f"**{names_text(flattered)}: selected on test patients, so the numbers flatter.** {opening}"
        )
    blocks = [
        _Block(opening + comparison.caption()),
        _table(markdown_table(comparison.table()), "compare.csv"),
    ]
    if result.tests:
        blocks += [
            _Block(comparison.tests_caption()),
            _table(markdown_table(comparison.tests()), "tests.csv"),
        ]
    rate_tests = comparison.rate_tests()
    if not rate_tests.empty:
        blocks += [_Block(RATE_TESTS), _table(markdown_table(rate_tests), "rate_tests.csv")]
    selection = comparison.selection()
    if selection is not None:
        blocks += [_Block(OPTIMISM), _table(markdown_table(selection), "selection.csv")]
    for one in comparison.subgroups:
        blocks += [_Block(one.caption()), _table(markdown_table(one.frame()), "subgroups.csv")]
    notes = [f"- {note}" for note in comparison.notes()]
    if notes:
        instead = f"*{len(notes)} notes are in this run's `compare.json`.*"
        blocks.append(_Block("\n".join(notes), instead))
    instead = f"*What each arm was read from is in this run's `{ARMS_FILE}`.*"
    return [*blocks, _Block(_links(comparison), instead)]


def _table(text: str, file: str) -> _Block:
    return _Block(text, f"*There is no room here: see this run's `{file}`.*")


def _links(comparison: Comparison) -> str:
    """Of each arm a line with its name, and a link to its run or what it was read from."""
    lines = []
    for arm in comparison.arms:
        where = arm.reference
        if arm.run:
            link = f"#/experiments/{arm.run.experiment_id}/runs/{arm.run.id}"
            where = f"[{arm.run.name}]({link})"
        lines.append(f"- {arm.name}: {where}")
    return "\n".join(lines)
