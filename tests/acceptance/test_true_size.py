"""The studies' models at full size, built offline, trained by `train` from shipped files on real images.

YOLOS-Small and ViT-B/16 get random weights in the hub's format. The tests check that sizes, labels,
processor settings and data are handled as for checkpoints from the hub, not what the models learn.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marks import exhaustive
from peft.tuners.tuners_utils import BaseTunerLayer
from PIL import Image
from scipy import ndimage
from transformers import ViTConfig, ViTForImageClassification, YolosConfig, YolosForObjectDetection

from trainables.data.loader import eval_batches
from trainables.data.prepared import Prepared, open_prepared
from trainables.inference.trained_model import load_trained
from trainables.specs.data import Split
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.registry import load_task, resize_of
from trainables.training.checkpoint import read_weights
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not next to the checkout"),
]
NAMES = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
]  # fmt: skip
"""The 80 categories of `detection-datasets/coco`, in its order."""
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""COCO's ids without a category: 'N/A' in the checkpoint's labels."""
IDS = [number for number in range(91) if number not in UNUSED]
LABELS = dict.fromkeys(UNUSED, "N/A") | dict(zip(IDS, NAMES, strict=True))
BYTES = 124e6
"""The settings that the earlier study pickled for each adapter."""


@pytest.fixture(scope="module")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`hustvl/yolos-small` from its config: random weights, its 91 labels, its processor's settings."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "yolos-small"
    config = YolosConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
        image_size=[512, 864], patch_size=16, num_detection_tokens=100, use_mid_position_embeddings=True,
        id2label=dict(sorted(LABELS.items())), label2id={name: number for number, name in LABELS.items()},
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    # With zeros, all queries would be the same.
    embeddings = model.vit.embeddings
    for tensor in (embeddings.detection_tokens, embeddings.cls_token, embeddings.position_embeddings):
        torch.nn.init.trunc_normal_(tensor, std=0.02)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(30.7e6, abs=0.2e6)
    model.save_pretrained(folder)
    settings = {
        "feature_extractor_type": "YolosFeatureExtractor", "image_processor_type": "YolosImageProcessor",
        "do_normalize": True, "do_resize": True, "format": "coco_detection", "size": 800, "max_size": 1333,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`google/vit-base-patch16-224` from its config: the classifier that it is on the hub."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "vit-base-patch16-224"
    model = ViTForImageClassification(ViTConfig(num_labels=1000))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(86.6e6, abs=0.2e6)
    model.save_pretrained(folder)
    settings = {
        "do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224,
        "image_processor_type": "ViTImageProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of real photographs in the form of `detection-datasets/coco`: its columns, in Parquet.

    Boxes are real; the n-th box of a part has category n, so that each of the 80 occurs.
    """
    import datasets

    folder = tmp_path_factory.mktemp("hub") / "coco"
    features = datasets.Features(
        {
            "image_id": datasets.Value("int64"),
            "image": datasets.Image(),
            "width": datasets.Value("int64"),
            "height": datasets.Value("int64"),
            "objects": {
                "bbox_id": datasets.List(datasets.Value("int64")),
                "category": datasets.List(datasets.ClassLabel(names=NAMES)),
                "bbox": datasets.List(datasets.List(datasets.Value("float64"), length=4)),
                "area": datasets.List(datasets.Value("int64")),
            },
        }
    )
    for part, source in (("train", "train"), ("val", "val")):
        rows = _rows(json.loads((DATA / "bccd" / f"instances_{source}.json").read_text()))
        table = datasets.Dataset.from_list(rows, features=features)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder


def _rows(annotated: dict[str, Any], *, images: int = 8, height: int = 384) -> list[dict[str, Any]]:
    """The upper 640×384 pixels of images, which are 800 high when scaled to a longest edge of 1333."""
    rows: list[dict[str, Any]] = []
    given = 0
    for image in annotated["images"][:images]:
        boxes = [a["bbox"] for a in annotated["annotations"] if a["image_id"] == image["id"]]
        corners = [[x, y, x + w, min(y + h, height)] for x, y, w, h in boxes if y < height - 8]
        with Image.open(DATA / "bccd" / "images" / image["file_name"]) as picture:
            held = io.BytesIO()
            picture.crop((0, 0, picture.width, height)).save(held, "JPEG", quality=95)
        rows.append(
            {
                "image_id": image["id"],
                "image": {"bytes": held.getvalue(), "path": None},
                "width": image["width"],
                "height": height,
                "objects": {
                    "bbox_id": list(range(len(corners))),
                    "category": [(given + n) % 80 for n in range(len(corners))],
                    "bbox": corners,
                    "area": [int(0.8 * (x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in corners],
                },
            }
        )
        given += len(corners)
    assert given >= 80
    return rows


def train(file: str, sets: list[str], folder: Path) -> tuple[Experiment, list[dict[str, Any]], Prepared]:
    """Run `adaptertune train`; return the experiment as it ran, its reports and its prepared data."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "ADAPTERTUNE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
    }
    command = [sys.executable, "-P", "-m", "tuning.cli", "train", file, "--into", str(folder / "run")]
    for change in sets:
        command += ["--set", change]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    reports = [json.loads(line) for line in (folder / "run" / "reports.jsonl").read_text().splitlines()]
    (meta,) = (folder / "cache").rglob("meta.json")
    return load_experiment(folder / "run" / "experiment.yaml"), reports, open_prepared(meta.parent)


def detect(adapter: str, yolos: Path, coco: Path, folder: Path, sets: list[str]) -> Prepared:
    """Train a row of study A for two optimizer steps, and assert what must be true after them."""
    common = [
        *(f"model.name={yolos}", f"data.hub.path={coco}", "data.hub.train=train[:2]"),
        *("data.hub.validation=val[:1]", "data.splits={train: 0.8, validation: 0.2, test: 0.0}"),
        *("trial.epochs=1", "trial.batch_size=1", "trial.accumulate=1"),
    ]
    experiment, reports, prepared = train(f"yolos_small_coco_{adapter}", [*common, *sets], folder)
    assert [(r["outcome"], r["step"]) for r in reports] == [("completed", 2)]
    assert math.isfinite(reports[0]["metrics"]["loss"])
    assert 0.0 <= reports[0]["metrics"]["map"] < 0.1, "random weights find nothing"
    assert prepared.classes == tuple(NAMES)
    assert (folder / "run" / "best.ckpt").stat().st_size < BYTES / 10
    weights = read_weights(folder / "run" / "best.ckpt")
    trained = load_trained(experiment.workload, weights.path, device="cpu")
    assert not trained.task.fresh_head
    pristine: Any = load_task(experiment.workload, tuple(NAMES), torch.device("cpu"))
    base, own = dict(pristine.model.named_parameters()), dict(trained.model.named_parameters())
    heads = trained.task.head_names(trained.model)
    assert heads
    assert all(torch.equal(own[n], base[n]) for n in heads), "the study's heads are frozen"
    layers = [m for m in trained.model.modules() if isinstance(m, BaseTunerLayer)]
    assert len(layers) == 24, "query and value of 12 blocks"
    assert all(bool(layer.get_delta_weight("default").any()) for layer in layers)
    return prepared


@pytest.mark.parametrize("adapter", [exhaustive("lora"), exhaustive("adalora")])
def test_yolos_small_at_512_by_864(adapter: str, yolos: Path, coco: Path, tmp_path: Path) -> None:
    sets = ["model.image_size=[512, 864]"]
    if adapter == "adalora":
        sets.append("trial.adalora={init_rank: 24, target_rank: 16, tinit: 0, tfinal: 0, interval: 1}")
    prepared = detect(adapter, yolos, coco, tmp_path, sets)
    assert _sizes(prepared) == {(512, 864)}


@pytest.mark.exhaustive
def test_yolos_small_as_its_processor_says(yolos: Path, coco: Path, tmp_path: Path) -> None:
    prepared = detect("lokr", yolos, coco, tmp_path, [])
    # 800/1333, its sides cut down to whole patches of 16.
    assert _sizes(prepared) == {(800, 1328)}
    assert resize_of(ModelSpec(name=str(yolos)), Task.DETECTION).target(384, 640) == (800, 1328)


@pytest.mark.exhaustive
def test_yolos_small_at_800_by_1333(yolos: Path, coco: Path, tmp_path: Path) -> None:
    prepared = detect("loha", yolos, coco, tmp_path, ["model.image_size=[800, 1333]"])
    assert _sizes(prepared) == {(800, 1333)}


def _sizes(prepared: Prepared) -> set[tuple[int, int]]:
    split = prepared.splits[Split.TRAIN]
    return {(int(height), int(width)) for height, width in split.sizes}


def test_labels_go_by_name_from_80_to_91_number_by_number(
    yolos: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.preparation import prepare_workload

    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    sets = [f"model.name={yolos}", f"data.hub.path={coco}", "data.hub.train=train", "data.hub.validation=val"]
    sets.append("model.image_size=[64, 96]")
    workload = load_experiment("yolos_small_coco_lora", sets).workload
    prepared = open_prepared(prepare_workload(workload))
    task: Any = load_task(workload, prepared.classes, torch.device("cpu"))
    assert len(task.model.config.id2label) == 91
    assert task.ids.tolist() == IDS
    for number, name in enumerate(NAMES):
        assert prepared.classes[number] == name
        assert task.model.config.id2label[int(task.ids[number])] == name
    # The loss gets them like that: each real box has the checkpoint's number for its name.
    stored = _objects(coco, "val")
    split = prepared.splits[Split.VALIDATION]
    seen: set[int] = set()
    for batch in eval_batches(split, batch_size=1):
        (target,) = task._labels(batch)
        (index,) = batch.indices
        boxes, categories = stored[int(split.truth(index).name)]
        assert target["class_labels"].tolist() == [IDS[c] for c in categories]
        expected = [
            [(x0 + x1) / 2 / 640, (y0 + y1) / 2 / 384, (x1 - x0) / 640, (y1 - y0) / 384]
            for x0, y0, x1, y1 in boxes
        ]
        assert np.allclose(target["boxes"], expected, atol=1e-6)
        seen |= set(target["class_labels"].tolist())
    assert seen == set(IDS)


def _objects(coco: Path, part: str) -> dict[int, tuple[list[list[float]], list[int]]]:
    import datasets

    table = datasets.Dataset.from_parquet(str(coco / "data" / f"{part}-00000-of-00001.parquet"))
    rows = table.select_columns(["image_id", "objects"])
    return {row["image_id"]: (row["objects"]["bbox"], row["objects"]["category"]) for row in rows}


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images with trimaps of 1, 2, 3 as Oxford-IIIT Pet has them: object, background, border."""
    folder = tmp_path_factory.mktemp("pets")
    for part in ("images", "trimaps"):
        (folder / part).mkdir()
    source = DATA / "dsb2018" / "fluo_256"
    for path in sorted((source / "images").iterdir())[:10]:
        mask = np.asarray(Image.open(source / "masks" / path.name)) > 0
        trimap = np.full(mask.shape, 2, np.uint8)
        trimap[mask] = 1
        trimap[ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_erosion(mask)] = 3
        (folder / "images" / path.name).write_bytes(path.read_bytes())
        Image.fromarray(trimap).save(folder / "trimaps" / path.name)
    return folder


@pytest.mark.parametrize("adapter", ["lora", exhaustive("serial_lora"), exhaustive("localized_lora")])
def test_vit_base_on_trimaps(adapter: str, vit: Path, pets: Path, tmp_path: Path) -> None:
    sets = [
        *(f"model.name={vit}", f"data.masks.train.images={pets / 'images'}"),
        *(f"data.masks.train.masks={pets / 'trimaps'}", "trial.epochs=1", "trial.batch_size=3"),
    ]
    experiment, reports, prepared = train(f"vit_base_pets_{adapter}", sets, tmp_path)
    assert {"dice/pet", "dice/border", "dice/background", "soft_dice"} <= reports[0]["metrics"].keys()
    assert math.isfinite(reports[0]["metrics"]["loss"])
    assert _sizes(prepared) == {(224, 224)}
    assert {s: len(split) for s, split in prepared.splits.items()} == {"train": 7, "validation": 2, "test": 1}
    trained = load_trained(experiment.workload, tmp_path / "run" / "best.ckpt", device="cpu")
    own = dict(trained.model.named_parameters())
    assert sum(own[n].numel() for n in trained.adapted.parameter_names()) == 589_824
    # The study's head: 2.66 M parameters.
    assert (
        sum(own[n].numel() for n in trained.task.head_names(trained.model)) == 768 * 384 * 9 + 384 + 3 * 385
    )
