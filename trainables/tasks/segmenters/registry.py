"""The segmenters with their own heads and losses, by model type. To add one: a file here, and a line."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.tasks.segmenters.eomt import Eomt
from trainables.tasks.segmenters.family import SegmenterFamily
from trainables.tasks.segmenters.mask2former import Mask2Former
from trainables.tasks.segmenters.segformer import Segformer

SEGMENTER_FAMILIES: Mapping[str, SegmenterFamily] = {
    "segformer": Segformer(),
    "mask2former": Mask2Former(),
    "eomt": Eomt(),
    "eomt_dinov3": Eomt(),
}
"""The families by `model_type`."""
