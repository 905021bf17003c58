"""The street: a parabola on flat ground, with lanes, lines, sidewalks and perhaps a crossing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recipes.od_seg.view import Points

REACH = 160.0  # metres that are drawn
_STEPS = 48


@dataclass(frozen=True, slots=True)
class Road:
    """Centre line x = offset + slope z + curvature z^2; metres, `lanes` in all, walks 0 wide where there are none."""

    offset: float
    slope: float
    curvature: float
    lanes: int
    lane_width: float
    walk_left: float
    walk_right: float
    crossing: float | None  # metres ahead
    two_way: bool

    @property
    def half(self) -> float:
        """Half its width."""
        return self.lanes * self.lane_width / 2

    def heading(self, along: float) -> float:
        """Radians from the z axis towards x."""
        return math.atan(self.slope + 2 * self.curvature * along)

    def place(self, along: float, across: float) -> tuple[float, float]:
        """(x, z) of the point `across` metres to the right of the centre line."""
        turn = self.heading(along)
        return self._centre(along) + across * math.cos(turn), along - across * math.sin(turn)

    def strip(self, left: float, right: float, start: float = 0.0, end: float = REACH, level: float = 0.0) -> Points:
        """The ground between two lines along the street, as a polygon, (n, 3); finer where it is near."""
        count = max(2, math.ceil(_STEPS * (end - start) / REACH))
        share = np.linspace(0.0, 1.0, count) ** (2 if end - start > REACH / 2 else 1)
        along = start + share * (end - start)
        sides = [[(*self.place(z, across),) for z in along] for across in (left, right)]
        flat = np.array(sides[0] + sides[1][::-1])
        return np.stack([flat[:, 0], np.full(len(flat), level), flat[:, 1]], axis=1)

    def lane_middle(self, lane: int) -> float:
        """Metres right of the centre line, lanes from the left."""
        return (lane + 0.5) * self.lane_width - self.half

    def lane_goes(self, lane: int) -> int:
        """1 away from the camera, -1 towards it; traffic keeps right."""
        return 1 if not self.two_way or lane >= self.lanes / 2 else -1

    def _centre(self, along: float) -> float:
        return self.offset + self.slope * along + self.curvature * along * along


def random_road(rng: np.random.Generator) -> Road:
    """A street as cities and villages have them."""
    lanes = int(rng.choice([1, 2, 2, 2, 3, 4]))
    width = float(rng.uniform(2.9, 3.7))
    walks = [float(rng.uniform(1.6, 3.5)) if rng.random() < 0.75 else 0.0 for _ in range(2)]
    return Road(
        offset=float(rng.uniform(-0.6, 0.6)) * (lanes * width / 2 + 1.5),
        slope=float(rng.normal(0.0, 0.09)),
        curvature=float(rng.normal(0.0, 0.0016)) if rng.random() < 0.7 else 0.0,
        lanes=lanes, lane_width=width, walk_left=walks[0], walk_right=walks[1],
        crossing=float(rng.uniform(9, 28)) if rng.random() < 0.3 else None, two_way=lanes > 1 and rng.random() < 0.8,
    )  # fmt: skip
