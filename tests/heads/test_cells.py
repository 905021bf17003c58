from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.heads.cells import grid_cells, sigmoid, unit_scale


def test_known_pyramids() -> None:
    assert {8400, 33600, 34000, 2000, 6400}.issubset(grid_cells(640, 640))
    assert 8400 not in set(grid_cells(416, 416))
    assert 13 * 13 + 26 * 26 + 52 * 52 in set(grid_cells(416, 416))


def test_a_size_that_is_no_multiple_of_the_stride_is_rounded_up() -> None:
    assert 3 * 2 in set(grid_cells(70, 40))  # stride 32


@settings(deadline=None)
@given(st.floats(-700, 700, width=32))
def test_sigmoid_overflows_nowhere(value: float) -> None:
    found = sigmoid(np.array([value], np.float32))
    assert found.dtype == np.float32
    assert math.isclose(float(found[0]), 1 / (1 + math.exp(-value)), abs_tol=1e-6)


@pytest.mark.parametrize(("largest", "scale"), [(1.2, 320.0), (300.0, 1.0), (math.nan, 1.0)])
def test_the_unit_of_boxes_is_found(largest: float, scale: float) -> None:
    centers = np.linspace(0, largest, 2100, dtype=np.float32)
    assert unit_scale("auto", centers, 320, 240)[0] == scale


def test_single_nans_do_not_change_the_unit() -> None:
    centers = np.linspace(0, 1, 2100, dtype=np.float32)
    centers[:1050] = math.nan
    assert unit_scale("auto", centers, 320, 240).tolist() == [320, 240, 320, 240]
    assert unit_scale("auto", np.float32(300) * centers, 320, 240).tolist() == [1, 1, 1, 1]


def test_a_declared_unit_is_not_questioned() -> None:
    centers = np.linspace(0, 300, 2100, dtype=np.float32)
    assert unit_scale("normalized", centers, 320, 240).tolist() == [320, 240, 320, 240]
    assert unit_scale("pixels", np.linspace(0, 1, 2100, dtype=np.float32), 320, 240).tolist() == [1, 1, 1, 1]
