"""What is known of each task without its models: metrics, data, settings, the embedded backbone.

Add a task: a value here, its member of `trainables.specs.workload.Task`, its model in
`trainables.tasks`. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COCO_METRICS = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
"""The twelve COCO metrics in COCO's order, under torchmetrics' names."""


@dataclass(frozen=True)
class PlainCheckpoint:
    """Checkpoints whose image size is read from their JSON files, without importing transformers.

    whole_patches: whether the patches must fill the image.
    """

    model_type: str
    processors: tuple[str, ...]
    whole_patches: bool


@dataclass(frozen=True)
class TaskFacts:
    """What others ask about a task."""

    metrics: tuple[str, ...]
    """Metrics on validation images; the first is the main one, whose share under a shift is robustness."""
    class_metrics: tuple[str, ...]
    """Those that are also reported for each class, as `map/NAME`."""
    table_metrics: tuple[str, ...]
    """Columns of `adaptertune evaluate`."""
    card_metrics: tuple[str, ...]
    """Columns of an exported model's card."""
    sources: tuple[str, ...]
    """Kinds of data that serve it, as the keys of the `data` section."""
    settings: tuple[str, ...]
    """Settings of a trial, or sections of them, that not every task takes."""
    backbone: str
    """The embedded backbone, a folder of `trainables/backbones`."""
    plain: PlainCheckpoint
    boxes: bool = False
    """Whether images are annotated with boxes."""
    masks: bool = False
    """Whether images are annotated with a mask of classes."""
    background: bool = False
    """Whether the first class is the background."""
    lower_is_better: frozenset[str] = frozenset({"loss"})

    @property
    def main_metric(self) -> str:
        """The metric whose share under a shift is robustness."""
        return self.metrics[0]

    @property
    def annotations(self) -> str:
        """What its images are annotated with, in words."""
        return " and ".join(name for name in ("boxes", "masks") if getattr(self, name))


TASK_FACTS: Mapping[str, TaskFacts] = {
    "detection": TaskFacts(
        metrics=(*COCO_METRICS, "loss"),
        class_metrics=("map",),
        table_metrics=("map", "map_50", "map_75", "mar_100", "loss"),
        card_metrics=("map", "map_50", "map_75"),
        sources=("embedded", "coco", "hub"),
        settings=(),
        backbone="yolos_digits",
        plain=PlainCheckpoint(
            "yolos", ("YolosImageProcessor", "YolosImageProcessorPil"), whole_patches=False
        ),
        boxes=True,
    ),
    "segmentation": TaskFacts(
        metrics=("dice", "iou", "soft_dice", "loss"),
        class_metrics=("dice", "iou"),
        table_metrics=("dice", "iou", "soft_dice", "loss"),
        card_metrics=("dice", "iou"),
        sources=("embedded", "masks"),
        settings=("loss", "head"),
        backbone="vit_digits",
        plain=PlainCheckpoint("vit", ("ViTImageProcessor", "ViTImageProcessorPil"), whole_patches=True),
        masks=True,
        background=True,
    ),
}
"""By the values of `Task`."""
