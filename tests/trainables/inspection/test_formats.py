"""The same data in each format show the same, declared or found in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from format_makers import Parts, as_coco, as_voc, as_yolo, parts_of

from trainables.inspection.folders import subject_of_folder
from trainables.inspection.inspection import Inspection, inspect_data

Inspect = Callable[..., Inspection]
FORMATS = {"coco": as_coco, "yolo": as_yolo, "voc": as_voc}


def shown(found: Inspection) -> dict[str, Any]:
    record = found.record()
    return {key: record[key] for key in ("refusals", "parts", "classes", "image_sizes", "leaks")}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_declared_format_shows_what_coco_shows(look: Inspect, tmp_path: Path, kind: str) -> None:
    make: Callable[[Path, Parts], dict[str, Any]] = FORMATS[kind]
    expected = look(as_coco(tmp_path / "expected", parts_of()))
    found = look(make(tmp_path / kind, parts_of()))
    assert shown(found) == shown(expected)
    assert not found.refusals
    assert len(found.pictures()) == 15


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_shows_it_too(tmp_path: Path, kind: str) -> None:
    FORMATS[kind](tmp_path, parts_of())
    subject = subject_of_folder(tmp_path)
    assert subject.data.kind == kind
    assert subject.notes[0].startswith("found: ")
    found = inspect_data(subject)
    assert {p.label: p.used for p in found.parts} == {"train": 8, "validation": 4, "test": 3}
    assert not found.findings


def test_a_folder_of_an_experiment_is_found(look: Inspect, tmp_path: Path) -> None:
    as_yolo(tmp_path, parts_of())
    found = look({"folder": str(tmp_path)})
    assert found.subject.data.kind == "yolo"
    assert found.subject.notes[0].startswith("found: ")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = look({"folder": str(empty)})
    assert len(refused.refusals) == 1
    assert "must hold COCO JSON" in refused.refusals[0]
