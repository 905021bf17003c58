"""Draws in a thing's own coordinates: turned, scaled and moved on the picture, finer than it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[float, float, float]  # red, green, blue, 0..255
Point: TypeAlias = tuple[float, float]
_BITS = 4  # OpenCV's fractions of a pixel


@dataclass(frozen=True, slots=True, eq=False)
class Pen:
    """`paper`: (height, width, 3), changed in place; `place`: (2, 3), a thing's -1..1 -> pixels."""

    paper: NDArray[np.uint8]
    place: NDArray[np.float64]
    random: np.random.Generator
    solid: NDArray[np.uint8] = field(repr=False)  # (height, width): 255 where something was drawn

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        placed = self._placed(points)
        for sheet, ink in ((self.paper, colour), (self.solid, (255.0,))):
            cv2.fillPoly(sheet, [placed], ink, cv2.LINE_AA, _BITS)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """An open line, `width` in the thing's units."""
        pixels = max(1, round(width * float(np.hypot(self.place[0, 0], self.place[1, 0]))))
        for sheet, ink in ((self.paper, colour), (self.solid, (255.0,))):
            cv2.polylines(sheet, [self._placed(points)], isClosed=False, color=ink, thickness=pixels,
                          lineType=cv2.LINE_AA, shift=_BITS)  # fmt: skip

    def oval(self, centre: Point, radii: Point, colour: Colour, wobble: float = 0.0) -> None:
        """An ellipse; `wobble`: how far its rim strays, as a share of the radius."""
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        waves = sum(self.random.normal(0, 0.5) * np.sin(count * angles + self.random.uniform(0, 6)) for count in (2, 3, 5))
        far = 1 + wobble * np.asarray(waves)
        points = zip(centre[0] + radii[0] * far * np.cos(angles), centre[1] + radii[1] * far * np.sin(angles), strict=True)
        self.shape([(float(x), float(y)) for x, y in points], colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """An upright rectangle."""
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def _placed(self, points: Sequence[Point]) -> NDArray[np.int32]:
        found = np.asarray(points, np.float64) @ self.place[:, :2].T + self.place[:, 2]
        return np.round(found * (1 << _BITS)).astype(np.int32)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker or lighter."""
    red, green, blue = (min(255.0, part * factor) for part in colour)
    return red, green, blue
