"""What is known about each task without its models: metrics, data, settings, the embedded backbone.

To add a task: add a value here, a member of `trainables.specs.workload.Task`, and its model in
`trainables.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COCO_METRICS = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
"""The twelve COCO metrics in COCO's order, with the names of torchmetrics."""
MAP_WORST = "map_worst"
"""The least `map` of a class that has objects."""


def is_coco(base: str) -> bool:
    """Whether a metric's name without class and domain is a COCO metric, or `map_worst`."""
    return base in COCO_METRICS or base == MAP_WORST


SCORE_THRESHOLD = "score_threshold"
"""In a report of a detector: the score at which F1 on validation images is highest; no metric to optimise."""


@dataclass(frozen=True)
class PlainCheckpoint:
    """Checkpoints with an image size that can be read from JSON files, without importing transformers.

    whole_patches: whether the patches must fill the image.
    """

    model_type: str
    processors: tuple[str, ...]
    whole_patches: bool


@dataclass(frozen=True)
class TaskFacts:
    """The facts about a task that other packages need."""

    metrics: tuple[str, ...]
    """Metrics on validation images. The first is the main metric, which robustness is computed from."""
    class_metrics: tuple[str, ...]
    """Metrics that exist for each class too, as `map/NAME`."""
    reported_by_class: tuple[str, ...]
    """Those of them that a report of training holds for each class; see `training.validation.reported`."""
    table_metrics: tuple[str, ...]
    """Columns of `adaptertune evaluate`."""
    card_metrics: tuple[str, ...]
    """Columns of an exported model's card."""
    sources: tuple[str, ...]
    """Kinds of data that the task accepts, as keys of the `data` section."""
    settings: tuple[str, ...]
    """Settings of a trial, or whole sections, that not every task accepts."""
    own_heads: frozenset[str]
    """Model types with a head and a loss of their own, which take none of `settings`."""
    own_losses: frozenset[str]
    """Model types whose loss is that of transformers, which knows no weights of classes."""
    backbone: str | None
    """The embedded backbone, a folder of `trainables/backbones`; None for a task without one."""
    plain: PlainCheckpoint | None
    """Checkpoints whose size is read without transformers; None for a task without such."""
    boxes: bool = False
    """Whether images are annotated with boxes."""
    masks: bool = False
    """Whether images are annotated with a mask of classes."""
    instances: bool = False
    """Whether every box has a mask of its own."""
    background: bool = False
    """Whether the first class is the background."""
    lower_is_better: frozenset[str] = frozenset({"loss"})

    @property
    def main_metric(self) -> str:
        """The metric that robustness is computed from."""
        return self.metrics[0]

    @property
    def annotations(self) -> str:
        """What its images are annotated with, as text."""
        if self.instances:
            return "masks of single objects"
        return " and ".join(name for name in ("boxes", "masks") if getattr(self, name))


_OWN_SEGMENTERS = frozenset({"segformer", "mask2former", "eomt", "eomt_dinov3"})

TASK_FACTS: Mapping[str, TaskFacts] = {
    "detection": TaskFacts(
        metrics=(*COCO_METRICS, MAP_WORST, "loss"),
        class_metrics=COCO_METRICS,
        reported_by_class=("map",),
        table_metrics=("map", "map_50", "map_75", "mar_100", "loss"),
        card_metrics=("map", "map_50", "map_75"),
        sources=("embedded", "coco", "hub", "yolo", "voc", "labelme", "folder"),
        settings=(),
        own_heads=frozenset(),
        own_losses=frozenset({"rt_detr", "rt_detr_v2", "d_fine", "deimv2", "lw_detr", "rf_detr"}),
        backbone="yolos_digits",
        plain=PlainCheckpoint(
            "yolos", ("YolosImageProcessor", "YolosImageProcessorPil"), whole_patches=False
        ),
        boxes=True,
    ),
    "segmentation": TaskFacts(
        metrics=(
            "dice",
            "iou",
            "soft_dice",
            "loss",
            "dice_with_background",
            "iou_with_background",
            "dice_worst",
            "iou_worst",
        ),
        class_metrics=("dice", "iou"),
        reported_by_class=("dice", "iou"),
        table_metrics=("dice", "iou", "soft_dice", "loss"),
        card_metrics=("dice", "iou"),
        sources=("embedded", "masks", "hub", "coco", "yolo", "labelme", "folder"),
        settings=("loss", "head"),
        own_heads=_OWN_SEGMENTERS,
        own_losses=_OWN_SEGMENTERS,
        backbone="vit_digits",
        plain=PlainCheckpoint("vit", ("ViTImageProcessor", "ViTImageProcessorPil"), whole_patches=True),
        masks=True,
        background=True,
    ),
    "instance_segmentation": TaskFacts(
        metrics=(*COCO_METRICS, MAP_WORST, "loss"),
        class_metrics=COCO_METRICS,
        reported_by_class=("map",),
        table_metrics=("map", "map_50", "map_75", "mar_100", "loss"),
        card_metrics=("map", "map_50", "map_75"),
        sources=("embedded", "coco", "yolo", "labelme", "folder"),
        settings=(),
        own_heads=frozenset(),
        own_losses=frozenset({"rf_detr", "mask2former"}),
        backbone=None,
        plain=None,
        boxes=True,
        instances=True,
    ),
}
"""The facts by the values of `Task`."""
