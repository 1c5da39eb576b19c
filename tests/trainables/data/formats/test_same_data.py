"""The same boxes, and the same masks, written in each format: what is prepared is the same to the bit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_makers import noise, prepared
from format_makers import CLASSES, Parts, as_coco, as_hub, as_labelme, as_voc, as_yolo, parts_of
from PIL import Image

from trainables.data.prepared import Prepared
from trainables.data.resize import Resize
from trainables.specs.data import Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)
Maker = Callable[[Path, Parts], dict[str, Any]]
FORMATS: dict[str, Maker] = {
    "yolo": as_yolo,
    "voc": as_voc,
    "labelme": as_labelme,
    "hub xyxy": as_hub,
    "hub xywh": partial(as_hub, form="xywh"),
    "hub xyxy without areas": partial(as_hub, areas=False),
    "hub xywh without areas": partial(as_hub, form="xywh", areas=False),
}


def rows_of(held: Prepared, split: Split) -> list[tuple[bytes, bytes, bytes, bytes, bytes]]:
    """Each image of a split as stored: pixels, boxes, classes, areas, crowds."""
    part = held.splits[split]
    return [
        (
            part.image(i).tobytes(),
            part.boxes(i).tobytes(),
            part.labels(i).tobytes(),
            part.areas(i).tobytes(),
            part.crowds(i).tobytes(),
        )
        for i in range(len(part))
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_whole_boxes_are_the_same_to_the_bit_in_each_format(tmp_path: Path, name: str) -> None:
    """In images of 64×32 pixels, so that shares of them are exact."""
    parts = parts_of()
    first = prepared(Task.DETECTION, as_coco(tmp_path / "coco", parts), SIZE)
    other = prepared(Task.DETECTION, FORMATS[name](tmp_path / "other", parts), SIZE)
    assert first.classes == other.classes == CLASSES
    assert first.meta["boxes"] == other.meta["boxes"]
    assert sum(first.meta["boxes"].values()) > 15
    assert other.meta["faults"] == []
    for split in Split:
        assert rows_of(first, split) == rows_of(other, split)


@pytest.mark.parametrize("name", ["voc", "labelme", "hub xyxy", "hub xywh"])
def test_quarters_of_pixels_are_the_same_to_the_bit_where_pixels_are_written(
    tmp_path: Path, name: str
) -> None:
    parts = parts_of(height=48, width=61, whole=False)
    first = prepared(Task.DETECTION, as_coco(tmp_path / "coco", parts), SIZE)
    other = prepared(Task.DETECTION, FORMATS[name](tmp_path / "other", parts), SIZE)
    for split in Split:
        assert rows_of(first, split) == rows_of(other, split)


@pytest.mark.parametrize(("digits", "rounding"), [(None, 0.0), (10, 0.5e-10), (6, 0.5e-6)])
def test_shares_of_other_images_are_the_same_but_for_their_digits(
    tmp_path: Path, digits: int | None, rounding: float
) -> None:
    """To within 1e-6 pixels plus the rounding of a share: half a unit of its last digit times the side, and
    for the upper left corner half of that of the side as well.
    """
    parts = parts_of(height=333, width=641, whole=False)
    first = prepared(Task.DETECTION, as_coco(tmp_path / "coco", parts), SIZE)
    other = prepared(Task.DETECTION, as_yolo(tmp_path / "yolo", parts, digits), SIZE)
    compared = 0
    for split in Split:
        for i in range(len(first.splits[split])):
            ours, theirs = (held.splits[split].boxes(i) for held in (first, other))
            allowed = 1e-6 + 1.5 * rounding * np.array([641, 333, 641, 333])
            assert (np.abs(ours - theirs) <= allowed).all()
            compared += len(ours)
    assert compared > 15


# --- masks ------------------------------------------------------------------------------------

Polygons = list[tuple[int, list[tuple[float, float]]]]
"""Objects in the order in which they are drawn: class index among CLASSES, and corners."""


def rectangles(number: int) -> Polygons:
    """Some rectangles of whole pixels that lie over each other."""
    rng = np.random.default_rng(number)
    found: Polygons = []
    for _ in range(4):
        w, h = (int(v) for v in rng.integers(4, 20, 2))
        x, y = int(rng.integers(0, 64 - w + 1)), int(rng.integers(0, 32 - h + 1))
        found.append((int(rng.integers(3)), [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]))
    return found


def discs(number: int) -> Polygons:
    """Two discs side by side, as polygons of 90 corners."""
    rng = np.random.default_rng(number)
    angles = np.arange(90) * (2 * np.pi / 90)
    found: Polygons = []
    for side in (0, 32):
        radius = float(rng.uniform(5, 13))
        x, y = side + float(rng.uniform(radius, 32 - radius)), float(rng.uniform(radius, 32 - radius))
        corners = [(x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a in angles]
        found.append((int(rng.integers(3)), corners))
    return found


def index_mask(polygons: Polygons) -> np.ndarray[Any, Any]:
    """(32, 64) uint8: 0 the background; pixels whose centre an object covers, later ones over earlier."""
    rows, columns = np.mgrid[0:32, 0:64] + 0.5
    mask = np.zeros((32, 64), np.uint8)
    for label, corners in polygons:
        inside = np.zeros((32, 64), bool)
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if y0 != y1:
                crosses = (rows < y0) != (rows < y1)
                inside ^= crosses & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        mask[inside] = label + 1
    return mask


NAMES = ["background", *CLASSES]
NUMBERS = range(10)


def mask_files(root: Path, objects: Callable[[int], Polygons], palette: bool) -> dict[str, Any]:
    images, masks = root / "images", root / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    for number in NUMBERS:
        noise(number, 32, 64).save(images / f"{number:03d}.png")
        drawn = Image.fromarray(index_mask(objects(number)))
        if palette:
            drawn.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
            assert drawn.mode == "P"
        drawn.save(masks / f"{number:03d}.png")
    return {"masks": {"train": {"images": str(images), "masks": str(masks)}, "classes": NAMES}}


def coco_masks(root: Path, objects: Callable[[int], Polygons], runs: bool) -> dict[str, Any]:
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for number in NUMBERS:
        noise(number, 32, 64).save(root / f"images/{number:03d}.png")
        images.append({"id": number, "file_name": f"{number:03d}.png", "height": 32, "width": 64})
        for label, corners in objects(number):
            outline: Any = [[value for corner in corners for value in corner]]
            if runs:
                down = index_mask([(0, corners)]).T.ravel()
                ends = np.flatnonzero(np.diff(np.concatenate([[0], down, [0]])))
                counts = np.diff(np.concatenate([[0], ends, [down.size]]))
                outline = {"size": [32, 64], "counts": [int(count) for count in counts]}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label,
                    "segmentation": outline,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    held = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(held))
    return {"coco": {"train": {"images": str(root / "images"), "annotations": str(root / "a.json")}}}


def yolo_masks(root: Path, objects: Callable[[int], Polygons]) -> dict[str, Any]:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in NUMBERS:
        noise(number, 32, 64).save(root / f"images/{number:03d}.png")
        lines = [
            " ".join([str(label), *(f"{x / 64!r} {y / 32!r}" for x, y in corners)])
            for label, corners in objects(number)
        ]
        (root / f"labels/{number:03d}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(f"train: images\nnames: [{', '.join(CLASSES)}]\n")
    return {"yolo": {"file": str(root / "data.yaml")}}


def labelme_masks(root: Path, objects: Callable[[int], Polygons]) -> dict[str, Any]:
    root.mkdir(parents=True)
    for number in NUMBERS:
        noise(number, 32, 64).save(root / f"{number:03d}.png")
        shapes = [
            {"label": CLASSES[label], "points": [list(corner) for corner in corners], "shape_type": "polygon"}
            for label, corners in objects(number)
        ]
        held = {"shapes": shapes, "imagePath": f"{number:03d}.png", "imageHeight": 32, "imageWidth": 64}
        (root / f"{number:03d}.json").write_text(json.dumps(held))
    return {"labelme": {"train": {"folder": str(root)}, "classes": NAMES}}


def hub_masks(root: Path, objects: Callable[[int], Polygons]) -> dict[str, Any]:
    def png(image: Image.Image) -> dict[str, Any]:
        file = io.BytesIO()
        image.save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    held = [
        {
            "image": png(noise(number, 32, 64)),
            "label": png(Image.fromarray(index_mask(objects(number)))),
            "image_id": f"{number:03d}.png",  # the name, by which splits are drawn
        }
        for number in NUMBERS
    ]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Image(), "image_id": datasets.Value("string")}
    )
    datasets.Dataset.from_list(held, features).save_to_disk(root / "saved")
    return {"hub": {"path": str(root / "saved"), "classes": NAMES}}


MaskMaker = Callable[[Path, Callable[[int], Polygons]], dict[str, Any]]
MASKS: dict[str, MaskMaker] = {
    "palette PNG": partial(mask_files, palette=True),
    "hub column": hub_masks,
    "COCO runs": partial(coco_masks, runs=True),
}
POLYGONS: dict[str, MaskMaker] = {
    "COCO polygons": partial(coco_masks, runs=False),
    "YOLO polygons": yolo_masks,
    "LabelMe polygons": labelme_masks,
}


def both(tmp_path: Path, make: MaskMaker, objects: Callable[[int], Polygons]) -> list[Prepared]:
    """Index PNGs and another format, prepared."""
    sections = [mask_files(tmp_path / "index", objects, palette=False), make(tmp_path / "other", objects)]
    return [prepared(Task.SEGMENTATION, section, SIZE) for section in sections]


@pytest.mark.parametrize("name", [*MASKS, *POLYGONS])
def test_masks_of_whole_pixels_are_the_same_to_the_bit_in_each_format(tmp_path: Path, name: str) -> None:
    first, other = both(tmp_path, (MASKS | POLYGONS)[name], rectangles)
    assert first.classes == other.classes == tuple(NAMES)
    assert other.meta["faults"] == []
    for split in Split:
        ours, theirs = first.splits[split], other.splits[split]
        assert list(ours.names) == list(theirs.names)
        for i in range(len(ours)):
            assert ours.image(i).tobytes() == theirs.image(i).tobytes()
            assert ours.mask(i).tobytes() == theirs.mask(i).tobytes()


@pytest.mark.parametrize("name", [*MASKS, *POLYGONS])
def test_round_masks_are_the_same_to_within_a_pixel_of_their_outline(tmp_path: Path, name: str) -> None:
    """Masks as such are the same to the bit. Polygons are drawn as pycocotools does, which takes some pixels
    of the outline whose centre lies outside, and never one that is further away.
    """
    first, other = both(tmp_path, (MASKS | POLYGONS)[name], discs)
    differing = 0
    for split in Split:
        ours, theirs = first.splits[split], other.splits[split]
        for i in range(len(ours)):
            wrong = ours.mask(i) != theirs.mask(i)
            differing += int(wrong.sum())
            assert not (wrong & ~_at_an_outline(ours.mask(i))).any()
    assert differing == 0 if name in MASKS else differing < 0.02 * 32 * 64 * len(NUMBERS)


def _at_an_outline(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(height, width) bool: pixels with another class among their eight neighbours."""
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    shifted = [
        padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy in (-1, 0, 1) for dx in (-1, 0, 1)
    ]
    return np.logical_or.reduce([mask != other for other in shifted])


