from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from data_makers import box, coco_folder, mask_folder, workload

from trainables.inspection.inspection import Inspection, Subject, inspect_data
from trainables.specs.workload import ModelSpec, Task
from tuning.cli.files.inspection_page import inspection_page
from tuning.cli.files.inspection_text import inspection_lines

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect"}


class Checked(HTMLParser):
    """Collects what is checked of a page: tags, alternative texts, ids, and resources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.alts.append(given.get("alt") or "")
            self.sources.append(given.get("src") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def found(data: dict[str, Any], task: Task = Task.DETECTION, model: str | None = None) -> Inspection:
    whole = workload(task, data)
    named = None if model is None else ModelSpec(name=model)
    return inspect_data(Subject("mine <b>", task, whole.data, model=named, workload=whole))


def page_of(inspection: Inspection) -> tuple[str, Checked]:
    page = inspection_page(inspection, inspection.pictures())
    checked = Checked()
    checked.feed(page)
    checked.close()
    return page, checked


@pytest.fixture
def faulty(tmp_path: Path) -> Inspection:
    odd = [box(i, [4, 5, 12, 10] if i else [50, 5, 30, 10]) for i in range(6)]
    part = coco_folder(tmp_path, 6, annotations=odd)
    (tmp_path / "images" / "image_005.png").unlink()
    return found({"coco": {"train": part}}, model="embedded")


def test_the_page_is_valid_and_needs_nothing_else(faulty: Inspection) -> None:
    page, checked = page_of(faulty)
    assert checked.open == []
    assert len(checked.ids) == len(set(checked.ids))
    assert checked.sources
    assert all(source.startswith("data:image/") for source in checked.sources)
    assert all(link.startswith("#") for link in checked.links)
    assert {link[1:] for link in checked.links} <= set(checked.ids)
    assert not re.search(r"(src|href)=\"https?:|url\((?!#)|@import|<script", page)
    assert 'name="viewport"' in page  # readable on a phone
    assert "<title>mine &lt;b&gt; – inspection of data</title>" in page


def test_every_picture_has_a_text(faulty: Inspection) -> None:
    _, checked = page_of(faulty)
    assert len(checked.alts) == 6
    assert all(re.match(r"(train|validation|test) image_00\d\.png: ", alt) for alt in checked.alts)
    assert any(
        "no picture, as the image cannot be read. missing_file: there is no file" in a for a in checked.alts
    )


def test_refusals_faults_and_signs_are_on_the_page(faulty: Inspection) -> None:
    page, _ = page_of(faulty)
    assert "Training would refuse these data (1 reason)." in page
    assert "must have no errors with the rule &#39;stop&#39;, got 1" in page
    assert "passes the border of 60×40 pixels" in page
    assert "With errors" in page
    assert "ids of categories have gaps" in page


def test_a_page_of_masks(tmp_path: Path) -> None:
    inspection = found(
        {"masks": {"train": mask_folder(tmp_path, 6), "classes": ["background", "cell"]}}, Task.SEGMENTATION
    )
    page, checked = page_of(inspection)
    assert checked.open == []
    assert "Share of all pixels by class" in page
    assert "No model is named" in page


def test_a_page_of_nothing(tmp_path: Path) -> None:
    part = {"images": str(tmp_path / "no"), "annotations": str(tmp_path / "no.json")}
    inspection = found({"coco": {"train": part}})
    page, checked = page_of(inspection)
    assert checked.open == []
    assert "No image was found." in page
    assert "annotations must be a COCO JSON file" in page


def test_a_class_that_ends_with_a_blank_is_quoted(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 4)
    file = Path(part["annotations"])
    file.write_text(file.read_text().replace('"cat"', '"cat "'))
    inspection = found({"coco": {"train": part}})
    assert any(line.startswith("  'cat '") for line in inspection_lines(inspection))
    assert "&#39;cat &#39;" in page_of(inspection)[0]
