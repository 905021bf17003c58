"""People, bicycles with and without riders, and signs."""

from __future__ import annotations

import math

import numpy as np

from recipes.od_seg.solids import Color, Face, Solid, disc, flat, plate, shade

_SKIN: tuple[Color, ...] = ((236, 196, 168), (206, 154, 118), (150, 102, 72), (94, 62, 44))
_HAIR: tuple[Color, ...] = ((30, 24, 20), (84, 58, 34), (170, 136, 84), (140, 140, 138))


def person(rng: np.random.Generator, phase: float = 0.0) -> Solid:
    """Somebody who walks or stands; `phase` of the stride in radians. Grown-ups and children."""
    tall = float(rng.uniform(1.55, 1.92)) if rng.random() < 0.85 else float(rng.uniform(1.05, 1.4))
    phase += float(rng.uniform(0, 2 * math.pi))
    swing = float(rng.choice([0.0, 0.13, 0.2])) * math.sin(phase)
    broad = tall * float(rng.uniform(0.115, 0.15))
    coat, trousers, shoes = _cloth(rng), shade(_cloth(rng), 0.7), (30, 28, 28)
    skin, hair = _SKIN[rng.integers(4)], _HAIR[rng.integers(4)]
    hip, neck, head = tall * 0.5, tall * 0.83, tall * 0.065
    legs = []
    for side in (-1, 1):
        foot = side * (broad * 0.45 + swing)
        legs += [flat([(side * broad * 0.4, hip), (foot, tall * 0.05)], trousers, tall * 0.085),
                 flat([(foot - 0.03, 0.03), (foot + 0.09, 0.03)], shoes, tall * 0.045)]  # fmt: skip
    if rng.random() < 0.2:  # a long coat or a dress
        legs.append(
            flat([(-broad * 0.8, hip), (broad * 0.8, hip), (broad * 1.1, tall * 0.28), (-broad * 1.1, tall * 0.28)], coat)
        )
    arms = [
        flat(
            [(side * broad * 1.05, neck - 0.05), (side * broad * 1.35 - swing * side, hip * 0.98)],
            shade(coat, 0.85),
            tall * 0.06,
        )
        for side in (-1, 1)
    ]
    trunk = flat([(-broad * 0.85, hip * 0.94), (broad * 0.85, hip * 0.94), (broad * 1.05, neck - 0.03),
                  (broad * 0.5, neck + 0.02), (-broad * 0.5, neck + 0.02), (-broad * 1.05, neck - 0.03)], coat)  # fmt: skip
    bag = [flat([(broad * 0.6, hip), (broad * 1.5, hip), (broad * 1.5, neck * 0.85), (broad * 0.6, neck * 0.9)], _cloth(rng))]
    top = neck + head * 1.25
    face = Face(plate(top, head * 1.1, 12), skin)
    cap = flat([(head * 1.1 * math.cos(a), top + head * 1.15 * math.sin(a)) for a in np.linspace(0.1, math.pi - 0.1, 7)], hair)
    made = (*legs, *arms, trunk, *(bag if rng.random() < 0.25 else []), face, cap)
    return Solid(made, 0.4, broad * 2.6, tall, turns=True)


def bicycle(rng: np.random.Generator, phase: float = 0.0) -> Solid:
    """A bicycle along its direction of travel, as a rule with a rider."""
    radius, base = float(rng.uniform(0.3, 0.36)), float(rng.uniform(0.95, 1.1))
    paint = shade(_cloth(rng), 1.1)
    rear, front = -base / 2, base / 2
    rims = [Face(np.concatenate([ring, ring[:1]]), (26, 26, 28), 0.06)
            for ring in (disc(0, radius, z, radius, 14) for z in (rear, front))]  # fmt: skip
    saddle, bar, crank = (0.0, 0.92, rear + 0.22), (0.0, 1.0, front - 0.1), (0.0, radius, 0.0)
    hubs = [(0.0, radius, z) for z in (rear, front)]
    neck = (0.0, 0.85, front - 0.14)
    grips = ((-0.25, 1.02, front - 0.15), (0.25, 1.02, front - 0.15))
    pairs = [(hubs[0], crank), (crank, saddle), (crank, neck), (saddle, neck), (hubs[0], saddle), (hubs[1], bar), grips]
    frame = [Face(np.array(pair, np.float64), paint, 0.05) for pair in pairs]
    rider = _rider(rng, phase, saddle, bar, crank) if rng.random() < 0.85 else []
    return Solid((*rims, *frame, *rider), base + 2 * radius, 0.5, 1.75 if rider else 1.05)


