"""Boxes as a detector gets them, drawn onto the pixels that it gets: they must be on the objects.

Through resize, padding, flips and crops, from COCO JSON (xywh) and from the hub's form (xyxy). Objects
are told from the pixels alone: red, green and blue blocks on black.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Pictures
from PIL import ImageDraw

from tests.reference.conftest import workload
from trainables.data.digits import DigitSample
from trainables.data.loader import Batch, eval_batches, train_batches
from trainables.data.prepare import prepare_data
from trainables.data.prepared import Prepared, open_prepared
from trainables.data.resize import Resize
from trainables.specs.data import Domain, EmbeddedData, Split
from trainables.specs.trial import Augment
from trainables.specs.workload import Task

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES = [(90, 120), (120, 90), (100, 100), (64, 150), (150, 70), (97, 131)]
"""(height, width): several shapes in one batch, so that most images are padded."""
NAMES = ("red", "green", "blue")
SIZES = {"fixed": Resize.fixed(64, 96), "edges": Resize.edges(64, 112, multiple_of=16)}
CHANGES = {
    "as it is": Augment(),
    "mirrored": Augment(horizontal_flip=1.0),
    "upside down": Augment(vertical_flip=1.0),
    "turned": Augment(horizontal_flip=1.0, vertical_flip=1.0),
    "cropped": Augment(crop=0.6, horizontal_flip=0.5),
}
PICTURE = Path(__file__).parents[2] / "docs/images/boxes.png"
COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7"]


# --- the objects ------------------------------------------------------------------------------


def _scene(number: int) -> tuple[Array, list[list[int]]]:
    """An image with a red, a green and a blue block side by side, and their boxes as xyxy."""
    height, width = SHAPES[number % len(SHAPES)]
    rng = np.random.default_rng(number)
    image = np.zeros((height, width, 3), np.uint8)
    boxes = []
    for channel in range(3):
        left, right = channel * width // 3, (channel + 1) * width // 3
        x0 = int(rng.integers(left, left + (right - left) // 3))
        x1 = int(rng.integers(x0 + (right - left) // 3, right - 2))
        y0 = int(rng.integers(0, height // 2))
        y1 = int(rng.integers(y0 + height // 4, height))
        image[y0:y1, x0:x1, channel] = 255
        boxes.append([x0, y0, x1, y1])
    return image, boxes


def _coco(root: Path) -> dict[str, Any]:
    images, entries = [], []
    (root / "images").mkdir()
    for number in range(2 * len(SHAPES)):
        image, boxes = _scene(number)
        name = f"{number:02d}.png"
        Pictures.fromarray(image).save(root / "images" / name)
        images.append({"id": number, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
        entries += [
            {"image_id": number, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for label, (x0, y0, x1, y1) in enumerate(boxes)
        ]
    return {"coco": {"train": _part(root, images, entries, NAMES)}}


def _part(root: Path, images: list[Any], entries: list[Any], names: Any) -> dict[str, str]:
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    file = {
        "images": images,
        "annotations": [{"id": n} | entry for n, entry in enumerate(entries)],
        "categories": categories,
    }
    (root / "coco.json").write_text(json.dumps(file))
    return {"images": str(root / "images"), "annotations": str(root / "coco.json")}


def _hub(root: Path) -> dict[str, Any]:
    """The form of `detection-datasets/coco`, saved locally."""
    objects = {
        "bbox_id": Value("int64"),
        "category": ClassLabel(names=list(NAMES)),
        "bbox": List(Value("float64"), length=4),
        "area": Value("float64"),
    }
    features = Features(
        {"image": Image(), "image_id": Value("int64"), "width": Value("int64"), "height": Value("int64")}
        | {"objects": {key: List(value) for key, value in objects.items()}}
    )
    rows = []
    for number in range(2 * len(SHAPES)):
        image, boxes = _scene(number)
        found = {
            "bbox_id": [3 * number + i for i in range(3)],
            "category": [0, 1, 2],
            "bbox": boxes,
            "area": [float((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes],
        }
        size = {"image_id": number, "height": image.shape[0], "width": image.shape[1]}
        rows.append(size | {"image": Pictures.fromarray(image), "objects": found})
    DatasetDict({"train": Dataset.from_list(rows, features=features)}).save_to_disk(str(root / "copy"))
    return {"hub": {"path": str(root / "copy")}}


@pytest.fixture(scope="module", params=[_coco, _hub], ids=["coco", "hub"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scenes in one of the two forms, as a `data` section."""
    root = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "hf")
        section: dict[str, Any] = request.param(root)
    return section


