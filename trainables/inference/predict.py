"""The predictions of a trained model for a user's images: boxes, masks or both, in the images' own pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import JsonValue
from torch import Tensor, nn

from trainables.data.files.file_names import lost_links, walk_files
from trainables.data.files.object_masks import decode
from trainables.data.files.pixels import read_photo, resized
from trainables.data.loader import Batch
from trainables.data.prepared import Array
from trainables.errors import DataError, ModelError
from trainables.inference.drawing import draw_boxes, draw_mask, draw_objects
from trainables.inference.trained_model import TrainedModel
from trainables.metrics.coco import top_detections
from trainables.specs.workload import Task
from trainables.tasks.base import autocast
from trainables.tasks.detection import DetectionTask
from trainables.tasks.found_objects import detections_of
from trainables.tasks.instance_segmentation import InstanceTask
from trainables.tasks.segmenters.instances import QueryTask
from trainables.wording import plural

THRESHOLD = 0.5
"""The lowest score of a reported box, for an adapter without a threshold of its own."""


@dataclass(frozen=True)
class Box:
    """One object. box: xywh in the image's pixels, cut to the image.  category: the index of its label."""

    label: str
    category: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Boxes:
    """The objects of an image that reach the threshold, by decreasing score.

    highest: the box with the highest score, whether it reaches the threshold or not.
    """

    found: tuple[Box, ...]
    threshold: float
    highest: Box | None = None

    def drawn(self, image: Image.Image) -> Image.Image:
        """The image with its boxes; the highest score is on top."""
        rising = self.found[::-1]
        return draw_boxes(
            image,
            [b.box for b in rising],
            [b.category for b in rising],
            [f"{b.label} {b.score:.2f}" for b in rising],
        )

    def record(self) -> dict[str, JsonValue]:
        """The result for JSON, in the format of COCO detections."""
        return {
            "threshold": self.threshold,
            "detections": [
                {
                    "bbox": [round(v, 2) for v in b.box],
                    "label": b.label,
                    "category_id": b.category,
                    "score": round(b.score, 6),
                }
                for b in self.found
            ],
        }

    def summary(self) -> str:
        """A short text: `3 boxes: cat ×2, dog ×1`, or `0 boxes; the highest score is 0.312 (cat)`."""
        counts = Counter(b.label for b in self.found)
        text = self._counted()
        if counts:
            return text + ": " + ", ".join(f"{label} ×{n}" for label, n in counts.most_common())
        if self.highest is not None:
            # Rounded down, so that it is not shown as the threshold that it does not reach.
            score = math.floor(self.highest.score * 10_000) / 10_000
            return f"{text}; the highest score is {score:g} ({self.highest.label})"
        return text

    def _counted(self) -> str:
        return plural(len(self.found), "box", "boxes")


@dataclass(frozen=True)
class Instances(Boxes):
    """Objects with a mask each. masks: those of `found`, in run-length encoding.  size: (height, width)."""

    masks: tuple[bytes, ...] = ()
    size: tuple[int, int] = (0, 0)

    def drawn(self, image: Image.Image) -> Image.Image:
        """The image with masks and boxes; the highest score is on top."""
        masks = [decode(code, self.size) for code in self.masks[::-1]]
        painted = draw_objects(image, masks, [b.category for b in self.found[::-1]])
        return super().drawn(painted)

    def record(self) -> dict[str, JsonValue]:
        """The result for JSON, in the format of COCO results, masks in run-length encoding."""
        shapes: list[JsonValue] = [{"size": list(self.size), "counts": code.decode()} for code in self.masks]
        boxes = super().record()
        detections: Any = boxes["detections"]
        shown = [d | {"segmentation": shape} for d, shape in zip(detections, shapes, strict=True)]
        return boxes | {"detections": shown}

    def _counted(self) -> str:
        return plural(len(self.found), "object")


@dataclass(frozen=True)
class Mask:
    """The class of every pixel. classes: their names.  mask: (height, width) uint8, the image's size."""

    classes: tuple[str, ...]
    mask: Array

    @cached_property
    def counts(self) -> list[int]:
        """Pixels of each class."""
        return [int(n) for n in np.bincount(self.mask.ravel(), minlength=len(self.classes))]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image that each class takes."""
        return {name: n / self.mask.size for name, n in zip(self.classes, self.counts, strict=True)}

    def drawn(self, image: Image.Image) -> Image.Image:
        """The image with an overlay of all classes but the first."""
        texts = [f"{name}  {share:.1%}" for name, share in self.shares.items()]
        return draw_mask(image, self.mask, self.classes, texts)

    def record(self) -> dict[str, JsonValue]:
        """The result for JSON; `value` is the class's pixel value in the mask file."""
        return {
            "classes": [
                {"label": name, "value": value, "pixels": n, "share": round(n / self.mask.size, 6)}
                for value, (name, n) in enumerate(zip(self.classes, self.counts, strict=True))
            ]
        }

    def summary(self) -> str:
        """A short text: `nucleus 12.3%`."""
        shown = [f"{name} {share:.1%}" for name, share in list(self.shares.items())[1:] if share]
        return ", ".join(shown) or f"nothing but {self.classes[0]}"


Prediction = Boxes | Instances | Mask


def predict_image(trained: TrainedModel, image: Image.Image, *, threshold: float = THRESHOLD) -> Prediction:
    """Predict for an RGB image of any size.

    The image is resized and scaled as in training, and the result is in the image's own pixels.
    threshold: the lowest score of a box, unused for masks. Raises ModelError if outputs are not finite.
    """
    task, model = trained.task, trained.model
    with torch.inference_mode(), autocast(trained.device, trained.config.precision):
        raw = task.outputs(model, batch_of(trained, image)).float()
    if not bool(torch.isfinite(raw).all()):
        raise ModelError("the model's outputs are not finite: its training must have diverged")
    return READERS[trained.workload.task](trained, raw, image, threshold)


