"""Exports a trained model to a folder that does not need our packages, and checks that outputs are equal.

| trained                             | written                                                         |
|-------------------------------------|-----------------------------------------------------------------|
| an adapter on a frozen backbone     | PEFT's two files, and the head                                  |
| the same with `merge`               | a plain model, the adapter merged into its weights              |
| no adapter, or a trained backbone   | the same; for a method that PEFT cannot merge: PEFT's files,    |
|                                     | the head, and the trained backbone in `base`                    |

The folder also has config, image processor, `use.py` (a loader), a model card, and for detectors
`threshold.json`.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.adapters.family import ADAPTER_NAME
from trainables.data.resize import Interpolation
from trainables.errors import AdapterError
from trainables.export import use
from trainables.export.card import card_text
from trainables.export.card_facts import Card, ExportFacts
from trainables.export.folder import check_empty, export_folder
from trainables.export.portable import Portable, split_portable
from trainables.inference.trained_model import TrainedModel
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.tasks import SCORE_THRESHOLD
from trainables.specs.trial import HeadKind
from trainables.specs.workload import ModelSpec
from trainables.tasks import hub
from trainables.tasks.segmenters.instances import query_outputs
from trainables.tasks.segmenters.own_heads import ModelWithHead, OwnHeadTask
from trainables.tasks.segmenters.vit_segmenter import Segmenter
from trainables.tasks.segmenters.vits import VIT_FAMILIES

TOLERANCE = 1e-4
"""The tolerance of outputs: absolute for outputs below 1, otherwise relative to the largest output."""
WEIGHTS = "adapter_model.safetensors"
BASE = "base"
"""The folder of an exported base model."""
THRESHOLD_RULE = "the highest F1 on validation images, boxes of all classes together, at IoU 0.5"
PROBE = 2
"""The number of images that both models' outputs are compared for."""


class ExportKind(StrEnum):
    """The contents of the exported folder."""

    ADAPTER = "adapter"
    MODEL = "model"


@dataclass(frozen=True)
class ExportResult:
    """The exported files.  largest_difference: between the outputs of the trained and the loaded model."""

    folder: Path
    kind: ExportKind
    largest_difference: float
    files: tuple[str, ...]
    """Relative to the folder."""
    size: int
    """Bytes."""
    base: str | None
    """The base of an adapter: `base` if it was exported, a folder, or a hub id."""


