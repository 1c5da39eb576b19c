"""The segmentation head, from patch tokens of a ViT to a map of class scores."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class SegmentationHead(nn.Module):
    """3×3 convolution to `width`, optional norm and dropout, 1×1 convolution, bilinear upsampling.

    This is the head of study B (`ViT-B/16 + head`): width defaults to half the hidden size.
    """

    def __init__(
        self, hidden: int, classes: int, *, width: int | None = None, norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        width = width or max(1, hidden // 2)
        self.reduce = nn.Conv2d(hidden, width, kernel_size=3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.dropout: nn.Module = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, tokens: Tensor, *, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """tokens (batch, rows·columns, hidden) -> float32 logits (batch, classes, *size)."""
        batch, _, hidden = tokens.shape
        maps = tokens.transpose(1, 2).reshape(batch, hidden, *grid)
        maps = self.dropout(functional.relu(self.norm(self.reduce(maps))))
        # In float32 also under autocast: bfloat16 would round neighbouring scores to ties.
        scores = self.classify(maps).float()
        return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)
