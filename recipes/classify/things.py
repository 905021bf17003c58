"""What lies on the belt: eleven kinds of waste, each a function that draws one of them within -1..1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from recipes.classify.pen import Colour, Pen, shade

_CARTON: Sequence[Colour] = ((178, 138, 92), (196, 160, 116), (150, 118, 84), (214, 208, 198), (128, 122, 116))
_FOAM: Sequence[Colour] = ((236, 236, 230), (214, 218, 214), (60, 62, 64), (186, 158, 118), (150, 182, 140))
_LIVELY: Sequence[Colour] = ((200, 40, 40), (40, 90, 180), (40, 150, 80), (230, 170, 40), (170, 170, 175), (120, 60, 140))
_GLASS: Sequence[Colour] = ((60, 110, 60), (110, 70, 30), (150, 190, 190), (70, 90, 120))


def _pick(pen: Pen, colours: Sequence[Colour]) -> Colour:
    chosen = colours[int(pen.random.integers(len(colours)))]
    red, green, blue = (float(np.clip(part + pen.random.normal(0, 10), 0, 255)) for part in chosen)
    return red, green, blue


def _apple_core(pen: Pen) -> None:
    flesh, skin = _pick(pen, [(224, 206, 150), (200, 170, 110)]), _pick(pen, [(170, 40, 40), (120, 160, 60)])
    waist = pen.random.uniform(0.15, 0.3)
    pen.shape([(-0.5, -0.7), (0.5, -0.7), (waist, 0), (0.5, 0.7), (-0.5, 0.7), (-waist, 0)], flesh)
    for end in (-0.75, 0.75):
        pen.oval((0, end), (0.55, 0.18), skin, 0.1)
    pen.line([(0, -0.8), (pen.random.uniform(-0.2, 0.2), -1)], (70, 50, 30), 0.08)
    pen.oval((0, 0), (0.05, 0.12), (60, 40, 20))


def _banana_peel(pen: Pen) -> None:
    colour = _pick(pen, [(226, 196, 60), (190, 160, 50), (140, 110, 50)])
    arms = int(pen.random.integers(3, 5))
    for arm in range(arms):
        angle = 2 * np.pi * arm / arms + pen.random.normal(0, 0.25)
        bend = angle + pen.random.normal(0, 0.5)
        middle = (0.5 * np.cos(angle), 0.5 * np.sin(angle))
        end = (middle[0] + 0.45 * np.cos(bend), middle[1] + 0.45 * np.sin(bend))
        pen.line([(0, 0), middle, end], shade(colour, pen.random.uniform(0.75, 1.05)), 0.28)
    pen.oval((0, 0), (0.2, 0.2), shade(colour, 0.6), 0.2)


def _battery(pen: Pen) -> None:
    body, cap = _pick(pen, _LIVELY), _pick(pen, [(190, 150, 70), (60, 60, 60)])
    thick = pen.random.uniform(0.25, 0.4)
    pen.box(-thick, -0.8, thick, 0.8, body)
    pen.box(-thick, -0.8, thick, pen.random.uniform(-0.5, -0.2), cap)
    pen.box(-thick * 0.4, -0.95, thick * 0.4, -0.8, (190, 190, 190))
    pen.box(-thick * 0.6, -0.8, -thick * 0.3, 0.8, shade(body, 1.4))


def _drink_can(pen: Pen) -> None:
    body, wide = _pick(pen, _LIVELY), pen.random.uniform(0.45, 0.6)
    dent = pen.random.uniform(0, 0.25)
    pen.shape([(-wide, -0.8), (wide, -0.8), (wide - dent, 0.1), (wide, 0.8), (-wide, 0.8)], body)
    for end in (-0.8, 0.8):
        pen.oval((0, end), (wide, 0.15), (186, 188, 192))
    pen.oval((0, -0.8), (wide * 0.4, 0.06), (110, 112, 116))
    pen.box(-wide * 0.6, -0.65, -wide * 0.35, 0.65, shade(body, 1.5))


def _glass_bottle(pen: Pen) -> None:
    glass, wide = _pick(pen, _GLASS), pen.random.uniform(0.28, 0.4)
    pen.shape([(-0.1, -1), (0.1, -1), (0.12, -0.5), (wide, -0.2), (wide, 1), (-wide, 1), (-wide, -0.2), (-0.12, -0.5)], glass)
    pen.box(-0.13, -1, 0.13, -0.9, shade(glass, 0.6))
    if pen.random.random() < 0.7:
        pen.box(-wide, 0.1, wide, 0.6, _pick(pen, [(226, 220, 200), (180, 40, 40), (230, 200, 90)]))
    pen.line([(-wide * 0.6, -0.15), (-wide * 0.6, 0.9)], shade(glass, 1.7), 0.05)


def _light_bulb(pen: Pen) -> None:
    pen.oval((0, -0.3), (0.55, 0.6), _pick(pen, [(226, 226, 220), (200, 206, 180)]))
    pen.shape([(-0.35, 0.15), (0.35, 0.15), (0.2, 0.45), (-0.2, 0.45)], (214, 214, 206))
    metal = _pick(pen, [(150, 150, 156), (180, 150, 90)])
    pen.box(-0.2, 0.45, 0.2, 0.85, metal)
    for row in (0.52, 0.64, 0.76):
        pen.line([(-0.2, row), (0.2, row + 0.04)], shade(metal, 0.6), 0.04)
    pen.oval((-0.2, -0.5), (0.1, 0.16), (250, 250, 250))


def _milk_carton(pen: Pen) -> None:
    paper, ink, wide = _pick(pen, [(236, 236, 232), (220, 226, 232)]), _pick(pen, _LIVELY), pen.random.uniform(0.4, 0.5)
    pen.box(-wide, -0.4, wide, 0.9, paper)
    pen.shape([(-wide, -0.4), (wide, -0.4), (wide * 0.8, -0.75), (-wide * 0.8, -0.75)], shade(paper, 0.8))
    pen.box(-wide * 0.8, -0.95, wide * 0.8, -0.75, shade(paper, 0.9))
    pen.box(-wide, 0.2, wide, pen.random.uniform(0.5, 0.9), ink)
    pen.oval((0, -0.05), (0.2, 0.15), ink)


def _newspaper(pen: Pen) -> None:
    paper = _pick(pen, [(206, 204, 196), (222, 216, 200)])
    tall = pen.random.uniform(0.6, 0.9)
    pen.shape([(-0.8, -tall), (0.8, -tall + pen.random.normal(0, 0.08)), (0.8, tall), (-0.8, tall)], paper)
    pen.box(-0.7, -tall + 0.1, 0.7, -tall + 0.25, (50, 50, 52))
    for column in (-0.7, -0.2, 0.3):
        for row in np.arange(-tall + 0.35, tall - 0.1, 0.11):
            pen.line([(column, row), (column + pen.random.uniform(0.3, 0.4), row)], (110, 110, 112), 0.04)
    pen.box(0.3, -0.1, 0.7, 0.3, (120, 120, 124))


def _paper_cup(pen: Pen) -> None:
    paper = _pick(pen, [(232, 230, 224), (180, 140, 100), (40, 90, 70), (190, 50, 50)])
    pen.shape([(-0.6, -0.8), (0.6, -0.8), (0.4, 0.9), (-0.4, 0.9)], paper)
    pen.oval((0, -0.8), (0.62, 0.16), _pick(pen, [(240, 240, 236), (70, 50, 40)]))
    if pen.random.random() < 0.6:
        pen.shape([(-0.53, -0.2), (0.53, -0.2), (0.46, 0.4), (-0.46, 0.4)], shade(paper, 0.7))
    pen.oval((0, 0.9), (0.4, 0.1), shade(paper, 0.85))


def _cardboard_box(pen: Pen) -> None:
    paper = _pick(pen, _CARTON)
    wide, tall = pen.random.uniform(0.5, 0.8, 2)
    if pen.random.random() < 0.5:  # open: flaps to all sides, the inside in shadow
        flap = pen.random.uniform(0.15, 0.3, 4)
        pen.shape([(-wide, -tall), (wide, -tall), (wide * 0.9, -tall - flap[0]), (-wide * 0.9, -tall - flap[0])], paper)
        pen.shape([(-wide, tall), (wide, tall), (wide * 0.9, tall + flap[1]), (-wide * 0.9, tall + flap[1])], paper)
        pen.shape(
            [(-wide, -tall), (-wide, tall), (-wide - flap[2], tall * 0.9), (-wide - flap[2], -tall * 0.9)], shade(paper, 0.9)
        )
        pen.shape([(wide, -tall), (wide, tall), (wide + flap[3], tall * 0.9), (wide + flap[3], -tall * 0.9)], shade(paper, 0.9))
        pen.box(-wide, -tall, wide, tall, shade(paper, 0.55))
        pen.box(-wide * 0.8, -tall * 0.8, wide * 0.8, tall * 0.8, shade(paper, 0.7))
        return
    pen.box(-wide, -tall, wide, tall, paper)
    pen.box(-wide, -0.07, wide, 0.07, shade(paper, pen.random.choice([0.8, 1.2])))  # tape
    pen.line([(-wide, 0), (wide, 0)], shade(paper, 0.6), 0.02)
    if pen.random.random() < 0.6:
        x, y = pen.random.uniform(-0.4, 0.1, 2)
        pen.box(x, y, x + 0.3, y + 0.2, (230, 230, 226))


def _disposable_box(pen: Pen) -> None:
    foam = _pick(pen, _FOAM)
    wide, tall = pen.random.uniform(0.6, 0.85), pen.random.uniform(0.5, 0.75)
    cut = 0.15  # its corners are round
    rim = [(-wide + cut, -tall), (wide - cut, -tall), (wide, -tall + cut), (wide, tall - cut),
           (wide - cut, tall), (-wide + cut, tall), (-wide, tall - cut), (-wide, -tall + cut)]  # fmt: skip
    pen.shape(rim, foam)
    pen.shape([(x * 0.88, y * 0.86) for x, y in rim], shade(foam, 0.85))
    split = pen.random.uniform(-0.3, 0.3)
    if pen.random.random() < 0.6:  # compartments
        pen.line([(split, -tall * 0.86), (split, tall * 0.86)], shade(foam, 1.1), 0.06)
        pen.line([(split, 0), (wide * 0.88, 0)], shade(foam, 1.1), 0.06)
    else:  # two halves and a hinge
        pen.line([(-wide, 0), (wide, 0)], shade(foam, 0.6), 0.05)
    for _ in range(int(pen.random.integers(0, 5))):  # leftovers
        x, y = pen.random.uniform(-0.45, 0.45, 2)
        size = pen.random.uniform(0.05, 0.16, 2)
        pen.oval((x, y), (size[0], size[1]), _pick(pen, [(150, 80, 30), (190, 60, 30), (90, 110, 40)]), 0.3)


THINGS: Mapping[str, Callable[[Pen], None]] = MappingProxyType({
    "apple core": _apple_core, "banana peel": _banana_peel, "battery": _battery, "drink can": _drink_can,
    "glass bottle": _glass_bottle, "light bulb": _light_bulb, "milk carton": _milk_carton, "newspaper": _newspaper,
    "paper cup": _paper_cup, "cardboard box": _cardboard_box, "disposable box": _disposable_box,
})  # fmt: skip
