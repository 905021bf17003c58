"""The filter on boxes against the textbook's matrices: eight numbers, eight by eight of what is not known about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.boxes import Box
from camagent.track.motion import Motion, Passed, begin, correct
from camagent.track.rule import TrackRule
from tests.tracking.world import Array

RULE = TrackRule()
_RESIZED = np.array([1.0, 1.0, RULE.resize**2, RULE.resize**2])
_SEEN = np.hstack([np.eye(4), np.zeros((4, 4))])


@dataclass(slots=True)
class Textbook:
    """Kalman, 1960, as it is written down: state x = F x, P = F P F' + Q; gain P H' (H P H' + R)^-1."""

    state: Array = field(default_factory=lambda: np.zeros(8))
    doubt: Array = field(default_factory=lambda: np.zeros((8, 8)))

    @classmethod
    def begin(cls, box: Box) -> Textbook:
        seen = measured(box)
        size = max(seen[2:])
        variances = np.concatenate([np.full(4, (size * RULE.noise) ** 2), (size * RULE.first_speed) ** 2 * _RESIZED])
        return cls(np.concatenate([seen, np.zeros(4)]), np.diag(variances))

    def predict(self, dt: float, *, known: bool) -> None:
        if not known:
            self.state[6:] = 0.0
        forward = np.block([[np.eye(4), dt * np.eye(4)], [np.zeros((4, 4)), np.eye(4)]])
        unrest = np.diag((max(self.state[2:4]) * RULE.unrest) ** 2 * _RESIZED)
        noise = np.block([[unrest * dt**3 / 3, unrest * dt**2 / 2], [unrest * dt**2 / 2, unrest * dt]])
        self.state = forward @ self.state
        self.state[2:4] = np.maximum(self.state[2:4], 1.0)
        self.doubt = forward @ self.doubt @ forward.T + noise

    def correct(self, box: Box) -> None:
        seen = measured(box)
        spread = _SEEN @ self.doubt @ _SEEN.T + np.eye(4) * (max(seen[2:]) * RULE.noise) ** 2
        gain = self.doubt @ _SEEN.T @ np.linalg.inv(spread)
        self.state = self.state + gain @ (seen - self.state[:4])
        self.doubt = (np.eye(8) - gain @ _SEEN) @ self.doubt


def measured(box: Box) -> Array:
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, 1.0), max(y2 - y1, 1.0)])


def check(motion: Motion, book: Textbook) -> None:
    assert list(motion[:8]) == pytest.approx(book.state.tolist(), rel=1e-6, abs=1e-6)
    for first, doubt in ((0, motion.place_doubt), (2, motion.size_doubt)):
        for axis in (first, first + 1):
            expected = book.doubt[axis, axis], book.doubt[axis, axis + 4], book.doubt[axis + 4, axis + 4]
            assert list(doubt) == pytest.approx(expected, rel=1e-6, abs=1e-6)


_BOX: st.SearchStrategy[Box] = st.builds(
    lambda x, y, wide, high: (x, y, x + wide, y + high),
    st.floats(0, 1900), st.floats(0, 1000), st.floats(0, 400), st.floats(0, 400),
)  # fmt: skip
_GAP = st.sampled_from([0.0, 0.033, 0.1, 1.0, 5.0])


@given(_BOX, st.lists(st.tuples(_GAP, st.booleans(), st.none() | _BOX), max_size=8))
def test_the_filter_is_the_textbook_s(first: Box, frames: list[tuple[float, bool, Box | None]]) -> None:
    motion, book = begin(first, RULE), Textbook.begin(first)
    for gap, known, seen in frames:
        motion = Passed(gap, RULE).predict(motion, known=known)
        book.predict(gap, known=known)
        check(motion, book)
        if seen is not None:
            motion = correct(motion, seen, RULE)
            book.correct(seen)
            check(motion, book)


def test_what_walks_on_is_expected_ahead_and_less_surely_the_longer_it_is_not_seen() -> None:
    motion = begin((0, 0, 50, 100), RULE)
    for step in range(1, 20):
        motion = correct(Passed(0.1, RULE).predict(motion, known=True), (step * 10, 0, step * 10 + 50, 100), RULE)
    soon, late = (Passed(gap, RULE).predict(motion, known=False) for gap in (0.1, 1.0))
    assert soon.box()[0] == pytest.approx(200, abs=3)
    assert late.box()[0] == pytest.approx(290, abs=10)
    assert late.margin(RULE, 0.1) > 2 * soon.margin(RULE, 0.1)
