"""Sky, houses, grass, the street itself, and what stands beside it without a label: trees, lamp posts, bins, boards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from recipes.od_seg.canvas import Canvas, brighter
from recipes.od_seg.classes import ROADS
from recipes.od_seg.road import REACH, Road
from recipes.od_seg.solids import Color, Face, Solid, box, flat, pane, plate, shade
from recipes.od_seg.world import World

_ROAD, _WALK = (len(ROADS.boxes) + ROADS.areas.index(name) for name in ("road", "sidewalk"))
_WHITE: Color = (226, 226, 222)


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """Something that stands still and has no label."""

    solid: Solid
    x: float
    z: float


def paint_sky(canvas: Canvas, world: World, rng: np.random.Generator) -> None:
    """From the zenith's colour to the horizon's, with clouds."""
    width, height = canvas.size
    cloudy = float(rng.uniform(0, 1))
    top = np.array([96, 150, 214]) * (1 - cloudy) + np.array([170, 176, 184]) * cloudy
    low = np.array([206, 222, 236]) * (1 - cloudy) + np.array([206, 208, 212]) * cloudy
    rows = np.clip(np.arange(height) / max(1.0, world.view.horizon(canvas.size) + height * 0.1), 0, 1)[:, None]
    canvas.picture[:] = np.round(top * (1 - rows) + low * rows)[:, None].astype(np.uint8)
    clouds = cv2.resize(rng.normal(0, 1, (6, 10)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    brighter(canvas.picture, np.clip(clouds * 26 * cloudy, -22, 32).astype(np.float32))


def paint_ground(canvas: Canvas, world: World, rng: np.random.Generator) -> None:
    """Fields, houses along them, then the street with its lines."""
    road = world.road
    grass = ((86, 112, 58), (112, 122, 74), (128, 118, 96), (146, 144, 138), (70, 96, 60))[rng.integers(5)]
    canvas.fields(_vary(rng, grass))
    _texture(canvas, rng, 7.0)
    _houses(canvas, road, rng)
    asphalt = _vary(rng, ((92, 93, 96), (112, 112, 112), (74, 75, 80), (128, 124, 118))[rng.integers(4)])
    walk = _vary(rng, ((164, 160, 152), (150, 150, 154), (176, 160, 146))[rng.integers(3)])
    for side, wide in ((-1, road.walk_left), (1, road.walk_right)):
        if wide:
            edge, outer = side * road.half, side * (road.half + wide)
            canvas.ground(road.strip(min(edge, outer), max(edge, outer)), walk, _WALK)
            _slabs(canvas, road, rng, edge, outer, walk)
            canvas.ground(road.strip(*sorted((edge, edge + side * 0.14))), shade(walk, 1.18))
    canvas.ground(road.strip(-road.half, road.half), asphalt, _ROAD)
    _patches(canvas, road, rng, asphalt)
    _lines(canvas, road, rng)
    _texture(canvas, rng, 4.0)


def plants(world: World, rng: np.random.Generator) -> list[Plant]:
    """Trees, posts, bins and boards along both sides."""
    road, made = world.road, []
    for side, walk in ((-1, road.walk_left), (1, road.walk_right)):
        behind = road.half + walk
        lamp_every, at = float(rng.uniform(18, 32)), float(rng.uniform(6, 20))
        while at < 80 and rng.random() < 0.9:
            made.append(_stand(road, _post(side), at, side * (behind + 0.5)))
            at += lamp_every
        made += [
            _stand(road, _tree(rng), float(rng.uniform(9, 90)), side * (behind + float(rng.uniform(1.5, 14))))
            for _ in range(int(rng.poisson(4)))
        ]
        for _ in range(int(rng.poisson(1.6))):
            thing = (_bin, _board, _bush)[rng.integers(3)](rng)
            made.append(_stand(road, thing, float(rng.uniform(6, 40)), side * (behind + float(rng.uniform(0.3, 4)))))
    return [plant for plant in made if plant.z > 3]


def _stand(road: Road, solid: Solid, along: float, across: float) -> Plant:
    return Plant(solid, *road.place(along, across))


def _houses(canvas: Canvas, road: Road, rng: np.random.Generator) -> None:
    """Blocks with windows, far to near, set back from the street."""
    if rng.random() < 0.25:
        return
    for along in np.arange(150.0, 12.0, -float(rng.uniform(14, 26))):
        for side in (-1, 1):
            if rng.random() < 0.3:
                continue
            back = road.half + float(rng.uniform(7, 16))
            wide, deep, tall = (float(value) for value in rng.uniform((8, 8, 4), (16, 14, 16)))
            x, z = road.place(float(along), side * (back + wide / 2))
            color = _vary(
                rng, ((188, 170, 148), (160, 92, 74), (200, 196, 188), (132, 138, 146), (214, 190, 140))[rng.integers(5)]
            )
            for face in box(
                (-wide / 2, wide / 2, -deep / 2, deep / 2), (-wide / 2, wide / 2, -deep / 2, deep / 2), 0, tall, color
            ):
                _wall(canvas, face, x, z, tall)


def _wall(canvas: Canvas, face: Face, x: float, z: float, tall: float) -> None:
    points = face.points + np.array((x, 0, z))
    if np.cross(points[1] - points[0], points[2] - points[0]) @ (points[0] - (0, canvas.view.height, 0)) < 0:
        return
    canvas.ground(points, face.color)
    origin, along = points[0], points[1] - points[0]
    for low in np.arange(1.2, tall - 1.5, 3.0):
        for share in np.arange(0.1, 0.9, 0.2):
            start, end = origin + along * share, origin + along * (share + 0.1)
            foot = np.array([start, end, end, start])
            canvas.ground(foot + np.array([(0, y, 0) for y in (low, low, low + 1.4, low + 1.4)]), shade(face.color, 0.55))


def _lines(canvas: Canvas, road: Road, rng: np.random.Generator) -> None:
    paint = shade(_WHITE, float(rng.uniform(0.75, 1.0)))
    middle = (226, 186, 60) if rng.random() < 0.25 else paint
    if rng.random() < 0.8:
        for side in (-1, 1):
            place = side * (road.half - 0.25)
            canvas.ground(road.strip(place - 0.07, place + 0.07), paint)
    dash, gap = float(rng.uniform(2, 4)), float(rng.uniform(2.5, 6))
    for lane in range(1, road.lanes):
        place = lane * road.lane_width - road.half
        centre = road.two_way and lane * 2 == road.lanes
        if centre and rng.random() < 0.5:
            for shift in (-0.12, 0.12):
                canvas.ground(road.strip(place + shift - 0.06, place + shift + 0.06), middle)
            continue
        for start in np.arange(0.0, REACH / 1.6, dash + gap):
            canvas.ground(road.strip(place - 0.07, place + 0.07, start, start + dash), middle if centre else paint)
    if road.crossing is not None:
        for place in np.arange(-road.half + 0.4, road.half - 0.4, 1.0):
            canvas.ground(road.strip(place, place + 0.5, road.crossing - 1.5, road.crossing + 1.5), paint)


def _slabs(canvas: Canvas, road: Road, rng: np.random.Generator, edge: float, outer: float, color: Color) -> None:
    """The joints of a sidewalk's slabs."""
    if rng.random() < 0.5:
        for start in np.arange(2.0, 34.0, 1.2):
            canvas.ground(road.strip(min(edge, outer), max(edge, outer), start, start + 0.05), shade(color, 0.86))


