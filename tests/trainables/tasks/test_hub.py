"""Checkpoints: where they are searched, their processors' settings, which ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ViTModel

from tests.trainables.tasks.conftest import load, tiny_yolos, vit_config
from trainables.backbones import EMBEDDED
from trainables.data.embedded import CLASSES
from trainables.errors import ModelError
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import Scale
from trainables.tasks.hub import read_processor, scale_from
from trainables.tasks.registry import resize_of


def _folder(path: Path, task: Task, processor: dict[str, Any]) -> Path:
    if task is Task.DETECTION:
        tiny_yolos({0: "cat"}).save_pretrained(path)
        kind = "YolosImageProcessor"
    else:
        ViTModel(vit_config(), add_pooling_layer=False).save_pretrained(path)
        kind = "ViTImageProcessor"
    content = {"image_processor_type": kind} | processor
    (path / "preprocessor_config.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"size": 48}, (48, 48)),
        ({"size": {"height": 40, "width": 48}}, (40, 48)),
        ({"size": {"shortest_edge": 48}}, (48, 72)),
        ({"size": {"shortest_edge": 48, "longest_edge": 64}}, (40, 64)),
    ],
)
def test_sizes_of_segmentation(tmp_path: Path, processor: dict[str, Any], expected: tuple[int, int]) -> None:
    folder = _folder(tmp_path, Task.SEGMENTATION, processor)
    assert resize_of(ModelSpec(name=str(folder)), Task.SEGMENTATION).target(100, 150) == expected


def test_a_centre_crop_becomes_a_resize_of_the_whole_image(tmp_path: Path) -> None:
    folder = _folder(tmp_path, Task.SEGMENTATION, {})
    content = {
        "image_processor_type": "DeiTImageProcessor", "do_center_crop": True,
        "crop_size": {"height": 48, "width": 48}, "size": {"height": 64, "width": 64},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    assert resize_of(ModelSpec(name=str(folder)), Task.SEGMENTATION).target(9, 9) == (48, 48)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"size": {"shortest_edge": 64, "longest_edge": 96}}, (64, 96)),
        ({"size": 64, "max_size": 80}, (48, 80)),
        ({}, (800, 1200)),
        ({"size": {"height": 64, "width": 64}}, (64, 64)),
    ],
)
def test_sizes_of_detection(tmp_path: Path, processor: dict[str, Any], expected: tuple[int, int]) -> None:
    folder = _folder(tmp_path, Task.DETECTION, processor)
    assert resize_of(ModelSpec(name=str(folder)), Task.DETECTION).target(100, 150) == expected
    asked = ModelSpec(name=str(folder), image_size=(32, 72))
    assert resize_of(asked, Task.DETECTION).target(100, 150) == (32, 72)


def test_a_processor_without_a_size_asks_for_one(tmp_path: Path) -> None:
    folder = _folder(tmp_path, Task.SEGMENTATION, {"do_resize": False})
    with pytest.raises(ModelError, match=r"set model\.image_size"):
        resize_of(ModelSpec(name=str(folder)), Task.SEGMENTATION)


def test_scale_is_the_processors(tmp_path: Path) -> None:
    spec = ModelSpec(name=str(_folder(tmp_path, Task.DETECTION, {})))
    scale = scale_from(read_processor(spec, Task.DETECTION))
    assert scale == Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), pytest.approx(1 / 255))
    _folder(tmp_path, Task.DETECTION, {"do_normalize": False, "do_rescale": False})
    bare = scale_from(read_processor(spec, Task.DETECTION))
    images = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(bare(images), images.float())


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_embedded_backbones_know_the_digits(task: Task) -> None:
    classes = CLASSES if task is Task.DETECTION else ("background", *CLASSES)
    assert resize_of(ModelSpec(), task).target(9, 9) == (64, 64)
    assert not load(task, "embedded", classes).fresh_head
    assert load(task, "embedded", ("only", "these")).fresh_head


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_a_missing_model_says_what_was_tried(task: Task, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no-such/model.*the hub's cache \(HF_HUB_OFFLINE.*revision main.*'embedded'"
    ):
        load(task, "no-such/model", ("a",))
    with pytest.raises(ModelError, match="no folder"):
        resize_of(ModelSpec(name=str(tmp_path / "nothing")), task)
    with pytest.raises(ModelError, match="cannot read its config"):
        resize_of(ModelSpec(name=str(tmp_path)), task)


def test_a_model_of_the_other_task_is_refused() -> None:
    detector = str(Path(__file__).parents[3] / "trainables/backbones/yolos_digits")
    classifier = str(Path(__file__).parents[3] / "trainables/backbones/vit_digits")
    with pytest.raises(ModelError, match="yolos checkpoint; segmentation supports vit"):
        resize_of(ModelSpec(name=detector), Task.SEGMENTATION)
    with pytest.raises(ModelError, match="vit checkpoint; detection supports yolos"):
        resize_of(ModelSpec(name=classifier), Task.DETECTION)


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_missing_weights_are_never_random(task: Task, tmp_path: Path) -> None:
    folder = _folder(tmp_path, task, {})
    held = load_file(folder / "model.safetensors")
    lost = next(name for name in held if name.endswith("bias"))
    save_file(
        {n: t for n, t in held.items() if n != lost}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(ModelError, match="lacks 1 of"):
        load(task, str(folder), ("cat",))


def test_a_repositorys_own_code_is_not_run(tmp_path: Path) -> None:
    folder = _folder(tmp_path, Task.DETECTION, {})
    (folder / "code.py").write_text("raise SystemExit('it ran')\n")
    content = {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"has its own code, .* set model\.trust_remote_code: true"):
        resize_of(ModelSpec(name=str(folder)), Task.DETECTION)
    with pytest.raises(SystemExit, match="it ran"):
        resize_of(ModelSpec(name=str(folder), trust_remote_code=True), Task.DETECTION)


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return self.target.touch, ()


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_a_pickle_that_would_run_code_is_refused(task: Task, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", task, {})
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin")
    assert load(task, str(folder), ("cat",)) is not None
    torch.save({**held, "more": _Bomb(tmp_path / "went off")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled together with other objects than tensors.*safetensors$"):
        load(task, str(folder), ("cat",))
    assert not (tmp_path / "went off").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "went off").exists()


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("kept", [4, 0.01, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_one_sentence(task: Task, kept: float, tmp_path: Path) -> None:
    file = _folder(tmp_path, task, {}) / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(ModelError, match=r"file is damaged or incomplete.*; download it again") as caught:
        load(task, str(tmp_path), ("cat",))
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    detector = _folder(tmp_path / "detector", Task.DETECTION, {})
    vit = _folder(tmp_path / "vit", Task.SEGMENTATION, {})
    (vit / "model.safetensors").replace(detector / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks \d+ of YolosForObjectDetection's weights.*use a checkpoint"):
        load(Task.DETECTION, str(detector), ("cat",))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    vit = _folder(tmp_path, Task.SEGMENTATION, {})
    config = json.loads((vit / "config.json").read_text())
    config["intermediate_size"] += 8
    (vit / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has in another shape .* of ViTModel's weights"):
        load(Task.SEGMENTATION, str(vit), ("a", "b"))


def test_a_label_that_the_detector_lacks_is_named(tmp_path: Path) -> None:
    names = ("person", "motorcycle", "N/A", "N/A")
    tiny_yolos(dict(enumerate(names))).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "YolosImageProcessor"}')
    with pytest.raises(
        ModelError,
        match=r"must include all of the data's 2 classes or none, but lack 'motorbike' "
        r"\(did you mean 'motorcycle'\?\); rename the classes in the data, or set model\.new_head: true",
    ):
        load(Task.DETECTION, str(tmp_path), ("person", "motorbike"))
    assert load(Task.DETECTION, str(tmp_path), ("person", "motorbike"), new_head=True).fresh_head
    assert not load(Task.DETECTION, str(tmp_path), ("motorcycle",)).fresh_head
    assert load(Task.DETECTION, str(tmp_path), ("motorcycle",), new_head=True).fresh_head
    assert load(Task.DETECTION, str(tmp_path), ("okapi",)).fresh_head


def test_a_head_that_is_asked_anew_is_not_frozen() -> None:
    frozen = TrialConfig.model_validate_json('{"adapter": "lora", "freeze_head": true}')
    task = load(Task.DETECTION, "embedded", CLASSES, new_head=True)
    with pytest.raises(ModelError, match=r"freeze_head: model\.new_head is set"):
        task.assemble(frozen, share=True)
    assert load(Task.SEGMENTATION, "embedded", ("background", *CLASSES), new_head=True).fresh_head
