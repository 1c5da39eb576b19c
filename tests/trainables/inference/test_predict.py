from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data.loader import eval_batches
from trainables.errors import DataError, ModelError
from trainables.inference.predict import Boxes, Mask, image_files, predict_image
from trainables.inference.trained_model import TrainedModel
from trainables.models.build import build_model
from trainables.specs.data import Domain, Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training.engine import Engine


@pytest.fixture(scope="module")
def model_of(engine_of: Callable[[Task], Engine]) -> Callable[[Task], TrainedModel]:
    """The pretrained embedded model, which detects clean digits."""

    def model(task: Task) -> TrainedModel:
        engine = engine_of(task)
        plain = TrialConfig.model_validate_json('{"adapter": "none"}')
        built = build_model(engine.task, plain, total_steps=0)
        return TrainedModel(
            engine.workload, plain, engine.data.classes, engine.task, built.model, built.adapted, built.parts
        )

    return model


def scene(task: Task, index: int = 0) -> tuple[Image.Image, list[str], list[tuple[float, ...]]]:
    """A clean scene with its digits and their boxes, xywh."""
    from trainables.data.digits import DigitSample
    from trainables.specs.data import EmbeddedData

    sample = DigitSample(EmbeddedData(domain=Domain.CLEAN), Split.TEST, index)
    found = sample.annotations()
    return sample.photo().image, [str(n) for n in found.labels], [tuple(b) for b in found.boxes.tolist()]


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


# --- detection --------------------------------------------------------------------------------


def test_boxes_lie_on_the_objects_in_the_images_own_pixels(model_of: Callable[[Task], TrainedModel]) -> None:
    image, labels, boxes = scene(Task.DETECTION)
    large = image.resize((image.width * 3, image.height * 2), Image.Resampling.BILINEAR)
    found = predict_image(model_of(Task.DETECTION), large)
    assert isinstance(found, Boxes)
    stretched = [(x * 3, y * 2, w * 3, h * 2) for x, y, w, h in boxes]
    for label, box in zip(labels, stretched, strict=True):
        assert any(b.label == label and overlap(b.box, box) > 0.5 for b in found.found)
    assert [b.score for b in found.found] == sorted((b.score for b in found.found), reverse=True)


def test_boxes_are_those_that_evaluation_judges(
    engine_of: Callable[[Task], Engine], model_of: Callable[[Task], TrainedModel]
) -> None:
    engine, trained = engine_of(Task.DETECTION), model_of(Task.DETECTION)
    split = engine.data.splits[Split.TEST]
    (batch,) = eval_batches(split, batch_size=1)[:1]
    with torch.inference_mode():
        raw = engine.task.outputs(trained.model, batch)
        scores = raw[..., :-4].softmax(-1)[..., :-1][..., engine.task.ids].max(-1).values[0]  # type: ignore[attr-defined]
    found = predict_image(trained, Image.fromarray(np.ascontiguousarray(split.image(0))), threshold=0.0)
    assert isinstance(found, Boxes)
    assert [b.score for b in found.found] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-6)


def test_the_threshold_leaves_out_what_lies_below_it(model_of: Callable[[Task], TrainedModel]) -> None:
    image, _, _ = scene(Task.DETECTION)
    found = {t: predict_image(model_of(Task.DETECTION), image, threshold=t) for t in (0.0, 0.5, 1.0)}
    assert all(isinstance(f, Boxes) for f in found.values())
    counts = {t: len(f.found) for t, f in found.items() if isinstance(f, Boxes)}
    assert counts[0.0] == 10
    assert 0 < counts[0.5] < 10
    assert counts[1.0] == 0
    assert found[1.0].summary().startswith("0 boxes; the highest score is 0.9")
    assert found[0.5].summary().startswith(f"{counts[0.5]} box")


def test_boxes_are_cut_to_the_image_and_written_as_coco_does(
    model_of: Callable[[Task], TrainedModel],
) -> None:
    image, _, _ = scene(Task.DETECTION)
    found = predict_image(model_of(Task.DETECTION), image, threshold=0.0)
    record = json.loads(json.dumps(found.record()))
    assert record["threshold"] == 0.0
    for row in record["detections"]:
        x, y, width, height = row["bbox"]
        assert min(x, y, width, height) >= 0
        assert x + width <= image.width + 0.01
        assert y + height <= image.height + 0.01
        assert row["label"] == str(row["category_id"])
    assert found.drawn(image).size == (512, 512)


# --- segmentation -----------------------------------------------------------------------------