def sign(rng: np.random.Generator, phase: float = 0.0) -> Solid:
    """A traffic sign that faces the camera; the pole is no part of its box."""
    del phase
    radius, high = float(rng.uniform(0.32, 0.48)), float(rng.uniform(2.1, 3.0))
    red, white, blue, yellow, black = (196, 28, 30), (238, 238, 234), (30, 74, 160), (240, 196, 40), (24, 24, 24)
    kind = int(rng.integers(6))
    square, up = math.pi / 4, math.pi / 2
    faces = {
        0: (_at(high, radius, 20, red), _at(high, radius * 0.74, 20, white),
            flat([(x * radius * 0.3, high + y) for x, y in ((-1, -0.1), (1, -0.1), (1, 0.1), (-1, 0.1))], black)),
        1: (_at(high, radius * 1.15, 3, red, up), _at(high, radius * 0.75, 3, white, up)),
        2: (_at(high, radius * 1.15, 3, red, -up), _at(high, radius * 0.72, 3, white, -up)),
        3: (_at(high, radius, 20, blue), flat([(0, high - radius * 0.5), (0, high + radius * 0.5)], white, radius * 0.3)),
        4: (_at(high, radius, 8, red, math.pi / 8), flat([(-radius * 0.6, high), (radius * 0.6, high)], white, radius * 0.35)),
        5: (_at(high, radius * 1.1, 4, (blue, yellow)[int(rng.integers(2))], square),
            _at(high, radius * 0.6, 3, (white, black)[int(rng.integers(2))], up)),
    }[kind]  # fmt: skip
    pole = Face(np.array([(0, 0, 0.02), (0, high + radius * 0.6, 0.02)], np.float64), (132, 134, 136), 0.07)
    return Solid(faces, 0.1, radius * 2, high + radius, turns=True, own=(pole,))


def _at(high: float, radius: float, corners: int, color: Color, start: float = 0.0) -> Face:
    return Face(plate(high, radius, corners, start), color)


def _rider(
    rng: np.random.Generator, phase: float, saddle: tuple[float, float, float], bar: tuple[float, float, float],
    crank: tuple[float, float, float],
) -> list[Face]:  # fmt: skip
    """Legs on the pedals, a back that leans, arms on the bar, a head: lines as thick as limbs, seen from everywhere."""
    coat, trousers, skin = _cloth(rng), shade(_cloth(rng), 0.7), _SKIN[rng.integers(4)]
    turn = phase * 0.8 + float(rng.uniform(0, 6))
    shoulder, hip = (0.0, 1.42, saddle[2] + 0.3), (0.0, saddle[1] + 0.04, saddle[2])
    limbs = []
    for side, angle in ((-0.1, turn), (0.1, turn + math.pi)):
        pedal = (side, crank[1] + 0.16 * math.sin(angle), crank[2] + 0.16 * math.cos(angle))
        knee = (side, (hip[1] + pedal[1]) / 2 + 0.02, (hip[2] + pedal[2]) / 2 + 0.26)
        limbs += [((side, hip[1], hip[2]), knee, 0.15, trousers), (knee, pedal, 0.11, trousers)]
        limbs.append(
            ((side * 2, shoulder[1] - 0.03, shoulder[2]), (side * 2.2, bar[1] + 0.03, bar[2]), 0.09, shade(coat, 0.85))
        )
    limbs.append((hip, shoulder, 0.34, coat))
    head = (0.0, 1.62, shoulder[2] + 0.08)
    limbs.append((head, (0.0, 1.63, head[2] + 0.01), 0.2, skin))
    limbs.append(((0.0, 1.69, head[2] - 0.03), (0.0, 1.69, head[2] + 0.03), 0.17, _cloth(rng)))
    return [Face(np.array([a, b], np.float64), color, width) for a, b, width, color in limbs]


def _cloth(rng: np.random.Generator) -> Color:
    red, green, blue = (float(value) for value in rng.uniform(20, 235, 3))
    grey, mix = (red + green + blue) / 3, float(rng.uniform(0.2, 1.0))
    return red * mix + grey * (1 - mix), green * mix + grey * (1 - mix), blue * mix + grey * (1 - mix)


WALKERS = {"person": person, "bicycle": bicycle, "sign": sign}
