"""How fast frames come, by the middle of the newest gaps."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.track.cadence import Cadence


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=12))
def test_the_usual_gap_is_the_median_of_the_last_five(gaps: list[float]) -> None:
    cadence, now = Cadence(), 100.0
    cadence.step(now, None)
    for number, gap in enumerate(gaps, 1):
        now += gap
        assert cadence.step(now, None) == pytest.approx(gap)
        assert cadence.interval == pytest.approx(median(gaps[max(0, number - 5) : number]))
