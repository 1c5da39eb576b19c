"""The sizes of a workload's images: that of the model, and smaller ones for the first epochs of a trial."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainables.backbones import local_folder
from trainables.data.resize import Resize, nearest_multiples
from trainables.errors import ModelError
from trainables.specs.smaller_images import Size
from trainables.specs.workload import ModelSpec, Task, Workload

_BILINEAR = 2
"""Pillow's number of the interpolation."""


def size_of(workload: Workload) -> Resize:
    """The size that the workload's images are resized to. Raises ModelError."""
    found = _plain_size(workload.model, workload.task)
    if found is None:
        from trainables.tasks.registry import resize_of

        found = resize_of(workload.model, workload.task)
    return found.defined(workload.definitions.pixels)


def smaller_sizes(workload: Workload) -> tuple[Size, ...]:
    """(height, width) of the images in the stages before the last, from the smallest on; empty for one size.

    Shares of the model's own size are rounded to sides that the model takes. Raises ModelError for sizes that
    it does not take, and for a model whose images have no common size.
    """
    smaller = workload.smaller
    if smaller is None:
        return ()
    own = size_of(workload.at_size())
    if own.height is None or own.width is None:
        raise ModelError(
            "scheduler.asha.fidelity needs images of one size, and those of model.name"
            f" '{workload.model.name}' keep their shape; set model.image_size to [height, width]"
        )
    if smaller.sizes:
        *asked, last = smaller.sizes
        if last != (own.height, own.width):
            raise ModelError(
                "scheduler.asha.fidelity.resolution must end with the size of the model's images,"
                f" {[own.height, own.width]}, got {list(last)}; add it, or set model.image_size"
            )
    else:
        asked = [_share_of((own.height, own.width), share, workload) for share in smaller.shares]
    for size in asked:
        _check_takes(workload, size)
    sizes = [*asked, (own.height, own.width)]
    if any(one[0] >= next_[0] or one[1] >= next_[1] for one, next_ in pairwise(sizes)):
        raise ModelError(
            "scheduler.asha.fidelity: images must become larger in each stage, and sides that the model takes"
            f" give {[list(size) for size in sizes]}; write the sizes, such as"
            f" fidelity: {{resolution: [{own.height // 2}, {own.height}]}}, or use a larger model.image_size"
        )
    return tuple(asked)


def _share_of(own: Size, share: float, workload: Workload) -> Size:
    """The size nearest to a share of both sides, in the smallest steps of a few patches that the model takes.

    A step is the patch, or 32 pixels for a model without patches, as those with pyramids need.
    """
    refused: ModelError | None = None
    for step in side_steps(workload.model, workload.task):
        height, width = nearest_multiples((round(own[0] * share), round(own[1] * share)), (step, step))
        try:
            _check_takes(workload, (height, width))
        except ModelError as error:
            refused = error
        else:
            return height, width
    assert refused is not None
    raise refused


def _check_takes(workload: Workload, size: Size) -> None:
    """Raise ModelError if the model does not take images of this size."""
    try:
        size_of(workload.at_size(size))
    except ModelError as error:
        raise ModelError(f"scheduler.asha.fidelity: images of {list(size)} pixels: {error}") from error


def side_steps(model: ModelSpec, task: Task) -> tuple[int, ...]:
    """The numbers of pixels that may divide a side of the model's images, one of them in any case."""
    config = _settings(local_folder(model.name, task) / "config.json")
    if not config:
        from trainables.tasks.hub import read_config

        config = read_config(model, task).to_dict()
    inner = [config, *(part for part in config.values() if isinstance(part, dict))]
    patches = [patch for part in inner if isinstance(patch := part.get("patch_size"), int)]
    return tuple(patches[0] * windows for windows in (1, 2, 4)) if patches else (32, 64)


def _plain_size(model: ModelSpec, task: Task) -> Resize | None:
    """The fixed size in a local folder's settings; None if reading the size needs transformers.

    So a driver need not import transformers, which takes longer than the rest of its start.
    """
    folder = local_folder(model.name, task)
    config, processor = _settings(folder / "config.json"), _settings(folder / "preprocessor_config.json")
    plain = task.facts.plain
    if (
        plain is None
        or config.get("model_type") != plain.model_type
        or processor.get("image_processor_type") not in plain.processors
        or processor.get("resample", _BILINEAR) != _BILINEAR
    ):
        return None
    size = processor.get("size")
    if model.image_size is not None:
        height, width = model.image_size
    elif (
        processor.get("do_resize") is True
        and not processor.get("do_center_crop")
        and isinstance(size, dict)
        and set(size) == {"height", "width"}
        and all(isinstance(side, int) for side in size.values())
    ):
        height, width = size["height"], size["width"]
    else:
        return None
    patch, pretrained = config.get("patch_size"), config.get("image_size")
    if plain.whole_patches and isinstance(pretrained, list) and len(set(pretrained)) > 1:
        return None  # positions of images that are not square
    if plain.whole_patches and (not isinstance(patch, int) or height % patch or width % patch):
        return None
    return Resize.fixed(height, width)


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