def _prepared(data: dict[str, Any], size: Resize) -> Prepared:
    splits = {"splits": {"train": 0.8, "validation": 0.2, "test": 0.0}}
    return open_prepared(prepare_data(workload(Task.DETECTION, data=data | splits), size=size))


# --- what is measured -------------------------------------------------------------------------


def _corners(batch: Batch, place: int) -> tuple[Array, list[int]]:
    """An image's targets as xyxy in the batch's pixels, and their labels."""
    assert batch.targets is not None
    height, width = batch.images.shape[-2:]
    boxes = batch.targets[place]["boxes"].numpy() * np.array([width, height] * 2)
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    labels = batch.targets[place]["class_labels"].tolist()
    return np.concatenate([centre - half, centre + half], axis=1), labels


def _seen(batch: Batch, place: int, channel: int) -> list[int]:
    """xyxy of the coloured pixels of a channel."""
    ys, xs = np.nonzero(batch.images[place, channel].numpy() > 127)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def _iou(a: Array, b: Array) -> float:
    near, far = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(far - near, 0, None)))
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", CHANGES)
def test_boxes_lie_on_their_objects(data: dict[str, Any], size: str, change: str) -> None:
    held = _prepared(data, SIZES[size])
    assert held.classes == NAMES
    split = held.splits[Split.TRAIN]
    batches = train_batches(split, epoch=1, seed=3, batch_size=4, augment=CHANGES[change])
    checked, padded = 0, False
    for batch in batches:
        padded = padded or any(valid != tuple(batch.images.shape[-2:]) for valid in batch.valid)
        for place in range(len(batch.indices)):
            for corners, label in zip(*_corners(batch, place), strict=True):
                # A crop leaves slivers of a pixel; of them a bilinear resize leaves no pure colour.
                if (corners[2:] - corners[:2] > 3).all():
                    assert np.abs(corners - _seen(batch, place, label)).max() <= 1.5
                    checked += 1
    assert padded == (size == "edges")
    assert checked >= 2 * len(split)


def test_the_measure_sees_the_earlier_mistake(data: dict[str, Any]) -> None:
    """With study A's error, xyxy read as xywh, the boxes miss: the test above detects it."""
    held = _prepared(data, SIZES["edges"])
    split = held.splits[Split.TRAIN]
    right, wrong = [], []
    for batch in eval_batches(split, batch_size=4):
        for place, index in enumerate(batch.indices):
            height, width = batch.valid[place]
            boxes = split.truth(index).boxes
            scale = np.array([width, height] * 2) / np.array(
                [split.truth(index).width, split.truth(index).height] * 2
            )
            for (x, y, w, h), label in zip(boxes, split.truth(index).labels, strict=True):
                seen = np.asarray(_seen(batch, place, int(label)))
                right.append(_iou(np.array([x, y, x + w, y + h]) * scale, seen))
                wrong.append(_iou(np.array([x, y, x + x + w, y + y + h]) * scale, seen))
    assert np.mean(right) > 0.9
    assert np.mean(wrong) < 0.6


