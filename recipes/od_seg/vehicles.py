"""Cars, trucks and buses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from recipes.od_seg.solids import GLASS, Color, Face, Solid, box, pane, shade, wheels

_PAINTS: tuple[Color, ...] = (
    (232, 233, 235), (188, 192, 198), (40, 42, 46), (94, 98, 104), (150, 28, 30), (28, 58, 120), (46, 92, 62), (196, 168, 48),
    (108, 66, 40), (70, 130, 170), (214, 120, 40), (120, 36, 90),
)  # fmt: skip
_UNDER: Color = (18, 18, 20)
_LIGHT: Color = (246, 240, 214)
_TAIL: Color = (170, 20, 18)


def car(rng: np.random.Generator) -> Solid:
    """Saloon, hatchback, off-roader or van."""
    kind = str(rng.choice(["saloon", "hatchback", "suv", "van"], p=[0.35, 0.3, 0.2, 0.15]))
    length, width, height = {"saloon": (4.6, 1.8, 1.45), "hatchback": (4.0, 1.75, 1.5), "suv": (4.7, 1.9, 1.75),
                             "van": (5.1, 1.95, 2.1)}[kind]  # fmt: skip
    length, width, height = (side * float(rng.uniform(0.94, 1.06)) for side in (length, width, height))
    paint = shade(_PAINTS[rng.integers(len(_PAINTS))], float(rng.uniform(0.85, 1.1)))
    waist, half, rear, front = height * 0.56, width / 2, -length / 2, length / 2
    cabin_rear = rear + {"saloon": 0.85, "hatchback": 0.15, "suv": 0.12, "van": 0.05}[kind]
    cabin_front = front - {"saloon": 1.25, "hatchback": 1.0, "suv": 1.15, "van": 0.75}[kind]
    roof_rear, roof_front = cabin_rear + {"saloon": 0.6, "hatchback": 0.4, "suv": 0.3, "van": 0.1}[kind], cabin_front - 0.65
    wheel = 0.31 if kind != "suv" else 0.36
    side = [wheels(x, (rear + 0.85, front - 0.85), wheel) for x in (-half, half)]
    body = box((-half, half, rear, front), (-half * 0.97, half * 0.97, rear + 0.05, front - 0.1), 0.22, waist, paint, {
        "left": side[0], "right": side[1],
        "front": (*_pair("front", front, half, 0.5, waist, _LIGHT), _board(front, half, 0.34)),
        "rear": (*_pair("rear", rear, half, 0.55, waist, _TAIL), _board(rear, half, 0.4)),
    })  # fmt: skip
    shoulder = half * 0.95
    cabin = _cabin((-shoulder, shoulder, cabin_rear, cabin_front),
                   (-half * 0.78, half * 0.78, roof_rear, roof_front), waist, height, paint)  # fmt: skip
    floor = (-half * 0.9, half * 0.9, rear + 0.2, front - 0.2)
    under = box(floor, floor, 0.08, 0.24, _UNDER)
    return Solid((*under, *body, *cabin), length, width, height, _lamps(half, rear, front, waist * 0.8))


def truck(rng: np.random.Generator) -> Solid:
    """A cab with a box, a tipper's tub or a flat bed behind it."""
    kind = str(rng.choice(["box", "tub", "bed"], p=[0.6, 0.25, 0.15]))
    length, width, height = float(rng.uniform(6.5, 9.5)), float(rng.uniform(2.3, 2.5)), float(rng.uniform(2.9, 3.6))
    half, rear, front = width / 2, -length / 2, length / 2
    paint, load = (_PAINTS[rng.integers(len(_PAINTS))] for _ in range(2))
    load = (226, 226, 222) if kind == "box" and rng.random() < 0.5 else load
    cab_rear, top = front - 1.9, min(height, 2.75)
    deck, roof = 1.05, {"box": height, "tub": 2.1, "bed": 1.25}[kind]
    axles = (rear + 0.9, rear + 2.0, front - 0.9)
    chassis = box((-half * 0.95, half * 0.95, rear, front), (-half * 0.95, half * 0.95, rear, front), 0.4, deck, (40, 42, 44), {
        "left": wheels(-half * 0.95, axles, 0.48), "right": wheels(half * 0.95, axles, 0.48),
        "rear": (*_pair("rear", rear, half, 0.5, 0.8, _TAIL), _board(rear, half, 0.55)),
    })  # fmt: skip
    cargo = box((-half, half, rear, cab_rear - 0.15), (-half, half, rear, cab_rear - 0.15), deck, roof, load, {
        "rear": (Face(np.array([(0, deck, rear), (0, roof, rear)], np.float64), shade(load, 0.5), 0.05),),
        "left": _ribs(-half, rear, cab_rear, deck, roof, load), "right": _ribs(half, rear, cab_rear, deck, roof, load),
    })  # fmt: skip
    cab = box((-half, half, cab_rear, front), (-half * 0.96, half * 0.96, cab_rear, front - 0.25), 0.5, top, paint, {
        "front": (pane("front", front - 0.12, (-half * 0.85, half * 0.85), (1.55, top - 0.3), GLASS),
                  *_pair("front", front, half, 0.55, 0.95, _LIGHT), _board(front, half, 0.55)),
        "left": (pane("left", -half * 0.98, (front - 1.1, front - 0.35), (1.55, top - 0.3), GLASS),),
        "right": (pane("right", half * 0.98, (front - 1.1, front - 0.35), (1.55, top - 0.3), GLASS),),
    })  # fmt: skip
    return Solid(chassis, length, width, max(roof, top), _lamps(half, rear, front, 0.8), blocks=(cab, cargo))


