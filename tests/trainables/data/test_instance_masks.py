"""A mask of each object: from every format, in original pixels and at the stored size, changed and padded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_makers import box, coco_folder, noise, prepared, workload
from PIL import Image

from trainables.data.augment import augment_image
from trainables.data.files.object_masks import boxes_around, decode, encode, resized_code
from trainables.data.loader import eval_batches, train_batches
from trainables.data.prepare import fingerprint
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.data.shared_batches import SharedBatches
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.trial import Augment
from trainables.specs.workload import Task
from trainables.tasks.base import split_by_size

TASK = Task.INSTANCE_SEGMENTATION
SAME, HALF = Resize.fixed(40, 60), Resize.fixed(20, 30)
CAT, DOG = (4, 6, 12, 10), (20, 8, 16, 24)


def rectangle(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def pixels(x: int, y: int, w: int, h: int, size: tuple[int, int] = (40, 60)) -> Any:
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def runs(mask: Any) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode(mask).decode()}


def objects(image: int) -> list[dict[str, Any]]:
    """A polygon, a compressed mask of a group, and a mask in plain run lengths of two pieces."""
    pieces = pixels(2, 30, 6, 4) | pixels(50, 30, 6, 4)
    flat = pieces.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)])))
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [
        box(image, list(CAT), segmentation=[rectangle(*CAT)], area=77.0),
        box(image, list(DOG), category=7, segmentation=runs(pixels(*DOG)), iscrowd=1),
        box(image, [2, 30, 54, 4], category=7, segmentation={"size": [40, 60], "counts": counts}),
    ]


def coco(root: Path, annotations: list[dict[str, Any]] | None = None, count: int = 8) -> dict[str, Any]:
    listed = [each for i in range(count) for each in objects(i)] if annotations is None else annotations
    return {"coco": {"train": coco_folder(root, count, annotations=listed)}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(TASK, data, SAME)
    return str(error.value)


def test_truths_are_in_original_pixels_and_targets_at_the_stored_size(tmp_path: Path) -> None:
    held = prepared(TASK, coco(tmp_path), HALF)
    assert held.meta["schema"] == 4
    assert held.meta["faults"] == []
    split = held.splits[Split.TRAIN]
    truth = split.truth(0)
    expected = [pixels(*CAT), pixels(*DOG), pixels(2, 30, 6, 4) | pixels(50, 30, 6, 4)]
    assert truth.masks is not None
    for code, mask in zip(truth.masks, expected, strict=True):
        assert (decode(code, (truth.height, truth.width)) == mask).all()
    # The annotated area, or else the mask's: the last box has 216 pixels.
    assert truth.areas.tolist() == [77, 384, 48]
    assert truth.crowds.tolist() == [False, True, False]
    batch = eval_batches(split, batch_size=3)[0]
    assert batch.targets is not None
    for target in batch.targets:  # without the group
        assert target["masks"].shape == (2, 20, 30)
        assert target["masks"].dtype is torch.bool
        assert (target["masks"][0].numpy() == pixels(2, 3, 6, 5, (20, 30))).all()
        assert target["masks"].shape[0] == len(target["boxes"]) == len(target["class_labels"])


def test_other_tasks_keep_their_format_and_names(tmp_path: Path) -> None:
    data = coco(tmp_path)
    boxes = prepared(Task.DETECTION, data, SAME)
    assert boxes.meta["schema"] == 3
    assert boxes.splits[Split.TRAIN].truth(0).masks is None
    names = {fingerprint(workload(task, data), SAME) for task in (Task.DETECTION, TASK, Task.SEGMENTATION)}
    assert len(names) == 3


def test_every_format_gives_the_same_masks(tmp_path: Path) -> None:
    """Rectangles of whole pixels, as polygons and masks in COCO, and as polygons in YOLO and LabelMe."""
    count, size = 8, (32, 64)
    names = [f"{i}.png" for i in range(count)]
    for kind in ("coco", "yolo/images/train", "labelme"):
        (tmp_path / kind).mkdir(parents=True)
        for number, name in enumerate(names):
            noise(number, *size).save(tmp_path / kind / name)
    (tmp_path / "yolo/labels/train").mkdir(parents=True)
    shares = [v / s for v, s in zip(rectangle(*CAT), (64, 32) * 4, strict=True)]
    for name in names:
        stem = name.removesuffix(".png")
        line = " ".join(["0", *(repr(share) for share in shares)])
        (tmp_path / f"yolo/labels/train/{stem}.txt").write_text(line + "\n")
        corners = np.array(rectangle(*CAT)).reshape(-1, 2).tolist()
        shape = {"label": "cat", "points": corners, "shape_type": "polygon"}
        document = {"imagePath": name, "imageHeight": 32, "imageWidth": 64, "shapes": [shape]}
        (tmp_path / f"labelme/{stem}.json").write_text(json.dumps(document))
    (tmp_path / "yolo/data.yaml").write_text("path: .\ntrain: images/train\nnames: [cat]\n")
    listed = [{"id": i, "file_name": n, "height": 32, "width": 64} for i, n in enumerate(names)]
    data: dict[str, Any] = {
        "yolo": {"yolo": {"file": str(tmp_path / "yolo/data.yaml")}},
        "folder": {"folder": str(tmp_path / "yolo")},
        "labelme": {"labelme": {"train": {"folder": str(tmp_path / "labelme")}}},
    }
    for kind, shape in {"polygon": [rectangle(*CAT)], "runs": runs(pixels(*CAT, size))}.items():
        entries = [{"id": i + 1} | box(i, list(CAT), segmentation=shape) for i in range(count)]
        file = {"images": listed, "annotations": entries, "categories": [{"id": 3, "name": "cat"}]}
        (tmp_path / f"{kind}.json").write_text(json.dumps(file))
        part = {"images": str(tmp_path / "coco"), "annotations": str(tmp_path / f"{kind}.json")}
        data[kind] = {"coco": {"train": part}}
    for kind, section in data.items():
        split = prepared(TASK, section, Resize.fixed(32, 64)).splits[Split.TRAIN]
        for i in range(len(split)):
            truth = split.truth(i)
            assert truth.masks == (encode(pixels(*CAT, size)),), kind
            assert truth.areas.tolist() == [120], kind
            assert (split.object_masks(i) == pixels(*CAT, size)).all()


def test_embedded_digits_have_masks_tight_in_their_boxes() -> None:
    data = {"embedded": {"train": 6, "validation": 3, "test": 3, "side": 64}}
    split = prepared(TASK, data, Resize.fixed(64, 64)).splits[Split.TRAIN]
    drawn = prepared(Task.SEGMENTATION, data, Resize.fixed(64, 64)).splits[Split.TRAIN]
    for i in range(len(split)):
        masks = split.object_masks(i)
        assert len(masks) == len(split.labels(i)) >= 1
        assert (masks.any(axis=0) == (drawn.mask(i) > 0)).all()
        for mask, (x, y, w, h) in zip(masks, split.boxes(i).astype(int).tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            found = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert found == (x, y, w, h)


def test_objects_without_pixels_are_listed_and_can_be_left_out(tmp_path: Path) -> None:
    listed = [each for i in range(8) for each in objects(i)]
    listed += [box(0, [1, 1, 5, 5]), box(1, [30, 30, 0.2, 0.2], segmentation=[rectangle(30, 30, 0.2, 0.2)])]
    data = coco(tmp_path, listed)
    message = refused(data)
    assert "image_000.png  bad_mask: object 3 has no polygon or mask, so its pixels are not known" in message
    assert "image_001.png  bad_mask: object 3 has a polygon or mask that covers no pixel" in message
    assert "data.faults.bad_mask: drop" in message
    held = prepared(TASK, data | {"faults": {"bad_mask": "drop"}}, SAME)
    kept = [len(part.truth(i).labels) for part in held.splits.values() for i in range(len(part))]
    assert kept == [3] * 8


def test_a_mask_of_another_size_is_listed(tmp_path: Path) -> None:
    listed = [box(i, list(CAT), segmentation=runs(pixels(*CAT, (20, 30)))) for i in range(8)]
    assert "a mask of (20, 30) in an image of (40, 60), as (height, width)" in refused(coco(tmp_path, listed))


def test_boxes_alone_are_refused_before_any_image_is_read(tmp_path: Path) -> None:
    data = coco(tmp_path, [box(i, list(CAT)) for i in range(8)])
    expected = "masks are drawn from polygons or masks (`segmentation`), but none of 8 objects has one"
    assert expected in refused(data)
    ((key, reason),) = quick_look(workload(TASK, data)).faults
    assert (key, expected in reason) == ("data.coco.train", True)
    with pytest.raises(DataError, match="none was found"):
        prepared(TASK, {"folder": str(tmp_path)}, SAME)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_masks_are_turned_with_the_photo(tmp_path: Path, orientation: int) -> None:
    part = coco_folder(tmp_path, 8, annotations=[e for i in range(8) for e in objects(i)])
    for path in Path(part["images"]).iterdir():
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)
    split = prepared(TASK, {"coco": {"train": part}}, SAME).splits[Split.TRAIN]
    truth = split.truth(0)
    turned = {1: lambda m: m, 3: lambda m: m[::-1, ::-1], 6: lambda m: np.rot90(m, -1), 8: np.rot90}
    declared_upright = orientation in (1, 3)  # height and width do not say which way round for these
    assert truth.masks is not None
    mask = decode(truth.masks[0], (truth.height, truth.width))
    if declared_upright:
        assert mask.sum() == 120
    else:
        assert (mask == turned[orientation](pixels(*CAT))).all()
    rows, columns = np.nonzero(mask)
    found = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert found == truth.boxes[0].tolist()


def test_masks_are_changed_with_their_images() -> None:
    """Each mask stays on its object, whatever is drawn: objects are shown in their own colours."""
    masks = np.stack([pixels(*CAT), pixels(*DOG)])
    image = np.zeros((3, 40, 60), np.uint8)
    image[0], image[1] = 200 * masks[0], 200 * masks[1]
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (CAT, DOG)], np.float32)
    flips = Augment(horizontal_flip=0.5, vertical_flip=0.5)
    kept = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = augment_image(image, corners, None, flips, rng, masks)
        assert found.objects is not None
        assert (found.objects == (found.image[:2] > 100)).all()
        cropped = augment_image(image, corners, None, Augment(crop=0.4), np.random.default_rng(seed), masks)
        assert cropped.objects is not None
        assert cropped.boxes is not None
        assert len(cropped.objects) == len(cropped.boxes) == len(cropped.kept)
        kept.add(len(cropped.kept))
        for mask, place in zip(cropped.objects, cropped.kept.tolist(), strict=True):
            # Masks by nearest pixels, images bilinearly: they differ at edges.
            assert (mask != (cropped.image[place] > 100)).mean() < 0.05
    assert {1, 2} <= kept


def test_shuffled_batches_hold_masks_and_are_shared(tmp_path: Path) -> None:
    split = prepared(TASK, coco(tmp_path), HALF).splits[Split.TRAIN]
    augment = Augment(horizontal_flip=0.5, crop=0.5)
    batches = train_batches(split, epoch=0, seed=3, batch_size=4, augment=augment)
    shared = SharedBatches()
    one, other = shared.of(batches, 0), shared.of(batches, 0)
    assert one is other
    assert one.targets is not None
    assert all(t["masks"].shape[1:] == (20, 30) for t in one.targets)
    assert all(len(t["masks"]) == len(t["boxes"]) for t in one.targets)
    for piece in one.pieces(3):
        assert piece.targets is not None
        assert all("masks" in target for target in piece.targets)


def test_images_of_two_sizes_are_padded_and_taken_apart(tmp_path: Path) -> None:
    sizes = ((40, 60), (60, 40))
    shape = {i: runs(pixels(*CAT, sizes[i % 2])) for i in range(8)}
    listed = [box(i, list(CAT), segmentation=shape[i]) for i in range(8)]
    part = coco_folder(tmp_path, 8, sizes=sizes, annotations=listed)
    split = prepared(TASK, {"coco": {"train": part}}, Resize.edges(40, 60)).splits[Split.TRAIN]
    batch = eval_batches(split, batch_size=len(split))[0]
    assert len(set(batch.valid)) == 2
    assert batch.targets is not None
    assert {t["masks"].shape for t in batch.targets} == {(1, 60, 60)}
    for piece in split_by_size(batch):
        assert piece.targets is not None
        for target, (height, width) in zip(piece.targets, piece.valid, strict=True):
            assert (target["masks"][0].numpy() == pixels(*CAT, (height, width))).all()


def test_codes() -> None:
    mask = pixels(*CAT)
    assert (decode(encode(mask), (40, 60)) == mask).all()
    assert not decode(encode(np.zeros((4, 5), bool)), (4, 5)).any()
    assert (
        decode(resized_code(encode(mask), (40, 60), (80, 120)), (80, 120)) == mask.repeat(2, 0).repeat(2, 1)
    ).all()
    empty = encode(np.zeros((40, 60), bool))
    assert boxes_around((encode(mask), empty), (40, 60)).tolist() == [list(CAT), [0, 0, 0, 0]]
    assert boxes_around((), (40, 60)).shape == (0, 4)