def test_cells_lie_in_their_boxes(shared: Path, tmp_path: Path) -> None:
    """Real photos, rotated: white cells are purple, their surroundings are not."""
    folder = shared / "data/bccd"
    coco = {
        part: {"images": str(folder / "images"), "annotations": str(folder / f"instances_{name}.json")}
        for part, name in (("train", "val"), ("validation", "test"))
    }
    held = _prepared({"coco": coco}, Resize.edges(120, 160))
    white = held.classes.index("WBC")
    batches = train_batches(
        held.splits[Split.TRAIN], epoch=0, seed=0, batch_size=12, augment=CHANGES["turned"]
    )
    inside, outside = [], []
    for batch in batches[:3]:
        for place in range(len(batch.indices)):
            image = batch.images[place].numpy().astype(np.float64)
            purple = (image[0] + image[2]) / 2 - image[1]
            marked = np.zeros(purple.shape, bool)
            for (x0, y0, x1, y1), label in zip(*_corners(batch, place), strict=True):
                if label == white:
                    marked[round(y0) : round(y1), round(x0) : round(x1)] = True
            if marked.any():
                inside.append(purple[marked].mean())
                outside.append(purple[~marked].mean())
    assert len(inside) > 20
    assert np.mean(np.asarray(inside) > 1.5 * np.asarray(outside)) > 0.9
    drawing = drawn(batches[0])
    drawing.save(tmp_path / "cells.png")
    assert drawing.width > 400


# --- the picture ------------------------------------------------------------------------------


def drawn(batch: Batch, columns: int = 4) -> Any:
    """The batch's images side by side, each target drawn in its class's colour."""
    height, width = batch.images.shape[-2:]
    rows = -(-len(batch.indices) // columns)
    sheet = Pictures.new("RGB", (columns * (width + 4), rows * (height + 4)), "white")
    for place in range(len(batch.indices)):
        picture = Pictures.fromarray(batch.images[place].numpy().transpose(1, 2, 0).copy())
        pen = ImageDraw.Draw(picture)
        for corners, label in zip(*_corners(batch, place), strict=True):
            near, far = corners[:2].round().astype(int), corners[2:].round().astype(int) - 1
            pen.rectangle([*near.tolist(), *far.tolist()], outline=COLOURS[label % len(COLOURS)])
        sheet.paste(picture, (place % columns * (width + 4) + 2, place // columns * (height + 4) + 2))
    return sheet


def picture(root: Path) -> Any:
    """Handwritten digits on canvases of four shapes; above as evaluated, below as an epoch trains on them."""
    images, entries = [], []
    (root / "images").mkdir()
    for number, (height, width) in enumerate([(160, 160), (160, 240), (230, 160), (180, 200)] * 2):
        sample = DigitSample(EmbeddedData(domain=Domain.CLEAN, side=160), Split.TRAIN, 3 * number)
        canvas = Pictures.new("RGB", (width, height), "#bbbbbb")
        canvas.paste(sample.photo().image, (width - 160, height - 160))
        canvas.save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        found = sample.annotations()
        for (x, y, w, h), label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
            box = [x + width - 160, y + height - 160, w, h]
            entries.append({"image_id": number, "category_id": label, "bbox": box})
    names = [str(digit) for digit in range(10)]
    data = {"coco": {"train": _part(root, images, entries, names)}}
    split = _prepared(data, Resize.edges(128, 176, multiple_of=16)).splits[Split.TRAIN]
    changes = Augment(horizontal_flip=0.5, vertical_flip=0.5, crop=0.7, brightness=0.2)
    plain = eval_batches(split, batch_size=4)[0]
    # The same four images, whatever order the epoch shuffles them into.
    shuffled = train_batches(split, epoch=1, seed=1, batch_size=len(split), augment=changes)[0]
    order = [shuffled.indices.index(index) for index in plain.indices]
    assert shuffled.targets is not None
    changed = Batch(
        images=shuffled.images[order],
        valid=[shuffled.valid[i] for i in order],
        targets=[shuffled.targets[i] for i in order],
        masks=None,
        indices=plain.indices,
    )
    above, below = drawn(plain), drawn(changed)
    sheet = Pictures.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    return sheet


def test_the_picture_in_the_documentation_is_what_comes_out_now(tmp_path: Path) -> None:
    now = picture(tmp_path)
    now.save(tmp_path / "boxes.png")
    with Pictures.open(PICTURE) as shown:
        assert shown.size == now.size
        off = np.asarray(shown.convert("RGB"), np.int16) - np.asarray(now, np.int16)
    # Pillow's versions round a resize differently, by a grey value; a box elsewhere is a bright line.
    assert np.mean(np.abs(off) > 24) < 0.001