def bus(rng: np.random.Generator) -> Solid:
    """A city bus with windows all round."""
    length, width, height = float(rng.uniform(9.5, 12.0)), 2.5, float(rng.uniform(2.9, 3.3))
    half, rear, front = width / 2, -length / 2, length / 2
    paint = ((206, 52, 44), (236, 186, 40), (58, 118, 186), (70, 150, 92), (232, 232, 228))[rng.integers(5)]
    axles = (rear + 2.2, front - 2.4)
    low, high = 1.25, height - 0.5
    count = int(length / 1.5)
    edges = np.linspace(rear + 0.3, front - 0.3, count + 1)
    rows = [
        tuple(pane(side, x, (float(a) + 0.06, float(b) - 0.06), (low, high), GLASS) for a, b in pairwise(edges))
        + wheels(x, axles, 0.48)
        for side, x in (("left", -half), ("right", half))
    ]
    board = (250, 190, 40)
    body = box((-half, half, rear, front), (-half * 0.98, half * 0.98, rear + 0.05, front - 0.08), 0.3, height, paint, {
        "left": rows[0], "right": rows[1],
        "front": (pane("front", front - 0.05, (-half * 0.9, half * 0.9), (1.0, high), GLASS),
                  pane("front", front - 0.08, (-half * 0.5, half * 0.5), (high + 0.08, height - 0.1), board),
                  *_pair("front", front, half, 0.45, 0.75, _LIGHT), _board(front, half, 0.42)),
        "rear": (pane("rear", rear + 0.04, (-half * 0.8, half * 0.8), (1.7, high), GLASS),
                 *_pair("rear", rear, half, 0.6, 1.1, _TAIL), _board(rear, half, 0.5)),
    })  # fmt: skip
    return Solid(body, length, width, height, _lamps(half, rear, front, 0.7))


VEHICLES = {"car": car, "truck": truck, "bus": bus}


def _cabin(
    bottom: tuple[float, float, float, float], top: tuple[float, float, float, float], low: float, high: float, paint: Color
) -> tuple[Face, ...]:
    """Painted roof and pillars with glass between them."""
    plain = box(bottom, top, low, high, paint)
    glazed = []
    for face in plain[:4]:
        middle = face.points.mean(axis=0)
        inner = middle + (face.points - middle) * 0.84
        glazed.append(Face(face.points, face.color, solid=True, details=(Face(inner, GLASS),)))
    return (*glazed, plain[4])


def _pair(side: str, where: float, half: float, low: float, high: float, color: Color) -> tuple[Face, ...]:
    rows = (low, low + max(0.12, (high - low) * 0.6))
    return tuple(pane(side, where, span, rows, color) for span in ((-half * 0.95, -half * 0.62), (half * 0.62, half * 0.95)))


def _board(where: float, half: float, low: float) -> Face:
    """A number plate."""
    return pane("front", where, (-half * 0.28, half * 0.28), (low, low + 0.13), (228, 228, 218))


def _ribs(x: float, rear: float, front: float, low: float, high: float, color: Color) -> tuple[Face, ...]:
    places = np.linspace(rear + 0.3, front - 0.45, 5)
    return tuple(Face(np.array([(x, low, z), (x, high, z)], np.float64), shade(color, 0.6), 0.05) for z in places)


def _lamps(half: float, rear: float, front: float, high: float) -> tuple[tuple[float, float, float], ...]:
    return tuple((x * half * 0.8, high, z) for z in (front, rear) for x in (-1, 1))
