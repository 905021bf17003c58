"""ResNet (He et al., 2015) with one block per stage, narrow: 64 x 64 pixels and 79,000 parameters beside the head."""

from __future__ import annotations

from typing import Any

from torch import nn

from recipes.od_seg.network import Residual, Unit

_WIDTHS = (8, 16, 32, 64)


class ResNet(nn.Module):
    """A backbone, whose weights any classes can use, and a head, whose weights are these classes'."""

    def __init__(self, classes: int) -> None:
        """`classes`: how many scores the head gives."""
        super().__init__()
        stages = [Residual(inside, outside, 1 if inside == outside else 2, 1)
                  for inside, outside in zip((_WIDTHS[0], *_WIDTHS[:-1]), _WIDTHS, strict=True)]  # fmt: skip
        self.backbone = nn.Sequential(Unit(3, _WIDTHS[0], 3, 2), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(_WIDTHS[-1], classes)

    def forward(self, x: Any) -> Any:
        """(n, 3, 64, 64) in 0..1 -> (n, classes) logits."""
        return self.head(self.backbone(x))
