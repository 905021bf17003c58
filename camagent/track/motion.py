"""Where boxes will be: a Kalman filter on boxes, all tracks at once.

The state of SORT (Bewley et al., arXiv 1602.00763) with width and height instead of area and aspect (BoT-SORT, Aharon et al.,
arXiv 2206.14651): centre x, centre y, width, height and how fast each changes. The four do not influence each other, since
neither the noise nor the motion mixes them, so that each has a filter of two numbers of its own and no matrix is inverted.
Frames are dropped and come at any rate: the motion noise is white acceleration over the time that has passed (Bar-Shalom, Li
and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2), not per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from camagent.track.rule import TrackRule

Array = NDArray[np.float64]
_LEAST_SIDE = 1.0  # pixels
_POSITION, _SIZE = slice(0, 2), slice(2, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """n tracks, in one array because small arrays cost by their number: pixels, seconds.

    (n, 5, 4): place, speed, the place's variance, its covariance with the speed, the speed's variance; each of centre x,
    centre y, width and height.
    """

    state: Array

    def __len__(self) -> int:
        return len(self.state)

    @property
    def place(self) -> Array:
        """(n, 4) centre x, centre y, width, height."""
        return self.state[:, 0]

    def boxes(self) -> Array:
        """(n, 4) x1 y1 x2 y2."""
        half = self.place[:, _SIZE] / 2
        return np.concatenate([self.place[:, _POSITION] - half, self.place[:, _POSITION] + half], axis=1)

    def size(self) -> Array:
        """(n, 1) the longer side, pixels: what noise and speed are proportional to."""
        return _longer(self.place)

    def doubt(self, most: float) -> Array:
        """(n, 2) standard deviation of the centre's x and y, pixels, at most `most` times the longer side."""
        deviation: Array = np.minimum(np.sqrt(self.state[:, 2, _POSITION]), most * self.size())
        return deviation

    def rows(self, chosen: Sequence[int]) -> Motion:
        """Some of the tracks."""
        return Motion(self.state[np.array(chosen, np.intp)])

    def replaced(self, chosen: Sequence[int], by: Motion) -> Motion:
        """These tracks, with others in the place of some."""
        made = self.state.copy()
        made[np.array(chosen, np.intp)] = by.state
        return Motion(made)

    def join(self, other: Motion) -> Motion:
        """These tracks and then the others."""
        return Motion(np.concatenate([self.state, other.state]))


def nobody() -> Motion:
    """No tracks."""
    return Motion(np.zeros((0, 5, 4)))


def begin(boxes: Array, rule: TrackRule) -> Motion:
    """Tracks of boxes (n, 4) x1 y1 x2 y2 that were seen once: they may go anywhere."""
    seen = _measured(boxes)
    size = _longer(seen)
    state = np.zeros((len(boxes), 5, 4))
    state[:, 0] = seen
    state[:, 2] = (size * rule.noise) ** 2
    state[:, 4] = (size * rule.first_speed) ** 2 * _per_axis(rule)
    return Motion(state)


def predict(motion: Motion, dt: float, rule: TrackRule, known: NDArray[np.bool_]) -> Motion:
    """The tracks `dt` seconds later. Of those that are not `known` any more (lost) the size stays as it is."""
    state, size = motion.state, motion.size()
    if not known.all():
        state = state.copy()
        state[~known, 1, _SIZE] = 0.0
    unrest = (size * rule.unrest) ** 2 * _per_axis(rule)
    moved: Array = _forward(dt) @ state + unrest[:, None] * np.array([0.0, 0.0, dt**3 / 3, dt**2 / 2, dt])[:, None]
    np.maximum(moved[:, 0, _SIZE], _LEAST_SIDE, out=moved[:, 0, _SIZE])
    return Motion(moved)


def _forward(dt: float) -> Array:
    """What `dt` seconds make of place, speed and their variances: (5, 5), all tracks and axes in one product."""
    return np.array([
        [1.0, dt, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 2 * dt, dt**2],
        [0.0, 0.0, 0.0, 1.0, dt],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ])  # fmt: skip


def correct(motion: Motion, boxes: Array, rule: TrackRule) -> Motion:
    """The tracks after each was seen at its box, (n, 4) x1 y1 x2 y2."""
    seen = _measured(boxes)
    state = motion.state.copy()
    place, speed, place_var, both_var, speed_var = (state[:, kind] for kind in range(5))
    surprise = seen - place
    spread = place_var + (_longer(seen) * rule.noise) ** 2
    gain, speed_gain = place_var / spread, both_var / spread
    place += gain * surprise
    speed += speed_gain * surprise
    speed_var -= speed_gain * both_var
    place_var *= 1 - gain
    both_var *= 1 - gain
    return Motion(state)


@cache
def _per_axis(rule: TrackRule) -> Array:
    """Sizes change less than places."""
    return np.array([1.0, 1.0, rule.resize**2, rule.resize**2])


def _measured(boxes: Array) -> Array:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], _LEAST_SIDE)], axis=1)


def _longer(place: Array) -> Array:
    longest: Array = np.maximum(place[:, 2:3], place[:, 3:4])
    return longest
