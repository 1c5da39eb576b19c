"""The same images and boxes in each format that a data section takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from data_makers import noise

from trainables.data.prepared import Prepared
from trainables.specs.data import Split

CLASSES = ("ape", "bee", "cow")
"""In alphabetical order, which is VOC's."""
Parts = Mapping[str, Sequence["Scene"]]
YOLO_NAMES = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Scene:
    """An image of noise with boxes: class index and xywh in pixels."""

    number: int
    height: int
    width: int
    boxes: tuple[tuple[int, tuple[float, float, float, float]], ...]

    @property
    def name(self) -> str:
        return f"{self.number:03d}.png"

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        noise(self.number, self.height, self.width).save(folder / self.name)


def scenes(first: int, count: int, *, height: int = 32, width: int = 64, whole: bool = True) -> list[Scene]:
    """`count` scenes with one to three boxes, every fifth without. whole: boxes of whole pixels."""
    made = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        boxes = []
        for _ in range(0 if number % 5 == 4 else int(rng.integers(1, 4))):
            w, h = (float(v) for v in (rng.integers(3, width // 2), rng.integers(3, height // 2)))
            x, y = float(rng.integers(0, width - w + 1)), float(rng.integers(0, height - h + 1))
            if not whole:
                x, y, w, h = x + 0.25, y + 0.125, w - 0.5, h - 0.25
            boxes.append((int(rng.integers(len(CLASSES))), (x, y, w, h)))
        made.append(Scene(number, height, width, tuple(boxes)))
    return made


def parts_of(**more: Any) -> dict[str, list[Scene]]:
    """Three parts, so that no format draws one by chance."""
    return {"train": scenes(0, 8, **more), "validation": scenes(8, 4, **more), "test": scenes(12, 3, **more)}


def check_scenes(held: Prepared, parts: Parts) -> None:
    """The prepared data hold the names, boxes and labels of the scenes, to the last bit."""
    assert held.classes == CLASSES
    for split, given in parts.items():
        part = held.splits[Split(split)]
        assert list(part.names) == [scene.name for scene in given]
        for i, scene in enumerate(given):
            assert part.boxes(i).tolist() == [list(box) for _, box in scene.boxes]
            assert part.labels(i).tolist() == [label for label, _ in scene.boxes]


def as_coco(root: Path, parts: Parts) -> dict[str, Any]:
    section: dict[str, Any] = {}
    for part, given in parts.items():
        for scene in given:
            scene.save(root / part)
        objects = [(s, label, box) for s in given for label, box in s.boxes]
        file = {
            "images": [
                {"id": s.number, "file_name": s.name, "height": s.height, "width": s.width} for s in given
            ],
            "annotations": [
                {"id": i, "image_id": s.number, "category_id": label + 1, "bbox": list(box), "iscrowd": 0}
                for i, (s, label, box) in enumerate(objects, 1)
            ],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
        }
        (root / f"{part}.json").write_text(json.dumps(file))
        section[part] = {"images": str(root / part), "annotations": str(root / f"{part}.json")}
    return {"coco": section}


def yolo_rows(scene: Scene, digits: int | None = None) -> str:
    """The rows of a label file. digits: after the point; as many as a float needs when absent."""

    def text(value: float) -> str:
        return repr(value) if digits is None else f"{value:.{digits}f}"

    rows = []
    for label, (x, y, w, h) in scene.boxes:
        shares = (
            (x + w / 2) / scene.width, (y + h / 2) / scene.height, w / scene.width, h / scene.height
        )  # fmt: skip
        rows.append(" ".join([str(label), *map(text, shares)]))
    return "".join(f"{row}\n" for row in rows)


def as_yolo(root: Path, parts: Parts, digits: int | None = None) -> dict[str, Any]:
    lines = []
    for part, given in parts.items():
        name = YOLO_NAMES[part]
        labels = root / "labels" / name
        labels.mkdir(parents=True)
        for scene in given:
            scene.save(root / "images" / name)
            (labels / f"{scene.number:03d}.txt").write_text(yolo_rows(scene, digits))
        lines.append(f"{name}: images/{name}")
    names = ", ".join(f"{i}: {name}" for i, name in enumerate(CLASSES))
    (root / "data.yaml").write_text("\n".join(["path: .", *lines, f"names: {{{names}}}"]) + "\n")
    return {"yolo": {"file": str(root / "data.yaml")}}


def voc_xml(scene: Scene, *, shift: float = 1, more: str = "") -> str:
    """The XML file of a scene. shift: 1 for pixels counted from 1, 0 for edges.  more: in each object."""
    objects = "".join(
        f"<object><name>{CLASSES[label]}</name>{more}<bndbox>"
        f"<xmin>{x + shift:g}</xmin><ymin>{y + shift:g}</ymin>"
        f"<xmax>{x + w:g}</xmax><ymax>{y + h:g}</ymax></bndbox></object>"
        for label, (x, y, w, h) in scene.boxes
    )
    size = f"<size><width>{scene.width}</width><height>{scene.height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{scene.name}</filename>{size}{objects}</annotation>"


def as_voc(root: Path, parts: Parts, *, shift: float = 1) -> dict[str, Any]:
    """One folder of images, one of XML files, and a list for each part, as in VOC's own archive."""
    section: dict[str, Any] = {}
    images, annotations, lists = root / "JPEGImages", root / "Annotations", root / "ImageSets/Main"
    annotations.mkdir(parents=True)
    lists.mkdir(parents=True)
    for part, given in parts.items():
        for scene in given:
            scene.save(images)
            (annotations / f"{scene.number:03d}.xml").write_text(voc_xml(scene, shift=shift))
        (lists / f"{part}.txt").write_text("".join(f"{scene.number:03d}\n" for scene in given))
        paths = {"images": images, "annotations": annotations, "list": lists / f"{part}.txt"}
        section[part] = {key: str(path) for key, path in paths.items()}
    return {"voc": section}


def as_hub(root: Path, parts: Parts, form: str = "xyxy", *, areas: bool = True) -> dict[str, Any]:
    """A data set saved to disk, in corners (xyxy) or sides (xywh)."""
    held = {}
    inside: dict[str, Any] = {
        "bbox": datasets.List(datasets.List(datasets.Value("float64"), 4)),
        "category": datasets.List(datasets.ClassLabel(names=list(CLASSES))),
    }
    if areas:
        inside["area"] = datasets.List(datasets.Value("float64"))
    features = datasets.Features(
        {"image": datasets.Image(), "image_id": datasets.Value("int64"), "objects": inside}
    )
    for part, given in parts.items():
        rows = []
        for scene in given:
            scene.save(root / part)
            boxes = [list(box) for _, box in scene.boxes]
            objects: dict[str, Any] = {
                "bbox": [[x, y, x + w, y + h] for x, y, w, h in boxes] if form == "xyxy" else boxes,
                "category": [label for label, _ in scene.boxes],
            }
            if areas:
                objects["area"] = [w * h for _, _, w, h in boxes]
            rows.append(
                {"image": str(root / part / scene.name), "image_id": scene.number, "objects": objects}
            )
        held[part] = datasets.Dataset.from_list(rows, features)
    datasets.DatasetDict(held).save_to_disk(root / "saved")
    return {"hub": {"path": str(root / "saved")} | {part: part for part in parts}}


def as_labelme(root: Path, parts: Parts) -> dict[str, Any]:
    section = {}
    for part, given in parts.items():
        for scene in given:
            scene.save(root / part)
            shapes = [
                {"label": CLASSES[label], "points": [[x, y], [x + w, y + h]], "shape_type": "rectangle"}
                for label, (x, y, w, h) in scene.boxes
            ]
            size = {"imageHeight": scene.height, "imageWidth": scene.width}
            file = {"shapes": shapes, "imagePath": scene.name, **size}
            (root / part / f"{scene.number:03d}.json").write_text(json.dumps(file))
        section[part] = {"folder": str(root / part)}
    return {"labelme": section}
