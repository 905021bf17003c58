"""A street with everything on it, drawn from a seed: who is where, where they go, what weather there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from recipes.od_seg.road import Road, random_road
from recipes.od_seg.solids import Solid
from recipes.od_seg.vehicles import VEHICLES
from recipes.od_seg.view import View
from recipes.od_seg.walkers import WALKERS

Light: TypeAlias = Literal["day", "dusk", "night", "infrared"]
LIGHTS: tuple[Light, ...] = ("day", "dusk", "night", "infrared")
_FAR = 110.0  # metres from where things come, and where they go
_SMALL = 0.017  # of the picture's width: what is narrower or lower than this is not put there
_HIDDEN = 0.45  # of a box, that nearer ones may cover


@dataclass(frozen=True, slots=True)
class Look:
    """Light and weather, and what the camera makes of them."""

    light: Light
    rain: float  # 0..1
    blur: float  # standard deviation in thousandths of the picture's width
    noise: float  # standard deviation in steps of 8 bits
    exposure: float


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One thing on the street. `label` None: scenery that may hide others."""

    label: str | None
    seed: int  # of its shape: a walker is made anew in every frame, in the next phase of its stride
    along: float  # metres, at the beginning
    across: float
    speed: float  # metres per second along the street, negative towards the camera
    turned: float  # radians, against the street's direction
    drift: float = 0.0  # metres per second across it: who crosses the street

    def at(self, seconds: float) -> tuple[float, float]:
        """(along, across) after some time; who has left comes back at the other end."""
        along = self.along + self.speed * seconds
        return (along + 4) % (_FAR + 4) - 4 if self.speed else along, self.across + self.drift * seconds

    def comes(self, seconds: float) -> int:
        """How often it has come back by then: each time it is somebody else."""
        return math.floor((self.along + self.speed * seconds + 4) / (_FAR + 4)) if self.speed else 0

    def solid(self, seconds: float) -> Solid:
        """Its shape in that moment."""
        rng = np.random.default_rng(self.seed)
        if self.label in VEHICLES:
            return VEHICLES[self.label](rng)
        return WALKERS[self.label or ""](rng, seconds * 7.0 if self.speed or self.drift else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What `paint` draws at any moment."""

    seed: int
    view: View
    road: Road
    look: Look
    actors: tuple[Actor, ...]


def random_world(seed: int, *, light: Light | None = None, moving: bool = False) -> World:
    """The street of a seed: the same seed, the same street. `moving` spreads traffic as far as it will come from."""
    rng = np.random.default_rng([20, seed])
    view = View(
        height=float(rng.uniform(2.4, 6.5)), pitch=0.0, roll=float(np.clip(rng.normal(0, 0.035), -0.12, 0.12)),
        focal=0.5 / math.tan(math.radians(float(rng.uniform(50, 82))) / 2),
    )  # fmt: skip
    down = float(rng.uniform(0.07, 0.16)) + (view.height - 2.4) * 0.03
    view = View(view.height, down, view.roll, view.focal)
    road = random_road(rng)
    look = _look(rng, light)
    crowd = _crowd(rng, road, moving=moving)
    return World(seed, view, road, look, tuple(crowd) if moving else _in_sight(crowd, view, road))


def _look(rng: np.random.Generator, light: Light | None) -> Look:
    chosen: Light = light or LIGHTS[int(rng.choice(4, p=[0.5, 0.15, 0.17, 0.18]))]
    dark = chosen in {"night", "infrared"}
    return Look(
        chosen,
        rain=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.2 else 0.0,
        blur=float(rng.uniform(0.3, 1.6)) if rng.random() < 0.35 else 0.0,
        noise=float(rng.uniform(3, 11) if dark else rng.uniform(0.5, 6)),
        exposure=float(rng.uniform(0.8, 1.2)),
    )


def _crowd(rng: np.random.Generator, road: Road, *, moving: bool) -> list[Actor]:
    """Everybody who might be there, whether or not the camera sees them."""
    made = [*_traffic(rng, road, moving=moving), *_walkers(rng, road), *_signs(rng, road)]
    return made + (_parked(rng, road) if not moving and rng.random() < 0.4 else [])


def _traffic(rng: np.random.Generator, road: Road, *, moving: bool) -> list[Actor]:
    made = []
    density = float(rng.uniform(9, 30)) if not moving else float(rng.uniform(16, 24))
    for lane in range(road.lanes):
        speed, along = float(rng.uniform(7, 13)), float(rng.uniform(2, 20))
        goes = road.lane_goes(lane)
        while along < (_FAR - 12 if moving else 75):
            label = str(rng.choice(["car", "truck", "bus", "bicycle"], p=[0.56, 0.18, 0.12, 0.14]))
            edge = label == "bicycle" and rng.random() < 0.7
            aside = goes * (road.lane_width / 2 - 0.6) if edge else float(rng.normal(0, 0.2))
            turned = (0.0 if goes > 0 else math.pi) + float(rng.normal(0, 0.04))
            if rng.random() < 0.06 and not moving:
                turned += float(rng.normal(0, 0.5))
            made.append(Actor(label, int(rng.integers(2**31)), along, road.lane_middle(lane) + aside, goes * speed, turned))
            along += {"car": 6, "truck": 11, "bus": 14, "bicycle": 4}[label] + float(rng.exponential(density))
    return made


def _parked(rng: np.random.Generator, road: Road) -> list[Actor]:
    """Cars at the kerb and bicycles that lean somewhere."""
    side = float(rng.choice([-1, 1]))
    label = str(rng.choice(["car", "car", "truck", "bicycle"]))
    turned = float(rng.choice([0.0, math.pi, math.pi / 2, 0.9])) if label != "truck" else 0.0
    across = side * (road.half + (1.2 if label == "bicycle" else 4.2 if turned in {math.pi / 2, 0.9} else 3.2))
    return [Actor(label, int(rng.integers(2**31)), along, across, 0.0, turned)
            for along in np.cumsum(rng.uniform(5.5, 9.0, int(rng.integers(2, 6)))) + float(rng.uniform(3, 12))]  # fmt: skip


def _walkers(rng: np.random.Generator, road: Road) -> list[Actor]:
    made = []
    for side, walk in ((-1, road.walk_left), (1, road.walk_right)):
        for _ in range(int(rng.poisson(2.6 if walk else 0.6))):
            along = float(rng.uniform(5, 34))
            across = side * (road.half + float(rng.uniform(0.3, max(walk, 1.2) - 0.2)))
            made += _group(rng, along, across, float(rng.choice([-1.3, -1.1, 0.0, 1.1, 1.4])), 0.0)
    if road.crossing is not None:
        for _ in range(int(rng.poisson(1.5))):
            across = float(rng.uniform(-road.half, road.half))
            made += _group(rng, road.crossing + float(rng.uniform(-1, 1)), across, 0.0, float(rng.choice([-1.2, 1.2])))
    if rng.random() < 0.25:
        made += _group(
            rng, float(rng.uniform(8, 30)), float(rng.uniform(-road.half, road.half)), 0.0, float(rng.choice([-1.1, 1.1]))
        )
    return made


def _group(rng: np.random.Generator, along: float, across: float, speed: float, drift: float) -> list[Actor]:
    """One, two or three who go together."""
    count = int(rng.choice([1, 1, 1, 2, 3]))
    return [Actor("person", int(rng.integers(2**31)), along + index * float(rng.uniform(0.3, 0.9)),
                  across + index * float(rng.uniform(0.45, 0.7)), speed, 0.0, drift) for index in range(count)]  # fmt: skip


def _signs(rng: np.random.Generator, road: Road) -> list[Actor]:
    made = []
    for side, walk in ((-1, road.walk_left), (1, road.walk_right)):
        for _ in range(int(rng.poisson(1.1))):
            across = side * (road.half + max(0.5, walk * float(rng.choice([0.12, 0.95]))) + float(rng.uniform(0, 0.5)))
            made.append(Actor("sign", int(rng.integers(2**31)), float(rng.uniform(7, 32)), across, 0.0, 0.0))
    return made


def _in_sight(crowd: list[Actor], view: View, road: Road) -> tuple[Actor, ...]:
    """Those that the camera sees well: large enough, in the picture, not behind somebody nearer."""
    kept: list[Actor] = []
    boxes: list[tuple[float, float, float, float]] = []
    for actor in sorted(crowd, key=lambda one: one.along):
        outline = _outline(actor, view, road)
        if outline is None:
            continue
        left, top, right, bottom = outline
        area = (right - left) * (bottom - top)
        hidden = sum(_shared(outline, other) for other in boxes) / area
        middle = (left + right) / 2
        if hidden <= _HIDDEN and -0.03 < middle < 1.03 and top < 0.5 and min(right - left, bottom - top) >= _SMALL:
            kept.append(actor)
            boxes.append(outline)
    return tuple(kept)


def _outline(actor: Actor, view: View, road: Road) -> tuple[float, float, float, float] | None:
    """Its box in widths of a 16:9 picture, before anything hides it; None where the lens would be in it."""
    solid = actor.solid(0.0)
    x, z = road.place(actor.along, actor.across)
    angle = road.heading(actor.along) + actor.turned
    if z - solid.length / 2 < 2.5:
        return None
    low = solid.height - solid.width if actor.label == "sign" else 0.0
    corners = np.array([
        (x + a * math.cos(angle) + b * math.sin(angle), y, z - a * math.sin(angle) + b * math.cos(angle))
        for a in (-solid.width / 2, solid.width / 2)
        for b in (-solid.length / 2, solid.length / 2)
        for y in (low, solid.height)
    ])  # fmt: skip
    seen = view.project(corners, (1, 1))
    if len(seen) != len(corners):
        return None
    seen = seen - (0.0, 0.5 - 9 / 32)
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _shared(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)
