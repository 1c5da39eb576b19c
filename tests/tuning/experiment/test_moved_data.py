"""Which paths of an experiment move with its data, and which moves are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import experiment

from trainables.errors import AdaptertuneError
from tuning.experiment.moved_data import (
    absent_paths,
    check_moves,
    data_paths,
    moves_between,
    read_moves,
    with_moved_data,
)
from tuning.experiment.spec import Experiment


def coco(root: str) -> dict[str, str]:
    return {"images": f"{root}/images", "annotations": f"{root}/boxes.json"}


def masks(root: str) -> dict[str, str]:
    return {"images": f"{root}/images", "masks": f"{root}/masks"}


def of(data: dict[str, Any], **parts: Any) -> Experiment:
    task = "segmentation" if "masks" in data else "detection"
    metric = "dice" if "masks" in data else "map"
    return experiment(data=data, task=task, objective={"metric": metric}, **parts)


COCO = of(
    {
        "coco": {"train": coco("/a/train"), "test": coco("/b")},
        "domains": {"dim": {"coco": coco("/a/dim"), "validation": {"coco": coco("/a/dim/more")}}},
    }
)
MASKS = of({"masks": {"train": masks("/a"), "validation": masks("/a"), "classes": ["x", "y"]}})
VOC = of(
    {
        "voc": {"train": {"images": "/a/images", "annotations": "/a/xml", "list": "/a/train.txt"}},
        "domains": {"dim": {"voc": {"images": "/b/images", "annotations": "/b/xml"}}},
    }
)
YOLO = of({"yolo": {"file": "/a/data.yaml"}, "domains": {"dim": {"yolo": {"file": "/b/data.yaml"}}}})
HUB = of({"hub": {"path": "/a/copy"}}, model={"name": "/models/vit"})


def test_every_path_of_the_data_is_known() -> None:
    assert data_paths(COCO) == {
        "data.coco.train.images": "/a/train/images",
        "data.coco.train.annotations": "/a/train/boxes.json",
        "data.coco.test.images": "/b/images",
        "data.coco.test.annotations": "/b/boxes.json",
        "data.domains.dim.coco.images": "/a/dim/images",
        "data.domains.dim.coco.annotations": "/a/dim/boxes.json",
        "data.domains.dim.validation.coco.images": "/a/dim/more/images",
        "data.domains.dim.validation.coco.annotations": "/a/dim/more/boxes.json",
    }
    assert set(data_paths(MASKS).values()) == {"/a/images", "/a/masks"}
    assert data_paths(HUB) == {"data.hub.path": "/a/copy", "model.name": "/models/vit"}
    assert data_paths(VOC) == {
        "data.voc.train.images": "/a/images",
        "data.voc.train.annotations": "/a/xml",
        "data.voc.train.list": "/a/train.txt",
        "data.domains.dim.voc.images": "/b/images",
        "data.domains.dim.voc.annotations": "/b/xml",
    }
    assert data_paths(YOLO) == {
        "data.yolo.file": "/a/data.yaml",
        "data.domains.dim.yolo.file": "/b/data.yaml",
    }
    assert data_paths(of({"folder": "/a/set"})) == {"data.folder": "/a/set"}
    assert data_paths(of({"labelme": {"train": {"folder": "/a"}}})) == {"data.labelme.train.folder": "/a"}
    assert data_paths(of({"hub": {"path": "owner/name"}})) == {}
    assert data_paths(experiment()) == {}


def test_all_that_lies_below_moves_and_nothing_else() -> None:
    moved = data_paths(with_moved_data(COCO, [{"/a": "/new/a"}]))
    assert set(moved.values()) == {
        path.replace("/a/", "/new/a/") if path.startswith("/a/") else path
        for path in data_paths(COCO).values()
    }
    assert with_moved_data(COCO, [{"/a/tra": "/c", "/b/imag": "/c"}]) == COCO  # no folder's name
    file = with_moved_data(COCO, [{"/b/boxes.json": "/c/others.json"}])
    assert data_paths(file)["data.coco.test.annotations"] == "/c/others.json"
    assert data_paths(with_moved_data(HUB, [{"/": "/root"}])) == {
        "data.hub.path": "/root/a/copy",
        "model.name": "/root/models/vit",
    }


def test_the_longest_old_place_counts_and_moves_may_swap() -> None:
    moved = data_paths(with_moved_data(COCO, [{"/a": "/c", "/a/dim": "/d"}]))
    assert moved["data.coco.train.images"] == "/c/train/images"
    assert moved["data.domains.dim.coco.images"] == "/d/images"
    swapped = data_paths(with_moved_data(COCO, [{"/a/train": "/b", "/b": "/a/train"}]))
    assert swapped["data.coco.train.images"] == "/b/images"
    assert swapped["data.coco.test.images"] == "/a/train/images"


def test_one_move_follows_another() -> None:
    twice = with_moved_data(MASKS, [{"/a": "/b"}, {}, {"/b": "/c"}])
    assert set(data_paths(twice).values()) == {"/c/images", "/c/masks"}
    assert with_moved_data(MASKS, []) is MASKS


# --- what a user gives ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("/a=/c", ("/a", "/c")),
        ("/a/=/c/", ("/a/", "/c/")),
        ("/a=/c=1/d", ("/a", "/c=1/d")),
        ("/elsewhere=/c", ("/elsewhere", "/c")),
    ],
)
def test_old_and_new_are_read(text: str, pair: tuple[str, str]) -> None:
    assert read_moves([text], MASKS) == dict([pair])


def test_an_equals_sign_may_be_in_the_old_path_too() -> None:
    hive = of({"masks": {"train": masks("/a/day=1"), "classes": ["x", "y"]}})
    assert read_moves(["/a/day=1=/b/day=2"], hive) == {"/a/day=1": "/b/day=2"}


@pytest.mark.parametrize("text", ["", "=", "/a", "/a=", "=/a"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(AdaptertuneError, match="must be OLD=NEW"):
        read_moves([text], MASKS)


def test_one_place_may_not_be_given_twice() -> None:
    with pytest.raises(AdaptertuneError, match="names /a/ twice"):
        read_moves(["/a=/b", "/a/=/c"], MASKS)


def test_an_old_place_without_data_is_refused_with_the_paths(tmp_path: Path) -> None:
    with pytest.raises(AdaptertuneError, match=r"(?s)/x is not where data .*train\.images: /a/images"):
        check_moves({"/x": tmp_path}, MASKS)
    with pytest.raises(AdaptertuneError, match="it has no data in files"):
        check_moves({"/x": tmp_path}, experiment())


def test_a_new_place_where_nothing_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdaptertuneError, match=r"nothing is at .*nowhere"):
        check_moves({"/a": tmp_path / "nowhere"}, MASKS)


@pytest.mark.parametrize("pair", [("/a", 3), ("", "/b"), (None, "/b"), ("/a", "")])
def test_what_is_no_path_is_refused(pair: tuple[Any, Any]) -> None:
    with pytest.raises(AdaptertuneError, match="need two paths"):
        check_moves(dict([pair]), MASKS)


def test_places_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    given = of({"masks": {"train": masks(str(tmp_path / "old")), "classes": ["x", "y"]}})
    assert check_moves({"old/": "./new"}, given) == {str(tmp_path / "old"): str(tmp_path / "new")}


def test_absent_paths_are_those_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    given = of({"masks": {"train": masks(str(tmp_path)), "classes": ["x", "y"]}})
    assert absent_paths(given) == {"data.masks.train.masks": f"{tmp_path}/masks"}


# --- what a file says -------------------------------------------------------------------------


def test_the_moves_between_two_files() -> None:
    there = of({"masks": {"train": masks("/b"), "validation": masks("/b"), "classes": ["x", "y"]}})
    found = moves_between(MASKS, there)
    assert found == {"/a/images": "/b/images", "/a/masks": "/b/masks"}
    assert with_moved_data(MASKS, [found]) == there
    assert moves_between(MASKS, MASKS) == {}


def test_one_place_that_becomes_two_is_no_move() -> None:
    parted = of({"masks": {"train": masks("/a"), "validation": masks("/b"), "classes": ["x", "y"]}})
    assert moves_between(MASKS, parted) is None
    assert moves_between(MASKS, COCO) is None