def export_model(
    trained: TrainedModel, to: Path, *, merge: bool, card: Card, elsewhere: bool = False
) -> ExportResult:
    """Write `trained` into `to`, which must be absent or empty; nothing is left behind on failure.

    merge: write a plain model even if an adapter is possible.
    elsewhere: include a base that is a folder of this machine, which nobody else could load.
    Raises StorageError, AdapterError if PEFT cannot merge the method, or if the exported model's
    outputs differ.
    """
    check_empty(to)
    parts = split_portable(trained)
    with export_folder(to) as folder:
        kind = _model(trained, parts, folder, merge=merge, elsewhere=elsewhere)
        _processor(trained, folder)
        shutil.copyfile(use.__file__, folder / "use.py")
        difference = _largest_difference(trained, folder)
        base = _base_of(folder) if kind is ExportKind.ADAPTER else None
        facts = ExportFacts(
            whole=kind is ExportKind.MODEL,
            base=base,
            revision=_adapter_config(folder).get("revision") if kind is ExportKind.ADAPTER else None,
            method=_adapter_config(folder)["peft_type"] if kind is ExportKind.ADAPTER else None,
            segments=trained.workload.task.facts.masks,
            difference=difference,
        )
        (folder / "README.md").write_text(card_text(trained, card, facts), encoding="utf-8")
        write_threshold(card, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:  # safetensors makes files readable only for the owner
            path.chmod((folder / "README.md").stat().st_mode)
        size = sum(path.stat().st_size for path in files)
        names = tuple(path.relative_to(folder).as_posix() for path in files)
    return ExportResult(to, kind, difference, names, size, base)


def write_threshold(card: Card, folder: Path) -> None:
    """Write the lowest score of a box to draw or count, where training chose one."""
    if (score := card.metrics.get(SCORE_THRESHOLD)) is not None:
        text = json.dumps({"score": score, "chosen": THRESHOLD_RULE}, indent=2) + "\n"
        (folder / use.THRESHOLD).write_text(text, encoding="utf-8")


def _model(
    trained: TrainedModel, parts: Portable, folder: Path, *, merge: bool, elsewhere: bool
) -> ExportKind:
    """Write weights and configuration."""
    moved = trained.config.mode in TRAINS_BACKBONE
    if parts.head is not None:
        assert isinstance(trained.model, Segmenter)
        _head(trained.model, parts.head, trained.config.head.kind, trained.classes, folder)
        parts.pristine.config.id2label = dict(enumerate(trained.classes))
        parts.pristine.config.label2id = {name: number for number, name in enumerate(trained.classes)}
    if isinstance(trained.task, OwnHeadTask):
        text = json.dumps(trained.task.scored_by, indent=2) + "\n"
        (folder / "classes.json").write_text(text, encoding="utf-8")
    if not (merge or moved or trained.adapted.config is None):
        # Without a head that PEFT can save, the trained head is in an own base.
        own = not parts.head_is_found or (elsewhere and _is_local(trained))
        if own:
            _save(parts.base(), folder / BASE)
        _adapter(trained, parts, folder, own_base=own)
        return ExportKind.ADAPTER
    try:
        _save(parts.merged(), folder)
        return ExportKind.MODEL
    except AdapterError:
        if merge:
            raise
    _save(parts.base(), folder / BASE)
    _adapter(trained, parts, folder, own_base=True)
    return ExportKind.ADAPTER


def _adapter(trained: TrainedModel, parts: Portable, folder: Path, *, own_base: bool) -> None:
    """Write PEFT's two files, and the config of the model with its labels."""
    from peft import get_peft_model_state_dict

    model: Any = parts.with_adapter(saves_head=parts.head_is_found)
    held = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    # Shared tensors are written once for each layer: safetensors does not support sharing.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in held.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config[ADAPTER_NAME]
    config.base_model_name_or_path, config.revision = _base(trained, folder, own=own_base)
    config.inference_mode = True
    for field in ("target_modules", "feedforward_modules"):  # the order of sets changes from run to run
        if names := getattr(config, field, None):
            setattr(config, field, sorted(names))
    config.save_pretrained(str(folder))
    parts.pristine.config.save_pretrained(folder)


def _base(trained: TrainedModel, folder: Path, *, own: bool) -> tuple[str, str | None]:
    """The location of the adapter's base, and a hub id's revision; the embedded base is exported."""
    if own:
        return BASE, None
    spec = trained.workload.model
    place = hub.folder_of(spec, trained.workload.task)
    if place is None:
        return spec.name, _commit(spec)
    if spec.name == "embedded":
        shutil.copytree(place, folder / BASE)
        return BASE, None
    return str(place.resolve()), None


def _is_local(trained: TrainedModel) -> bool:
    """Whether the base is a folder of this machine other than the embedded one, which is copied anyway."""
    spec = trained.workload.model
    return spec.name != "embedded" and hub.folder_of(spec, trained.workload.task) is not None


def _commit(spec: ModelSpec) -> str | None:
    """The commit of a hub id's revision in the cache, which it was just loaded from."""
    from huggingface_hub import try_to_load_from_cache

    held = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision or "main")
    return Path(held).parent.name if isinstance(held, str) else spec.revision