def batch_of(trained: TrainedModel, image: Image.Image) -> Batch:
    """One RGB image as an input of the model: resized as in training, on its device."""
    height, width = trained.task.resize.target(image.height, image.width)
    planes = resized(image, (height, width), trained.task.resize.interpolation).transpose(2, 0, 1)[None]
    pixels = torch.from_numpy(np.ascontiguousarray(planes)).to(trained.device)
    return Batch(images=pixels, valid=[(height, width)], targets=None, masks=None, indices=[0])


def _boxes(trained: TrainedModel, raw: Tensor, image: Image.Image, threshold: float) -> Boxes:
    task = trained.task
    assert isinstance(task, DetectionTask)
    scores, labels, boxes = task.family.scores(raw[..., :-4], raw[..., -4:], task.ids)
    found = top_detections(*(t[0].cpu().numpy() for t in (boxes, scores, labels)))
    size = np.array([image.width, image.height], np.float64)
    near = np.clip((found.boxes[:, :2] - found.boxes[:, 2:] / 2) * size, 0, size)
    far = np.clip((found.boxes[:, :2] + found.boxes[:, 2:] / 2) * size, 0, size)
    rows = zip(found.scores.tolist(), found.labels.tolist(), near.tolist(), far.tolist(), strict=True)
    every = tuple(
        Box(task.classes[label], label, score, (x0, y0, x1 - x0, y1 - y0))
        for score, label, (x0, y0), (x1, y1) in rows
    )
    return Boxes(tuple(box for box in every if box.score >= threshold), threshold, next(iter(every), None))


def _instances(trained: TrainedModel, raw: Tensor, image: Image.Image, threshold: float) -> Instances:
    task = trained.task
    assert isinstance(task, InstanceTask | QueryTask)
    found = task.objects(raw, task.resize.target(image.height, image.width))[0]
    kept = int((found.scores >= threshold).sum())
    seen = detections_of(found, (image.height, image.width), most=max(kept, 1))
    limits = np.array([image.width, image.height])
    near = np.clip(seen.boxes[:, :2], 0, limits)
    sides = np.clip(seen.boxes[:, :2] + seen.boxes[:, 2:], 0, limits) - near
    rows = zip(seen.scores.tolist(), seen.labels.tolist(), near.tolist(), sides.tolist(), strict=True)
    every = tuple(Box(task.classes[n], n, score, (x, y, w, h)) for score, n, (x, y), (w, h) in rows)
    masks = (seen.masks or ())[:kept]
    return Instances(every[:kept], threshold, next(iter(every), None), masks, seen.size)


def _mask(trained: TrainedModel, logits: Tensor, image: Image.Image, threshold: float) -> Mask:
    """Resize logits to the image's size before choosing the best class, so that edges stay smooth.

    This is done class by class, as all classes at once may not fit into memory for a large photo.
    """
    size = (image.height, image.width)
    best = torch.full(size, -torch.inf, device=logits.device)
    mask = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for index, plane in enumerate(logits[0]):
        value = nn.functional.interpolate(plane[None, None], size=size, mode="bilinear")[0, 0]
        mask[value > best] = index
        best = torch.maximum(best, value)
    return Mask(trained.classes, mask.cpu().numpy())


READERS: Mapping[Task, Callable[[TrainedModel, Tensor, Image.Image, float], Prediction]] = {
    Task.DETECTION: _boxes,
    Task.SEGMENTATION: _mask,
    Task.INSTANCE_SEGMENTATION: _instances,
}
"""The functions that convert a task's raw outputs for one image."""


# --- files ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageFile:
    """An image file, and the name of its results: a path without suffix."""

    path: Path
    name: str

    def open(self, *, bits: int | None = None) -> Image.Image:
        """Read it as training does, upright and in RGB. Raises DataError if it cannot be read.

        bits: `data.bits` of the training data.
        """
        try:
            return read_photo(self.path, bits=bits).image
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error …
            if isinstance(error, FileNotFoundError):
                raise DataError(f"{self.path}: there is no such image or folder") from error
            raise DataError(f"{self.path}: cannot be read as an image ({error})") from error


def image_files(paths: Iterable[Path], *, results: Path) -> tuple[list[ImageFile], list[str]]:
    """The given files, and all images below a given folder, each with a unique name.

    results: the folder that results are written to; images in it are ignored. The second list has a
    message for each folder without images, or with links to what does not exist.
    """
    found: list[ImageFile] = []
    faults: list[str] = []
    taken: set[str] = set()
    for path in paths:
        files = _files(path, results)
        if not files:
            faults.append(f"{path}: this folder has no images")
        if path.is_dir() and (lost := lost_links(path)):
            faults.append(lost)
        for file, name in files:
            free, number = name, 2
            while free in taken:
                free, number = f"{name}-{number}", number + 1
            taken.add(free)
            found.append(ImageFile(file, free))
    return found, faults


def _files(path: Path, results: Path) -> list[tuple[Path, str]]:
    if not path.is_dir():
        return [(path, path.stem)]
    known, left_out = Image.registered_extensions(), results.resolve()
    return [
        (file, file.relative_to(path).with_suffix("").as_posix())
        for file in walk_files(path, needed=known)
        if file.suffix.lower() in known and not file.resolve().is_relative_to(left_out)
    ]
