"""Where a box will be: a Kalman filter on its place and size.

The state of SORT (Bewley et al., arXiv 1602.00763) with width and height instead of area and aspect (BoT-SORT, Aharon et al.,
arXiv 2206.14651): centre x, centre y, width, height and how fast each changes. The four do not influence each other, since
neither the noise nor the motion mixes them, so that each has a filter of two numbers of its own and no matrix is inverted; and
since the noise of x is that of y, and width's that of height, each two share what is known about them.
Frames are dropped and come at any rate: the motion noise is white acceleration over the time that has passed (Bar-Shalom, Li
and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2), not per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from camagent.boxes import Box
from camagent.track.rule import TrackRule

_LEAST_SIDE = 1.0  # pixels


class Doubt(NamedTuple):
    """What is not known of two numbers and their speeds: pixels and seconds."""

    place: float  # variance
    both: float  # covariance of place and speed
    speed: float  # variance


class Motion(NamedTuple):
    """One track: pixels, seconds."""

    x: float  # centre
    y: float
    width: float
    height: float
    x_speed: float
    y_speed: float
    width_speed: float
    height_speed: float
    place_doubt: Doubt  # of x as of y
    size_doubt: Doubt  # of width as of height

    def box(self) -> Box:
        """x1 y1 x2 y2."""
        half_width, half_height = self.width / 2, self.height / 2
        return self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height

    def longer(self) -> float:
        """The longer side, pixels: what noise and speed are proportional to."""
        return max(self.height, self.width)

    def margin(self, rule: TrackRule, interval: float) -> float:
        """How far from its box it may be, pixels, where frames are `interval` seconds apart."""
        side = self.longer()
        return min(sqrt(self.place_doubt.place), rule.most_grown * side) * rule.grown + side * rule.stray * interval


@dataclass(frozen=True, slots=True)
class Passed:
    """What the time between two frames does to every track."""

    seconds: float
    rule: TrackRule

    def predict(self, motion: Motion, *, known: bool) -> Motion:
        """The track so much later. Of one that is not `known` any more (lost) the size stays as it is."""
        dt, rule = self.seconds, self.rule
        x, y, width, height, x_speed, y_speed, width_speed, height_speed, place_doubt, size_doubt = motion
        if not known:
            width_speed = height_speed = 0.0
        unrest = (motion.longer() * rule.unrest) ** 2
        return Motion(
            x + dt * x_speed, y + dt * y_speed,
            max(width + dt * width_speed, _LEAST_SIDE), max(height + dt * height_speed, _LEAST_SIDE),
            x_speed, y_speed, width_speed, height_speed,
            self._grown(place_doubt, unrest), self._grown(size_doubt, unrest * rule.resize**2),
        )  # fmt: skip

    def _grown(self, doubt: Doubt, unrest: float) -> Doubt:
        dt = self.seconds
        place, both, speed = doubt
        return Doubt(
            place + dt * (2 * both + dt * (speed + unrest * dt / 3)),
            both + dt * (speed + unrest * dt / 2),
            speed + unrest * dt,
        )


def begin(box: Box, rule: TrackRule) -> Motion:
    """The track of a box that was seen once: it may go anywhere."""
    x, y, width, height = _measured(box)
    size = max(width, height)
    noise, speed = (size * rule.noise) ** 2, (size * rule.first_speed) ** 2
    return Motion(
        x, y, width, height, 0.0, 0.0, 0.0, 0.0, Doubt(noise, 0.0, speed), Doubt(noise, 0.0, speed * rule.resize**2)
    )  # fmt: skip


def correct(motion: Motion, box: Box, rule: TrackRule) -> Motion:
    """The track after it was seen at a box."""
    x, y, width, height, x_speed, y_speed, width_speed, height_speed, place_doubt, size_doubt = motion
    seen_x, seen_y, seen_width, seen_height = _measured(box)
    noise = (max(seen_width, seen_height) * rule.noise) ** 2
    gain, speed_gain, place_doubt = _learnt(place_doubt, noise)
    size_gain, resize_gain, size_doubt = _learnt(size_doubt, noise)
    aside, down, wider, higher = seen_x - x, seen_y - y, seen_width - width, seen_height - height
    return Motion(
        x + gain * aside, y + gain * down, width + size_gain * wider, height + size_gain * higher,
        x_speed + speed_gain * aside, y_speed + speed_gain * down,
        width_speed + resize_gain * wider, height_speed + resize_gain * higher,
        place_doubt, size_doubt,
    )  # fmt: skip


def _learnt(doubt: Doubt, noise: float) -> tuple[float, float, Doubt]:
    """Which share of a surprise place and speed take, and what is not known after it."""
    place, both, speed = doubt
    spread = place + noise
    gain, speed_gain = place / spread, both / spread
    return gain, speed_gain, Doubt(place * (1 - gain), both * (1 - gain), speed - speed_gain * both)


def _measured(box: Box) -> tuple[float, float, float, float]:
    """Centre x, centre y, width, height."""
    x1, y1, x2, y2 = box
    return (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, _LEAST_SIDE), max(y2 - y1, _LEAST_SIDE)