# --- real photos ------------------------------------------------------------------------------


def test_real_boxes_are_the_same_as_coco_voc_and_yolo(shared: Path, tmp_path: Path) -> None:
    """40 photos of BCCD, 640×480 pixels: to the bit as VOC, and to within 1e-6 pixels as YOLO."""
    whole = json.loads((shared / "bccd/instances_val.json").read_text())
    names = {category["id"]: category["name"] for category in whole["categories"]}
    classes = sorted(names.values())
    kept = whole["images"][:40]
    images = tmp_path / "set/images"
    for folder in (images, tmp_path / "set/labels", tmp_path / "set/xml"):
        folder.mkdir(parents=True)
    for image in kept:
        (images / image["file_name"]).symlink_to(shared / "bccd/images" / image["file_name"])
        objects = [a for a in whole["annotations"] if a["image_id"] == image["id"]]
        stem = Path(image["file_name"]).stem
        xml, rows = "", ""
        for each in objects:
            (x, y, w, h), name = each["bbox"], names[each["category_id"]]
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + w, y + h), strict=True)
            box = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
            xml += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
            shares = ((x + w / 2) / 640, (y + h / 2) / 480, w / 640, h / 480)
            rows += f"{classes.index(name)} {' '.join(map(repr, shares))}\n"
        (tmp_path / f"set/xml/{stem}.xml").write_text(f"<annotation>{xml}</annotation>")
        (tmp_path / f"set/labels/{stem}.txt").write_text(rows)
    categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
    ids = {image["id"] for image in kept}
    annotations = [
        {key: a[key] for key in ("id", "image_id", "bbox")}
        | {"category_id": classes.index(names[a["category_id"]])}
        for a in whole["annotations"]
        if a["image_id"] in ids
    ]
    file = {"images": kept, "annotations": annotations, "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(file))
    (tmp_path / "set/data.yaml").write_text(f"train: images\nnames: [{', '.join(classes)}]\n")
    size = Resize.fixed(48, 64)
    coco = {"coco": {"train": {"images": str(images), "annotations": str(tmp_path / "coco.json")}}}
    voc = {"voc": {"train": {"images": str(images), "annotations": str(tmp_path / "set/xml")}}}
    first, second, third = (
        prepared(Task.DETECTION, data, size)
        for data in (coco, voc, {"yolo": {"file": str(tmp_path / "set/data.yaml")}})
    )
    assert sum(first.meta["boxes"].values()) > 400
    for split in Split:
        assert rows_of(first, split) == rows_of(second, split)
        for i in range(len(first.splits[split])):
            ours, theirs = first.splits[split], third.splits[split]
            assert ours.image(i).tobytes() == theirs.image(i).tobytes()
            assert np.abs(ours.boxes(i) - theirs.boxes(i)).max(initial=0) < 1e-6
            assert (ours.labels(i) == theirs.labels(i)).all()