def _patches(canvas: Canvas, road: Road, rng: np.random.Generator, color: Color) -> None:
    """Repairs, manholes, the shadow of something high."""
    for _ in range(int(rng.poisson(2.5))):
        across, along = float(rng.uniform(-road.half, road.half - 1)), float(rng.uniform(4, 50))
        wide, deep = float(rng.uniform(0.5, 2.0)), float(rng.uniform(0.8, 5.0))
        canvas.ground(road.strip(across, min(road.half, across + wide), along, along + deep),
                      shade(color, float(rng.uniform(0.75, 1.15))))  # fmt: skip
    if rng.random() < 0.3:
        along, deep = float(rng.uniform(6, 30)), float(rng.uniform(3, 12))
        canvas.shadow(road.strip(-road.half - 4, road.half + 4, along, along + deep), float(rng.uniform(0.25, 0.5)))


def _texture(canvas: Canvas, rng: np.random.Generator, strength: float) -> None:
    """Roughness of the ground, coarser where it is nearer."""
    width, height = canvas.size
    for share in (8, 2):
        rough = rng.normal(0, strength, (height // share + 1, width // share + 1)).astype(np.float32)
        large = cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
        part = canvas.picture[max(0, int(canvas.view.horizon(canvas.size))) :]
        brighter(part, large[len(large) - len(part) :])


def _tree(rng: np.random.Generator) -> Solid:
    tall, color = (
        float(rng.uniform(3.5, 9)),
        _vary(rng, ((58, 92, 44), (76, 104, 50), (112, 96, 44), (52, 74, 52))[rng.integers(4)]),
    )
    crown = tall * float(rng.uniform(0.2, 0.32))
    blobs = [
        Face(plate(tall - crown + float(dy) * crown, crown * float(r), 14, x=float(dx) * crown), shade(color, float(tone)))
        for dx, dy, r, tone in rng.uniform((-0.6, -0.6, 0.5, 0.75), (0.6, 0.5, 0.9, 1.2), (7, 4))
    ]
    trunk = flat([(0, 0), (0, tall - crown)], (82, 64, 48), tall * 0.04)
    return Solid((trunk, *blobs), 0.1, crown * 2, tall, turns=True)


def _post(side: int) -> Solid:
    mast = flat([(0, 0), (0, 6.5), (-side * 1.2, 6.8)], (104, 108, 112), 0.12)
    return Solid((mast,), 0.1, 0.2, 6.8, turns=True)


def _bin(rng: np.random.Generator) -> Solid:
    color = ((40, 90, 52), (70, 72, 76), (40, 60, 120))[rng.integers(3)]
    return Solid(box((-0.3, 0.3, -0.3, 0.3), (-0.33, 0.33, -0.33, 0.33), 0, float(rng.uniform(0.9, 1.3)), color), 0.6, 0.6, 1.3)


def _board(rng: np.random.Generator) -> Solid:
    """An advertisement: large, on two legs, no sign."""
    wide, low = float(rng.uniform(0.9, 1.8)), float(rng.uniform(0.8, 1.6))
    sheet = pane("front", 0.0, (-wide, wide), (low, low + wide * 1.1), _any_color(rng, 60, 230))
    legs = [flat([(x, 0), (x, low)], (90, 90, 92), 0.1) for x in (-wide * 0.7, wide * 0.7)]
    rows = (low + wide * 0.3, low + wide * 0.7)
    picture = pane("front", 0.0, (-wide * 0.7, wide * 0.2), rows, _any_color(rng, 40, 240))
    return Solid((*legs, sheet, picture), 0.1, wide * 2, low + wide, turns=True)


def _bush(rng: np.random.Generator) -> Solid:
    color, size = _vary(rng, (66, 98, 48)), float(rng.uniform(0.4, 1.0))
    blobs = [Face(plate(size * 0.7 + float(dy) * size, size * 0.7, 12, x=float(dx) * size), shade(color, float(tone)))
             for dx, dy, tone in rng.uniform((-1, -0.2, 0.75), (1, 0.4, 1.2), (5, 3))]  # fmt: skip
    return Solid(tuple(blobs), 0.1, size * 2, size * 2, turns=True)


def _any_color(rng: np.random.Generator, darkest: float, lightest: float) -> Color:
    red, green, blue = (float(value) for value in rng.uniform(darkest, lightest, 3))
    return red, green, blue


def _vary(rng: np.random.Generator, color: Color) -> Color:
    red, green, blue = (float(np.clip(value + rng.normal(0, 7), 0, 255)) for value in color)
    return shade((red, green, blue), float(rng.uniform(0.85, 1.15)))
