"""Loads the model in this folder. It needs only torch, transformers, peft and safetensors.

Some methods of PEFT need one more package; the README names it.

    from use import load

    model = load()                           # or load("path/to/the/folder"), from anywhere
    out = model(pixel_values=images)         # (B, 3, H, W), scaled as in preprocessor_config.json

Detection: `out.logits` and `out.pred_boxes`, as documented in transformers; labels are in config.json.
Instance segmentation: `out.pred_masks` as well, logits of each query's mask, smaller than the image; of a
model without boxes `out.class_queries_logits` and `out.masks_queries_logits`.
Segmentation: scores (B, classes, H, W), of which the highest decides for a pixel; classes are in head.json or
classes.json. Of a segmenter with its own head, `model.model` is the model of transformers.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig
from transformers.utils import logging

HERE = Path(__file__).resolve().parent
THRESHOLD = "threshold.json"


def load(folder: str | Path = HERE, *, base: str | Path | None = None, **options: Any) -> nn.Module:
    """The model in evaluation mode, in float32, on the CPU.

    base: the new location of the backbone if it has moved: a folder in hub format or a hub id.
    options: passed to `from_pretrained`, for example `local_files_only=True`.
    """
    folder = Path(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=options.get("trust_remote_code", False))
    made, own = _read(folder / "head.json"), _read(folder / "classes.json")
    where, pinned = _base(folder, base)
    name = own["auto"] if own is not None else _detector(config) if made is None else "AutoModel"
    auto = getattr(transformers, name)
    if made is not None:  # no pooling layer
        options = made["options"] | options
    if options.get("local_files_only"):  # transformers ignores it when it searches for adapters
        options = {"adapter_kwargs": {"local_files_only": True}} | options
    with quiet():  # no messages about a classifier of another size, which is in the adapter
        model: nn.Module = auto.from_pretrained(
            where,
            config=config,
            **({"dtype": torch.float32, "ignore_mismatched_sizes": True} | pinned | options),
        )
    if (folder / "adapter_config.json").exists():
        model = _adapted(model, folder)
    if own is not None:
        return _OwnHead(model, own).eval()
    return (model if made is None else _Segmenter(model, config, made, folder)).eval()


def processor(folder: str | Path = HERE) -> Any:
    """The image processor, with the size that the model was trained on; needs pillow.

    RF-DETR's needs torchvision as well; without it you get RT-DETR's, which does the same except that it
    averages pixels where it makes an image smaller.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(Path(folder), backend="pil")
    except (ImportError, ValueError):
        settings = _read(Path(folder) / "preprocessor_config.json") or {}
        if settings.get("image_processor_type") != "RfDetrImageProcessor":
            raise
        from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

        return RTDetrImageProcessorPil.from_dict(settings)


def threshold(folder: str | Path = HERE) -> float | None:
    """For a detector: the lowest score of a box to draw or count; None if training chose none."""
    path = Path(folder) / THRESHOLD
    return float(json.loads(path.read_text(encoding="utf-8"))["score"]) if path.exists() else None


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON file; None if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _detector(config: Any) -> str:
    """The class of transformers for a model with boxes, with masks or without."""
    built = getattr(config, "architectures", None) or []
    for kind in ("InstanceSegmentation", "UniversalSegmentation"):
        if any(kind in name for name in built):
            return f"AutoModelFor{kind}"
    return "AutoModelForObjectDetection"


def _base(folder: Path, given: str | Path | None) -> tuple[str, dict[str, Any]]:
    """The location of the base's weights, and the revision of a hub id."""
    if given is not None:
        return str(given), {}
    if (folder / "base").is_dir():
        return str(folder / "base"), {}
    if not (folder / "adapter_config.json").exists():
        return str(folder), {}
    adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    revision = adapter.get("revision")
    return adapter["base_model_name_or_path"], {"revision": revision} if revision else {}


def _adapted(model: Any, folder: Path) -> nn.Module:
    from peft import PeftModel

    untie(model)
    with quiet():
        adapted: nn.Module = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
    return adapted


def untie(model: Any) -> None:
    """Let PEFT take no tied head of a detector for an embedding, which it would search for in vain."""
    kind = type(model)
    if isinstance(getattr(kind, "_tied_weights_keys", None), property):  # DEIMv2's cannot be set
        model.__class__ = type(kind.__name__, (kind,), {"_tied_weights_keys": None})
    else:
        model._tied_weights_keys = None


