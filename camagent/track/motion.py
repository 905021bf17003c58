"""Where boxes will be: a Kalman filter on boxes, all tracks at once.

The state of SORT (Bewley et al., arXiv 1602.00763) with width and height instead of area and aspect (BoT-SORT, Aharon et al.,
arXiv 2206.14651): centre x, centre y, width, height and how fast each changes. The four do not influence each other, since
neither the noise nor the motion mixes them, so that each has a filter of two numbers of its own and no matrix is inverted.
Frames are dropped and come at any rate: the motion noise is white acceleration over the time that has passed (Bar-Shalom, Li
and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2), not per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent.track.rule import TrackRule

Array = NDArray[np.float64]
_LEAST_SIDE = 1.0  # pixels
_POSITION, _SIZE = slice(0, 2), slice(2, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """n tracks: (n, 4) each, columns centre x, centre y, width, height; pixels, seconds."""

    place: Array
    speed: Array
    place_var: Array
    both_var: Array  # covariance of place and speed
    speed_var: Array

    def __len__(self) -> int:
        return len(self.place)

    def boxes(self) -> Array:
        """(n, 4) x1 y1 x2 y2."""
        half = self.place[:, _SIZE] / 2
        return np.concatenate([self.place[:, _POSITION] - half, self.place[:, _POSITION] + half], axis=1)

    def size(self) -> Array:
        """(n, 1) the longer side, pixels: what noise and speed are proportional to."""
        return _longer(self.place)

    def doubt(self, most: float) -> Array:
        """(n, 2) standard deviation of the centre's x and y, pixels, at most `most` times the longer side."""
        deviation: Array = np.minimum(np.sqrt(self.place_var[:, _POSITION]), most * self.size())
        return deviation

    def rows(self, chosen: NDArray[np.intp]) -> Motion:
        """Some of the tracks."""
        return Motion(*(getattr(self, name)[chosen] for name in self.__slots__))

    def replaced(self, chosen: NDArray[np.intp], by: Motion) -> Motion:
        """These tracks, with others in the place of some."""
        made = Motion(*(getattr(self, name).copy() for name in self.__slots__))
        for name in self.__slots__:
            getattr(made, name)[chosen] = getattr(by, name)
        return made

    def join(self, other: Motion) -> Motion:
        """These tracks and then the others."""
        return Motion(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__slots__))


def nobody() -> Motion:
    """No tracks."""
    return Motion(*(np.zeros((0, 4)) for _ in Motion.__slots__))


def begin(boxes: Array, rule: TrackRule) -> Motion:
    """Tracks of boxes (n, 4) x1 y1 x2 y2 that were seen once: they may go anywhere."""
    seen = _measured(boxes)
    size = _longer(seen)
    speed_var = (size * rule.first_speed) ** 2 * np.array([1.0, 1.0, rule.resize**2, rule.resize**2])
    noise = np.broadcast_to((size * rule.noise) ** 2, seen.shape)
    return Motion(seen, np.zeros_like(seen), noise.copy(), np.zeros_like(seen), speed_var)


def predict(motion: Motion, dt: float, rule: TrackRule, known: NDArray[np.bool_]) -> Motion:
    """The tracks `dt` seconds later. Of those that are not `known` any more (lost) the size stays as it is."""
    speed = motion.speed.copy()
    speed[~known, _SIZE] = 0.0
    place = motion.place + speed * dt
    place[:, _SIZE] = np.maximum(place[:, _SIZE], _LEAST_SIDE)
    unrest = (_longer(motion.place) * rule.unrest) ** 2 * np.array([1.0, 1.0, rule.resize**2, rule.resize**2])
    return Motion(
        place,
        speed,
        motion.place_var + 2 * dt * motion.both_var + dt**2 * motion.speed_var + unrest * dt**3 / 3,
        motion.both_var + dt * motion.speed_var + unrest * dt**2 / 2,
        motion.speed_var + unrest * dt,
    )


def correct(motion: Motion, boxes: Array, rule: TrackRule) -> Motion:
    """The tracks after each was seen at its box, (n, 4) x1 y1 x2 y2."""
    seen = _measured(boxes)
    surprise = seen - motion.place
    spread = motion.place_var + (_longer(seen) * rule.noise) ** 2
    gain, speed_gain = motion.place_var / spread, motion.both_var / spread
    return Motion(
        motion.place + gain * surprise,
        motion.speed + speed_gain * surprise,
        (1 - gain) * motion.place_var,
        (1 - gain) * motion.both_var,
        motion.speed_var - speed_gain * motion.both_var,
    )


def _measured(boxes: Array) -> Array:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], _LEAST_SIDE)], axis=1)


def _longer(place: Array) -> Array:
    longest: Array = place[:, _SIZE].max(axis=1, keepdims=True)
    return longest
