"""How the drawn camera sees: a pinhole on a pole, tilted and rolled; metres in the world, pixels in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 3) x to the right, y up, z along the street, metres from the foot of the pole
NEAR = 0.3  # metres: what is nearer than this is behind the lens


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera `height` metres above (0, 0, 0). Angles in radians; `focal` in widths of the picture."""

    height: float
    pitch: float  # downwards
    roll: float
    focal: float

    def depth(self, points: Points) -> NDArray[np.float64]:
        """(n,) metres along the optical axis."""
        return points[:, 2] * math.cos(self.pitch) + (self.height - points[:, 1]) * math.sin(self.pitch)

    def project(self, points: Points, size: tuple[int, int]) -> NDArray[np.float64]:
        """A polygon (n, 3), cut at the near plane -> (m, 2) pixels of a picture of `size` (width, height); m may be 0."""
        shown = _cut(points, self.depth(points))
        if not len(shown):
            return np.zeros((0, 2))
        deep = self.depth(shown)
        down = (self.height - shown[:, 1]) * math.cos(self.pitch) - shown[:, 2] * math.sin(self.pitch)
        flat = np.stack([shown[:, 0], down], axis=1) / deep[:, None] * (self.focal * size[0])
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        turned: NDArray[np.float64] = flat @ np.array([[cos, sin], [-sin, cos]]) + (size[0] / 2, size[1] / 2)
        return turned

    def horizon(self, size: tuple[int, int]) -> float:
        """The row of the horizon in the middle column."""
        return size[1] / 2 - math.tan(self.pitch) * self.focal * size[0] / math.cos(self.roll)


def _cut(points: Points, depth: NDArray[np.float64]) -> Points:
    """The part of a polygon that lies in front of the lens (Sutherland and Hodgman, 1974, for one plane)."""
    inside = depth >= NEAR
    if inside.all():
        return points
    kept = []
    for here, there in zip(range(len(points)), [*range(1, len(points)), 0], strict=True):
        if inside[here]:
            kept.append(points[here])
        if inside[here] != inside[there]:
            share = (NEAR - depth[here]) / (depth[there] - depth[here])
            kept.append(points[here] + share * (points[there] - points[here]))
    return np.array(kept).reshape(-1, 3)