class _Segmenter(nn.Module):
    """A ViT without its class token, and a head over its patches."""

    def __init__(self, backbone: nn.Module, config: Any, made: dict[str, Any], folder: Path) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes: list[str] = made["classes"]
        self._blocks: list[int] | None = made["blocks"]
        self._norm: str = made["last_norm"]
        inputs = config.hidden_size * len(self._blocks or [-1])
        head = _LinearHead if made["kind"] == "linear" else _Head
        self.head = head(inputs, len(self.classes), made)
        self.head.load_state_dict(load_file(folder / "head.safetensors"))
        self.patch = _pair(config.patch_size)
        self._size = _pair(config.image_size)
        self._prefix: int = made["prefix_tokens"]
        self._told: bool = made["told_to_interpolate"]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes, H, W) logits."""
        size = (pixel_values.shape[-2], pixel_values.shape[-1])
        options = {"interpolate_pos_encoding": True} if self._told and size != self._size else {}
        tokens = self._tokens(pixel_values, options)[:, self._prefix :]
        grid = (size[0] // self.patch[0], size[1] // self.patch[1])
        maps = tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)
        scores = self.head(maps).float()
        return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)

    def _tokens(self, pixel_values: Tensor, options: dict[str, bool]) -> Tensor:
        """Those of the last block, or of several, each normalised."""
        if self._blocks is None:
            last: Tensor = self.backbone(pixel_values=pixel_values, **options).last_hidden_state
            return last
        states = self.backbone(pixel_values=pixel_values, output_hidden_states=True, **options).hidden_states
        plain: Any = self.backbone
        plain = plain.get_base_model() if hasattr(plain, "get_base_model") else plain
        norm = getattr(plain, self._norm)
        if isinstance(norm, nn.Identity):
            return torch.cat([functional.layer_norm(s, s.shape[-1:]) for s in self._read(states)], dim=-1)
        return torch.cat([norm(s) for s in self._read(states)], dim=-1)

    def _read(self, states: Any) -> list[Tensor]:
        return [states[block + 1] for block in self._blocks or []]


class _Head(nn.Module):
    def __init__(self, inputs: int, classes: int, made: dict[str, Any]) -> None:
        super().__init__()
        width = made["width"]
        self.reduce = nn.Conv2d(inputs, width, kernel_size=3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(width) if made["norm"] else nn.Identity()
        self.dropout: nn.Module = nn.Dropout2d(made["dropout"]) if made["dropout"] else nn.Identity()
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, hidden, rows, columns) -> (B, classes, rows, columns)."""
        scores: Tensor = self.classify(self.dropout(functional.relu(self.norm(self.reduce(maps)))))
        return scores


class _LinearHead(nn.Module):
    def __init__(self, inputs: int, classes: int, made: dict[str, Any]) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(inputs) if made["norm"] else nn.Identity()
        self.dropout: nn.Module = nn.Dropout2d(made["dropout"]) if made["dropout"] else nn.Identity()
        self.classify = nn.Conv2d(inputs, classes, kernel_size=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, rows, columns) -> (B, classes, rows, columns)."""
        scores: Tensor = self.classify(self.dropout(self.norm(maps)))
        return scores


class _OwnHead(nn.Module):
    """A segmenter of transformers with its own head, and the scores that its processor computes of it."""

    def __init__(self, model: nn.Module, made: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.classes: list[str] = made["classes"]
        self._labels: list[int] = made["labels"]
        self._between: list[int] | None = made["masks_at"]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes, H, W) scores; not probabilities."""
        size = (pixel_values.shape[-2], pixel_values.shape[-1])
        out = self.model(pixel_values=pixel_values)
        if hasattr(out, "logits"):
            return _resized(out.logits.float(), size)[:, self._labels]
        masks = _resized(out.masks_queries_logits.float(), self._between or size)
        classes = out.class_queries_logits.float().softmax(-1)[..., :-1]
        scores = torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())
        return _resized(scores, size)[:, self._labels]


def _resized(maps: Tensor, size: Any) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _pair(value: Any) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off transformers' messages and progress bars."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about deprecated names that peft still uses
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