def _save(model: Any, folder: Path) -> None:
    """Save in hub format. A tensor that a decoder shares with the head is written under both names."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    with use.quiet():
        model.save_pretrained(folder, state_dict=state)


def _head(model: Segmenter, head: nn.Module, kind: HeadKind, classes: tuple[str, ...], folder: Path) -> None:
    """Save the head in the format of a head in a backbone's folder."""
    held: Any = head
    config: Any = model.backbone.config
    norm, dropout = isinstance(held.norm, nn.BatchNorm2d), getattr(held.dropout, "p", 0.0)
    made = {
        "classes": list(classes),
        "kind": kind.value,
        "blocks": model.reads,
        "width": None if kind is HeadKind.LINEAR else held.reduce.out_channels,
        "norm": norm,
        "dropout": dropout,
        "prefix_tokens": model.prefix,
        "last_norm": model.last_norm,
        "told_to_interpolate": model.told_to_interpolate,
        "options": dict(VIT_FAMILIES[config.model_type].options),
    }
    (folder / "head.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    state: dict[str, Tensor] = {n: t.detach().contiguous() for n, t in head.state_dict().items()}
    save_file(state, folder / "head.safetensors", metadata={"format": "pt"})


def _processor(trained: TrainedModel, folder: Path) -> None:
    """Save the checkpoint's processor with the size used in training."""
    processor = hub.read_processor(trained.workload.model, trained.workload.task)
    size = trained.task.resize
    processor.do_resize = True
    if size.height is not None and size.width is not None:
        processor.size = {"height": size.height, "width": size.width}
    else:
        processor.size = {"shortest_edge": size.shortest_edge} | (
            {"longest_edge": size.longest_edge} if size.longest_edge is not None else {}
        )
    if getattr(processor, "do_center_crop", False):  # nothing was cropped in training
        processor.do_center_crop = False
    if isinstance(trained.task, ModelWithHead) and size.is_fixed:  # nor cut into pieces or padded
        for change in ("do_split_image", "do_pad"):
            if getattr(processor, change, False):
                setattr(processor, change, False)
    processor.save_pretrained(folder)
    if size.interpolation is Interpolation.BILINEAR_POINTS:  # RF-DETR's own processor, which does that
        path = folder / "preprocessor_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) | {
            "image_processor_type": "RfDetrImageProcessor"
        }
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _largest_difference(trained: TrainedModel, folder: Path) -> float:
    """Load the folder like a user would and compare both models' outputs. Raises AdapterError."""
    try:
        trust = trained.workload.model.trust_remote_code
        loaded = use.load(folder, local_files_only=True, trust_remote_code=trust)
    except Exception as error:  # always an error of ours, which the user cannot fix
        raise AdapterError(f"what was exported does not load: {error}; please report it") from error
    # On the CPU, where both models compute in the same way.
    model = trained.model if trained.device.type == "cpu" else copy.deepcopy(trained.model).cpu()
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(PROBE, 3, *trained.task.resize.target(480, 640), generator=draw)
    with torch.inference_mode():
        theirs, ours = _outputs(loaded(images)), _own_outputs(trained, model.eval(), images)
    difference = float((theirs - ours).abs().max())
    allowed = TOLERANCE * max(1.0, float(ours.abs().max()))
    if not difference <= allowed:
        raise AdapterError(
            f"the exported model's outputs differ from the trained model's by up to {difference:.2g}, more"
            f" than {allowed:.2g}, so nothing was written; please report it, and try with --merge"
        )
    return difference


def _own_outputs(trained: TrainedModel, model: nn.Module, images: Tensor) -> Tensor:
    if isinstance(trained.task, OwnHeadTask):
        return trained.task.class_scores(model, images)
    return _outputs(model(images))


def _outputs(found: Any) -> Tensor:
    if isinstance(found, Tensor):
        return found
    if hasattr(found, "masks_queries_logits"):
        return query_outputs(found)
    masks = [found.pred_masks.flatten(2)] if hasattr(found, "pred_masks") else []
    return torch.cat([found.logits, found.pred_boxes, *masks], dim=-1)


def _adapter_config(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return held


def _base_of(folder: Path) -> str:
    return str(_adapter_config(folder)["base_model_name_or_path"])