def test_a_mask_has_the_images_own_size_and_covers_its_objects(
    model_of: Callable[[Task], TrainedModel],
) -> None:
    image, labels, _ = scene(Task.SEGMENTATION)
    large = image.resize((image.width * 3, image.height * 2), Image.Resampling.BILINEAR)
    found = predict_image(model_of(Task.SEGMENTATION), large)
    assert isinstance(found, Mask)
    assert found.mask.shape == (large.height, large.width)
    assert found.mask.dtype == np.uint8
    present = {found.classes[i] for i in np.unique(found.mask)}
    assert set(labels) <= present
    record = json.loads(json.dumps(found.record()))
    assert [row["value"] for row in record["classes"]] == list(range(11))
    assert sum(row["pixels"] for row in record["classes"]) == large.width * large.height
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert all(label in found.summary() for label in labels)


def test_at_the_models_own_size_the_mask_is_the_evaluated_one(
    engine_of: Callable[[Task], Engine], model_of: Callable[[Task], TrainedModel]
) -> None:
    engine, trained = engine_of(Task.SEGMENTATION), model_of(Task.SEGMENTATION)
    split = engine.data.splits[Split.TEST]
    (batch,) = eval_batches(split, batch_size=1)[:1]
    with torch.inference_mode():
        expected = engine.task.outputs(trained.model, batch).argmax(1)[0].numpy()
    found = predict_image(trained, Image.fromarray(np.ascontiguousarray(split.image(0))))
    assert isinstance(found, Mask)
    assert (found.mask == expected).all()


def test_a_model_that_diverged_is_named(model_of: Callable[[Task], TrainedModel]) -> None:
    image, _, _ = scene(Task.SEGMENTATION)
    trained = model_of(Task.SEGMENTATION)

    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1].expand(-1, 11, -1, -1) * torch.nan

    broken = Broken()
    broken.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(ModelError, match="diverged"):
        predict_image(replace(trained, model=broken), image)


# --- files ------------------------------------------------------------------------------------


def save(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), "red").save(path, **options)  # type: ignore[arg-type]
    return path


def test_folders_give_their_images_below_the_results_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.jpg", ".hidden/c.png", "out/a.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found, faults = image_files([tmp_path], results=tmp_path / "out")
    assert [p.name for p in found] == ["a", "deep/b"]
    assert not faults


def test_names_that_meet_are_told_apart(tmp_path: Path) -> None:
    files = [save(tmp_path / name) for name in ("x/a.png", "y/a.png", "y/a.jpg")]
    found, _ = image_files(files, results=tmp_path / "out")
    assert [p.name for p in found] == ["a", "a-2", "a-3"]


def test_what_holds_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    found, faults = image_files([tmp_path / "none", tmp_path / "absent.png"], results=tmp_path / "out")
    assert faults == [f"{tmp_path / 'none'}: this folder has no images"]
    with pytest.raises(DataError, match=r"absent.png: there is no such image or folder"):
        found[0].open()
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(save(tmp_path / "whole.jpg").read_bytes()[:200])
    (picture,), _ = image_files([torn], results=tmp_path / "out")
    with pytest.raises(DataError, match=r"torn.jpg: cannot be read as an image"):
        picture.open()


def test_a_photo_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (picture,), _ = image_files([save(tmp_path / "a.jpg", exif=exif)], results=tmp_path / "out")
    assert picture.open().size == (10, 20)


def test_linked_folders_are_predicted_and_circles_end(tmp_path: Path) -> None:
    pictures, elsewhere = tmp_path / "pictures", tmp_path / "elsewhere"
    for folder in (pictures, elsewhere):
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    (pictures / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(pictures)
    found, faults = image_files([pictures], results=tmp_path / "results")
    assert [file.name for file in found] == ["a", "linked/a"]
    assert not faults


def test_a_link_to_nothing_is_said_and_the_other_images_are_predicted(tmp_path: Path) -> None:
    """It may be a folder of images on a disk that is not mounted."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "more").symlink_to(tmp_path / "unmounted")
    found, faults = image_files([tmp_path], results=tmp_path / "results")
    assert [file.name for file in found] == ["a"]
    (fault,) = faults
    assert "1 link to what does not exist, such as more, which leads to" in fault


def test_deep_images_are_scaled_as_in_training(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    (picture,) = image_files([tmp_path / "a.png"], results=tmp_path)[0]
    assert picture.open().getpixel((0, 0)) == (15,) * 3
    assert picture.open(bits=12).getpixel((0, 0)) == (255,) * 3
