"""What stands and moves on the street, as flat faces in metres: x to its right, y up, z ahead, (0, 0, 0) below its middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from recipes.od_seg.view import Points

Color: TypeAlias = tuple[float, float, float]  # red, green, blue, 0..255
GLASS: Color = (52, 62, 74)
TYRE: Color = (24, 24, 26)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A polygon, or with `width` > 0 a line of that many metres. `solid` faces are not drawn where they look away."""

    points: Points
    color: Color
    width: float = 0.0
    solid: bool = False
    details: tuple[Face, ...] = ()  # drawn on it, where it is drawn


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """Faces in the order in which they are drawn. `turns`: flat things that always face the camera."""

    faces: tuple[Face, ...]
    length: float
    width: float
    height: float
    lamps: tuple[tuple[float, float, float], ...] = ()  # where light comes from at night, the front's and the rear's
    turns: bool = False
    own: tuple[Face, ...] = ()  # drawn before it and no part of its box: a sign's pole
    blocks: tuple[tuple[Face, ...], ...] = ()  # drawn after the faces, the one that is farther away first


def shade(color: Color, factor: float) -> Color:
    """Lighter or darker."""
    red, green, blue = (min(255.0, max(0.0, value * factor)) for value in color)
    return red, green, blue


def box(
    bottom: tuple[float, float, float, float], top: tuple[float, float, float, float], low: float, high: float, color: Color,
    details: dict[str, tuple[Face, ...]] | None = None,
) -> tuple[Face, ...]:  # fmt: skip
    """A block whose top may be smaller than its bottom; both as (left, right, rear, front) at heights `low` and `high`."""
    left, right, rear, front = bottom
    left2, right2, rear2, front2 = top
    corners = {
        "rear": [(left, low, rear), (right, low, rear), (right2, high, rear2), (left2, high, rear2)],
        "front": [(right, low, front), (left, low, front), (left2, high, front2), (right2, high, front2)],
        "left": [(left, low, front), (left, low, rear), (left2, high, rear2), (left2, high, front2)],
        "right": [(right, low, rear), (right, low, front), (right2, high, front2), (right2, high, rear2)],
        "top": [(left2, high, rear2), (right2, high, rear2), (right2, high, front2), (left2, high, front2)],
    }
    light = {"rear": 0.82, "front": 0.9, "left": 0.72, "right": 0.98, "top": 1.12}
    return tuple(
        Face(np.array(points, np.float64), shade(color, light[side]), solid=True, details=(details or {}).get(side, ()))
        for side, points in corners.items()
    )


def pane(side: str, where: float, span: tuple[float, float], rows: tuple[float, float], color: Color) -> Face:
    """A rectangle on a block's side: `span` along the side and `rows` in height, metres; `where` the side's x or z."""
    (a, b), (low, high) = span, rows
    if side in {"left", "right"}:
        points = [(where, low, a), (where, low, b), (where, high, b), (where, high, a)]
    else:
        points = [(a, low, where), (b, low, where), (b, high, where), (a, high, where)]
    return Face(np.array(points, np.float64), color)


def wheels(where: float, places: tuple[float, ...], radius: float) -> tuple[Face, ...]:
    """Discs on a vehicle's side, tyre and rim."""
    made = []
    for place in places:
        made += [
            Face(disc(where, radius, place, radius), TYRE),
            Face(disc(where, radius, place, radius * 0.55), (120, 122, 126)),
        ]
    return tuple(made)


def disc(x: float, y: float, z: float, radius: float, corners: int = 12) -> Points:
    """A circle in the plane of the direction of travel."""
    angle = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.full(corners, x), y + radius * np.sin(angle), z + radius * np.cos(angle)], axis=1)


def plate(y: float, radius: float, corners: int, start: float = 0.0, x: float = 0.0) -> Points:
    """A regular polygon that faces the camera."""
    angle = np.linspace(0, 2 * math.pi, corners, endpoint=False) + start
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.zeros(corners)], axis=1)


def flat(points: list[tuple[float, float]], color: Color, width: float = 0.0) -> Face:
    """A face or line across the view, from (x, y)."""
    return Face(np.array([(x, y, 0.0) for x, y in points], np.float64), color, width)
