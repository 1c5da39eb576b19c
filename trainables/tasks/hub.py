"""Reads a checkpoint in hub format, embedded, local or from the hub: its config, processor, weights.

Code in a repository runs only if the file allows it (`model.trust_remote_code`), and pickled weights are
read with `weights_only`, which runs no code. A checkpoint that lacks weights is refused: they would be
random, and all metrics meaningless.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from trainables.backbones import EMBEDDED, no_backbone
from trainables.data.resize import Interpolation, Resize
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import Scale
from trainables.tasks.processors import read_image_processor


def folder_of(spec: ModelSpec, task: Task) -> Path | None:
    """The local folder that `spec` names; None for a hub id. Raises ModelError for a missing folder."""
    if spec.name == "embedded":
        if task not in EMBEDDED:
            raise ModelError(f"model.name: {no_backbone(task)}")
        return EMBEDDED[task]
    path = Path(spec.name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or spec.name.startswith((".", "~")) or spec.name.count("/") > 1:
        raise ModelError(
            f"model.name: no folder {spec.name}; give a folder in hub format, a hub id or 'embedded'"
        )
    return None


def read_config(spec: ModelSpec, task: Task) -> Any:
    """The model's config. Raises ModelError."""
    from transformers import AutoConfig

    return _read(spec, task, "config", AutoConfig.from_pretrained)


def read_processor(spec: ModelSpec, task: Task) -> Any:
    """The image processor's settings. Raises ModelError."""
    return _read(spec, task, "image processor settings", read_image_processor)


def read_model(spec: ModelSpec, task: Task, auto: Any, **options: Any) -> nn.Module:
    """The model in float32 and evaluation mode. Raises ModelError, also if weights are missing."""
    return read_model_and_head(spec, task, auto, **options)[0]


def read_model_and_head(
    spec: ModelSpec,
    task: Task,
    auto: Any,
    *,
    head: str = "",
    constants: tuple[str, ...] = (),
    **options: Any,
) -> tuple[nn.Module, bool]:
    """The model as `read_model` gives it, and whether the checkpoint has all weights of its head.

    head: the beginning of the head's names; a checkpoint may lack all of it.
    constants: beginnings of names of what follows from the config. Raises ModelError as `read_model` does.
    """
    model, report = _read(
        spec,
        task,
        "weights",
        auto.from_pretrained,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported, and refused below with our own message
        **options,
    )
    misshapen = {key[0] for key in report["mismatched_keys"]}
    absent = sorted({*report["missing_keys"], *misshapen})
    absent = [name for name in absent if not name.startswith(constants)] if constants else absent
    of_head = {name for name in model.state_dict() if head and name.startswith(head)}
    has_head = not (of_head and of_head <= set(absent))
    absent = [name for name in absent if has_head or name not in of_head]
    if absent:
        verb = "has in another shape" if misshapen.issuperset(absent) else "lacks"
        raise ModelError(
            f"model.name '{spec.name}': the checkpoint {verb} {len(absent)} of {type(model).__name__}'s "
            f"weights ({', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}), which would be random; "
            "use a checkpoint of this kind of model"
        )
    loaded: nn.Module = model.eval().requires_grad_(False)
    return loaded, has_head


def resize_from(processor: Any, spec: ModelSpec, *, multiple_of: int = 1) -> Resize:
    """The resize rule: from `model.image_size` if given, otherwise from the processor.

    multiple_of: sides that depend on an image's shape are rounded down to a multiple of this.
    If a processor resizes and then crops the centre (DeiT), the whole image is resized
    to the crop's size instead: nothing may be lost at the borders. Raises ModelError.
    """
    rule = _sizes_from(processor, spec, multiple_of)
    return rule.by(_interpolation(processor))


def _sizes_from(processor: Any, spec: ModelSpec, multiple_of: int) -> Resize:
    if spec.image_size is not None:
        return Resize.fixed(*spec.image_size)
    crop = (
        _sizes(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else {}
    )
    for size in (crop, _sizes(getattr(processor, "size", None)) if processor.do_resize else {}):
        if "height" in size and "width" in size:
            return Resize.fixed(size["height"], size["width"])
        if "shortest_edge" in size:
            return Resize.edges(size["shortest_edge"], size.get("longest_edge"), multiple_of=multiple_of)
    raise ModelError(
        f"model.name '{spec.name}': its processor settings have no size to resize to; "
        "set model.image_size to [height, width]"
    )


def _interpolation(processor: Any) -> Interpolation:
    """The processor's; bilinear if it names none."""
    number = getattr(processor, "resample", None)
    if not getattr(processor, "antialias", True):
        return Interpolation.BILINEAR_POINTS
    return Interpolation.BILINEAR if number is None else Interpolation(Image.Resampling(number).name.lower())


def scale_from(processor: Any) -> Scale:
    """The processor's scaling of pixel values."""
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return Scale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), factor)
    mean, std = (tuple(float(v) for v in values) for values in (processor.image_mean, processor.image_std))
    return Scale(mean, std, factor)


def _sizes(size: Any) -> dict[str, int]:
    return {} if size is None else {key: int(value) for key, value in dict(size).items() if value is not None}


def _read(spec: ModelSpec, task: Task, what: str, reader: Callable[..., Any], **options: Any) -> Any:
    folder = folder_of(spec, task)
    where = spec.name if folder is None else str(folder)
    revision = spec.revision or "main"
    # huggingface_hub reads the variable only when it is imported, which may have been long ago.
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "on", "yes")
    try:
        with _quiet():
            return reader(
                where,
                revision=revision,
                trust_remote_code=spec.trust_remote_code,
                local_files_only=offline,
                **options,
            )
    except Exception as error:  # loading raises errors of any type, which the user has to fix
        hub = "the hub's cache (HF_HUB_OFFLINE is set)" if offline else "the hub and its cache"
        tried = f"the folder {where}" if folder is not None else f"{hub}, revision {revision}"
        reason, way_out = _explained(error)
        raise ModelError(
            f"model.name '{spec.name}': cannot read its {what}; tried {tried}: {reason}; {way_out}"
        ) from error


def _explained(error: Exception) -> tuple[str, str]:
    """Why a checkpoint could not be loaded, in a line, and the solution."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if type(error).__name__ == "SafetensorError":
        return f"its safetensors file is damaged or incomplete ({reason})", "download it again"
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in reason:
        return (
            "its weights are pickled together with other objects than tensors, which may run code "
            "when they are read, so they are not read",
            "use a checkpoint in safetensors",
        )
    if "trust_remote_code" in str(error):
        return (
            "its repository has its own code, which is not run",
            "read that code, then set model.trust_remote_code: true, or use a model that is in transformers",
        )
    return reason, "use a folder in hub format, a hub id that is reachable or cached, or 'embedded'"


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off transformers' messages about unused weights and its progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
