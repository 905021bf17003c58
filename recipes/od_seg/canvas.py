"""A picture, its areas and its owners, drawn into together so that they cannot disagree."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.od_seg.classes import BACKGROUND
from recipes.od_seg.solids import Color
from recipes.od_seg.view import Points, View

_SHIFT = 4  # bits behind the point of a pixel's coordinate
_LIMIT = 100_000  # pixels: much farther out OpenCV's coordinates overflow
_FAR = 900.0  # metres to the horizon


class Canvas:
    """What has been drawn so far; everything is given in metres of the world."""

    def __init__(self, size: tuple[int, int], view: View) -> None:
        """An empty picture of `size` (width, height)."""
        width, height = size
        self.size, self.view = size, view
        self.picture: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.areas: NDArray[np.uint8] = np.full((height, width), BACKGROUND, np.uint8)
        self.owner: NDArray[np.uint8] = np.zeros((height, width), np.uint8)

    def pixels(self, points: Points) -> NDArray[np.float64]:
        """Where points are seen, (m, 2); none where all are behind the lens."""
        return np.clip(self.view.project(points, self.size), -_LIMIT, _LIMIT)

    def fill(self, points: Points, color: Color, owner: int) -> None:
        """A polygon of somebody's."""
        corners = self._fixed(points)
        if len(corners) > 2:
            cv2.fillPoly(self.picture, [corners], color, cv2.LINE_AA, _SHIFT)
            cv2.fillPoly(self.owner, [corners], owner, cv2.LINE_8, _SHIFT)

    def line(self, points: Points, color: Color, width: float, owner: int) -> None:
        """A line as many metres wide as `width` says."""
        corners = self._fixed(points)
        if len(corners) < 2:
            return
        pixels = width / float(self.view.depth(points).mean()) * self.view.focal * self.size[0]
        thick = max(1, round(pixels))
        cv2.polylines(self.picture, [corners], False, color, thick, cv2.LINE_AA, _SHIFT)  # noqa: FBT003  OpenCV's order
        cv2.polylines(self.owner, [corners], False, owner, thick, cv2.LINE_8, _SHIFT)  # noqa: FBT003

    def ground(self, points: Points, color: Color, area: int | None = None) -> None:
        """A polygon that lies on the ground; with `area`, that is what is there now."""
        corners = self._fixed(points)
        if len(corners) > 2:
            cv2.fillPoly(self.picture, [corners], color, cv2.LINE_AA, _SHIFT)
            if area is not None:
                cv2.fillPoly(self.areas, [corners], area, cv2.LINE_8, _SHIFT)

    def fields(self, color: Color) -> None:
        """Everything below the horizon."""
        left, right = self.pixels(np.array([(-_FAR, 0, _FAR), (_FAR, 0, _FAR)]))
        along = (right - left) / np.linalg.norm(right - left) * sum(self.size)
        down = np.array([-along[1], along[0]])
        corners = np.array([left - along, right + along, right + along + down, left - along + down])
        cv2.fillPoly(self.picture, [np.round(corners * (1 << _SHIFT)).astype(np.int32)], color, cv2.LINE_AA, _SHIFT)

    def shadow(self, points: Points, strength: float) -> None:
        """Darkens a polygon on the ground."""
        corners = self._fixed(points)
        if len(corners) < 3:
            return
        left, top = np.maximum(corners.min(axis=0) >> _SHIFT, 0)
        right, bottom = np.minimum((corners.max(axis=0) >> _SHIFT) + 2, self.size)
        if left >= right or top >= bottom:
            return
        part = self.picture[top:bottom, left:right]
        dark: NDArray[np.uint8] = np.full(part.shape[:2], 255, np.uint8)
        cv2.fillPoly(dark, [corners - np.array([left, top]) * (1 << _SHIFT)], 255 * (1 - strength), cv2.LINE_AA, _SHIFT)
        part[:] = cv2.multiply(part, cv2.merge([dark, dark, dark]), scale=1 / 255)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.round(self.pixels(points) * (1 << _SHIFT)).astype(np.int32)


def brighter(picture: NDArray[np.uint8], amount: NDArray[np.float32]) -> None:
    """Adds (height, width) to every channel of a picture, in place, saturated."""
    cv2.add(picture, cv2.merge([amount, amount, amount]), dst=picture, dtype=cv2.CV_8U)
