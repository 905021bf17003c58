"""Overlaps one by one, against NumPy's of all at once; and that whoever touches is a neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.boxes import Box, overlap
from camagent.track.neighbours import Neighbours
from tests.tracking import boxes as many

_EDGE = st.floats(0, 100, allow_subnormal=False)  # so narrow that chance boxes touch
_SIDE = st.sampled_from([0.0, 1e-3, 1.0, 7.5, 60.0])
_BOX: st.SearchStrategy[Box] = st.builds(lambda x, y, wide, high: (x, y, x + wide, y + high), _EDGE, _EDGE, _SIDE, _SIDE)
_MARGIN = st.sampled_from([0.0, 0.5, 20.0])


@given(_BOX, _BOX, _MARGIN)
def test_overlap_is_that_of_all_at_once(box: Box, other: Box, margin: float) -> None:
    expected = many.overlap(np.array([box]), np.array([other]), margin)[0, 0]
    assert overlap(box, other, margin) == pytest.approx(expected, abs=1e-9)


@given(st.lists(_BOX, max_size=12), _BOX, _MARGIN)
def test_whoever_overlaps_is_a_neighbour(boxes: list[Box], box: Box, margin: float) -> None:
    touching = {row for row, other in enumerate(boxes) if overlap(box, other, margin) > 1e-9}
    assert touching <= set(Neighbours(boxes).of(box, margin))


def test_who_stands_aside_is_none() -> None:
    row = [(float(x), 0.0, x + 10.0, 10.0) for x in range(0, 1000, 20)]
    assert [row[one][0] for one in Neighbours(row).of((200.0, 0.0, 210.0, 10.0))] == [200.0]


@pytest.mark.parametrize(("other", "share"), [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0)])
def test_overlaps_known_by_hand(other: Box, share: float) -> None:
    assert overlap((0, 0, 10, 10), other) == pytest.approx(share)
    assert overlap((5, 5, 5, 5), (5, 5, 5, 5)) == 0.0  # nothing at all, and no division by it
