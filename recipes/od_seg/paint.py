"""A world at one moment -> its picture in plain daylight, and which pixel belongs to whom."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.od_seg.backdrop import paint_ground, paint_sky, plants
from recipes.od_seg.canvas import Canvas
from recipes.od_seg.solids import Face, Solid
from recipes.od_seg.view import Points
from recipes.od_seg.world import Actor, World


@dataclass(frozen=True, slots=True, eq=False)
class Lamp:
    """A light in the picture: a vehicle's or the street's."""

    x: float  # pixels
    y: float
    radius: float
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """All maps are (height, width)."""

    picture: NDArray[np.uint8]  # (height, width, 3) red, green, blue
    areas: NDArray[np.uint8]  # area ids, BACKGROUND elsewhere
    owner: NDArray[np.uint8]  # 0: ground and sky, n: the n-th of `labels`
    labels: tuple[str | None, ...]  # of owners 1, 2 ..; None: scenery
    whole: tuple[int, ...]  # pixels of each owner before nearer ones hid some
    who: tuple[int, ...]  # of owners 1, 2 ..: the same number in every moment; 0: scenery that grows there
    lamps: tuple[Lamp, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A solid in the world."""

    label: str | None
    solid: Solid
    x: float
    z: float
    angle: float
    away: bool
    who: int = 0


def paint(world: World, size: tuple[int, int], seconds: float = 0.0) -> Painted:
    """Draws from far to near. `size` is (width, height) in pixels."""
    rng = np.random.default_rng([21, world.seed])
    canvas = Canvas(size, world.view)
    paint_sky(canvas, world, rng)
    paint_ground(canvas, world, rng)
    placed = [_place(actor, world, seconds, index) for index, actor in enumerate(world.actors)]
    placed += [_Placed(None, plant.solid, plant.x, plant.z, 0.0, away=True) for plant in plants(world, rng)]
    lamps: list[Lamp] = []
    labels: list[str | None] = []
    who: list[int] = []
    whole: list[int] = []
    for one in sorted(placed, key=lambda thing: -thing.z)[-250:]:
        if one.z - one.solid.length / 2 < 1.0:
            continue
        labels.append(one.label)
        who.append(one.who)
        _draw(canvas, one, len(labels))
        whole.append(int(np.count_nonzero(canvas.owner == len(labels))) if one.label else 0)
        lamps += _lamps(canvas, one)
    areas = canvas.areas
    areas[canvas.owner > 0] = 255
    return Painted(canvas.picture, areas, canvas.owner, tuple(labels), tuple(whole), tuple(who), tuple(lamps))


def _place(actor: Actor, world: World, seconds: float, index: int) -> _Placed:
    along, across = actor.at(seconds)
    x, z = world.road.place(along, across)
    angle = world.road.heading(along) + actor.turned
    who = 1 + index + actor.comes(seconds) * len(world.actors)
    return _Placed(actor.label, actor.solid(seconds), x, z, angle, math.cos(actor.turned) > 0, who)


def _draw(canvas: Canvas, one: _Placed, owner: int) -> None:
    solid = one.solid
    canvas.shadow(_footprint(one), strength=0.5 if solid.length > 0.2 else 0.2)
    for face in solid.own:
        _face(canvas, one, face, 0)
    for face in solid.faces:
        _face(canvas, one, face, owner)
    for block in sorted(solid.blocks, key=lambda faces: -float(canvas.view.depth(_moved(one, _middles(faces))).mean())):
        for face in block:
            _face(canvas, one, face, owner)


def _face(canvas: Canvas, one: _Placed, face: Face, owner: int) -> None:
    points = _moved(one, face.points)
    if face.solid and _looks_away(points, canvas.view.height):
        return
    if face.width:
        canvas.line(points, face.color, face.width, owner)
    else:
        canvas.fill(points, face.color, owner)
    for detail in face.details:
        _face(canvas, one, detail, owner)


def _moved(one: _Placed, points: Points) -> Points:
    """From the thing's own metres to the world's."""
    angle = math.atan2(one.x, one.z) if one.solid.turns else one.angle
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([one.x + x * cos + z * sin, y, one.z - x * sin + z * cos], axis=1)


def _looks_away(points: Points, height: float) -> bool:
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    return bool(normal @ (points[0] - (0.0, height, 0.0)) < 0)


def _middles(faces: tuple[Face, ...]) -> Points:
    return np.array([face.points.mean(axis=0) for face in faces])


def _footprint(one: _Placed) -> Points:
    wide, long = one.solid.width / 2 * 1.1, max(one.solid.length, one.solid.width * 0.6) / 2 * 1.05
    corners = [(-wide, 0.0, -long), (wide, 0.0, -long), (wide, 0.0, long), (-wide, 0.0, long)]
    return _moved(one, np.array(corners))


def _lamps(canvas: Canvas, one: _Placed) -> list[Lamp]:
    """Headlights of who comes, tail lights of who goes."""
    shown = one.solid.lamps[2:] if one.away else one.solid.lamps[:2]
    color = (255, 60, 40) if one.away else (255, 244, 214)
    made = []
    for lamp in shown:
        point = _moved(one, np.array([lamp]))
        at = canvas.pixels(point)
        if len(at):
            radius = 0.11 / float(canvas.view.depth(point)[0]) * canvas.view.focal * canvas.size[0]
            made.append(Lamp(float(at[0, 0]), float(at[0, 1]), max(1.0, radius), color))
    return made
