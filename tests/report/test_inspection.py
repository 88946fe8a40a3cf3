"""The page of an inspection holds all that it shows, and says what was seen."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.report.inspection import render_inspection, write_inspection
from mufnet_lightning.store.inspection.findings import Inspection
from mufnet_lightning.store.inspection.gather import inspect_path

VOID = {"meta", "link", "img", "br"}


class Tags(HTMLParser):
    """Checks that tags are closed as they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.sources: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        self.sources += [source for name in ("src", "href") if (source := given.get(name))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def seen(whole_cohort: Path) -> Inspection:
    return inspect_path(whole_cohort)


def test_the_page_asks_for_nothing_and_leads_nowhere_else(seen: Inspection) -> None:
    tags = Tags(render_inspection(seen))
    assert {source.split(":")[0] for source in tags.sources if not source.startswith("#")} == {"data"}
    assert {source[1:] for source in tags.sources if source.startswith("#")} <= tags.ids


def test_every_finding_stands_on_top_and_in_its_section(seen: Inspection) -> None:
    html = render_inspection(seen)
    assert seen.is_spoilt  # three patients: five folds need more
    for finding in seen.findings:
        text = finding.sentence.split("'")[0]
        assert html.count(text) >= 2
        assert f'id="{finding.section}"' in html


def test_counts_are_those_of_the_tables(seen: Inspection) -> None:
    text = re.sub(r"<[^>]+>", " ", render_inspection(seen))
    words = " ".join(text.split())
    assert "low grade 2 2 6 6 1 1 0 0" in words  # patients, clips, pairs, both; of grades 1 to 4
    assert "high grade 1 2 6 6 0 0 1 0" in words
    assert "all 3 4 12 12 1 1 1 0" in words
    assert "north 1 0 0%" in words
    assert "cortical medullary" in words


def test_a_folder_that_cannot_be_read_gives_a_page(tmp_path: Path) -> None:
    seen = inspect_path(tmp_path)
    assert seen.is_spoilt
    Tags(render_inspection(seen))


def test_ids_are_shown_as_they_are(cohort: Path, tmp_path: Path) -> None:
    for name in ("patients.csv", "clips.csv"):
        text = (cohort / name).read_text().replace("P1", "<i>P1</i>")
        (cohort / name).write_text(text)
    html = render_inspection(inspect_path(cohort))
    assert "&lt;i&gt;P1&lt;/i&gt;" in html
    assert "<i>" not in html


def test_a_page_that_cannot_be_written_is_a_fault(seen: Inspection, tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="is a folder"):
        write_inspection(seen, tmp_path)
    with pytest.raises(InputFault, match="there is no folder"):
        write_inspection(seen, tmp_path / "no" / "page.html")
    assert write_inspection(seen, tmp_path / "page.html").is_file()
