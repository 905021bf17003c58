from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from camagent.track.assignment import assign


def best_sum(weights: np.ndarray) -> float:
    """SciPy's answer: staying alone is worth nothing, so pairs below 0 are as good as none."""
    rows, columns = linear_sum_assignment(-np.maximum(weights, 0.0))
    return float(np.maximum(weights, 0.0)[rows, columns].sum())


def edges_of(weights: np.ndarray) -> list[dict[int, float]]:
    return [{column: float(value) for column, value in enumerate(row) if value > 0} for row in weights]


@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 2**32), rows=st.integers(0, 12), columns=st.integers(0, 12), dense=st.floats(0, 1),
    steps=st.sampled_from([0, 3, 20]),
)  # fmt: skip
def test_no_other_pairing_is_worth_more(*, seed: int, rows: int, columns: int, dense: float, steps: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random((rows, columns)) * (rng.random((rows, columns)) < dense)
    if steps:
        weights = np.round(weights * steps) / steps  # many are equal
    edges = edges_of(weights)
    found = assign(edges, columns)
    taken = [column for column in found if column is not None]
    assert len(found) == rows
    assert len(set(taken)) == len(taken)
    assert all(column in edges[row] for row, column in enumerate(found) if column is not None)
    total = sum(edges[row][column] for row, column in enumerate(found) if column is not None)
    assert abs(total - best_sum(weights)) < 1e-9


def test_sums_that_rounding_makes_unequal_end_all_the_same() -> None:
    rng = np.random.default_rng(7)
    for size in (40, 120):
        weights = rng.random((size, size)) * 1e-3 + rng.integers(1, 3, (size, size)) / 3
        found = assign(edges_of(weights), size)
        total = sum(weights[row, column] for row, column in enumerate(found) if column is not None)
        assert abs(total - best_sum(weights)) < 1e-9


def test_who_has_no_choice_goes_first() -> None:
    assert assign([{0: 0.9, 1: 0.8}, {0: 0.7}], 2) == [1, 0]
    assert assign([{0: 0.9}, {0: 0.8}], 1) == [0, None]
    assert assign([{}, {3: 0.1}], 4) == [None, 3]
    assert assign([], 3) == []
