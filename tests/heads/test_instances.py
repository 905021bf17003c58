from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.frame import InstanceMask, Letterbox, MaskParts
from camagent.heads.instances import cut, find_prototypes
from camagent.preprocess import place
from firmware_pkg.manifest import InputSpec
from tests.heads.reference import context, instance_probability

NETWORK = (64, 48)
GRID = (16, 12)
ROUNDING = 0.02  # this close to one half, a pixel may fall on either side: OpenCV interpolates in steps of a 32nd of a cell


def parts(seed: int, objects: int) -> MaskParts:
    """Smooth prototypes, so that masks have an inside and an outside."""
    rng = np.random.default_rng(seed)
    small = rng.normal(0, 1, (4, 4, 5))
    rows, columns = np.linspace(0, 3, GRID[1]).round().astype(int), np.linspace(0, 4, GRID[0]).round().astype(int)
    prototypes = small[:, rows][:, :, columns] + rng.normal(0, 0.1, (4, GRID[1], GRID[0]))
    return MaskParts(prototypes.astype(np.float32), rng.normal(0, 1, (objects, 4)).astype(np.float32))


def one(found: tuple[InstanceMask, ...]) -> InstanceMask:
    (mask,) = found
    return mask


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), source=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]), data=st.data(),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, source: tuple[int, int], resize: str, data: st.DataObject) -> None:
    spec = InputSpec(width=NETWORK[0], height=NETWORK[1], resize=resize)  # type: ignore[arg-type]
    letterbox = place(*source, spec).letterbox
    x = sorted(data.draw(st.tuples(*(st.floats(0, source[0], width=32),) * 2)))
    y = sorted(data.draw(st.tuples(*(st.floats(0, source[1], width=32),) * 2)))
    made = parts(seed, 3)
    mask = one(cut(made, np.array([1]), np.array([[x[0], y[0], x[1], y[1]]], np.float32), letterbox))
    pixels = mask.pixels()
    assert pixels.shape == (mask.height, mask.width)
    for row in range(source[1]):
        for column in range(source[0]):
            within = x[0] <= column + 0.5 < x[1] and y[0] <= row + 0.5 < y[1]
            below, beside = row - mask.top, column - mask.left
            assert within == (0 <= below < mask.height and 0 <= beside < mask.width)
            if within:
                wanted = instance_probability(made.prototypes, made.coefficients[1], column, row, letterbox)
                assert abs(wanted - 0.5) < ROUNDING or (wanted > 0.5) == pixels[below, beside]


def test_coefficients_of_nothing_cover_nothing() -> None:
    made = MaskParts(parts(1, 1).prototypes, np.zeros((1, 4), np.float32))
    letterbox = Letterbox(64, 48, 64, 48, 1.0, 1.0, 0.0, 0.0)
    assert not one(cut(made, np.array([0]), np.array([[0, 0, 64, 48]], np.float32), letterbox)).pixels().any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_values_that_no_healthy_model_gives_raise_no_warning(value: float) -> None:
    letterbox = Letterbox(64, 48, 64, 48, 1.0, 1.0, 0.0, 0.0)
    for where in ("prototypes", "coefficients"):
        made = parts(2, 1)
        changed: NDArray[np.float32] = getattr(made, where)
        changed[0, ::2] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mask = one(cut(made, np.array([0]), np.array([[3, 3, 40, 40]], np.float32), letterbox))
            assert mask.pixels().shape == (37, 37)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([(1, 8, 84), (1, 32, 12, 16)], (1, 32)),
        ([(1, 32, 12, 16), (1, 64, 6, 8), (1, 96, 3, 4)], (0, 32)),
        ([(1, 8, 84), (1, 32, None, None)], (1, 32)),
        ([(1, 64, 6, 8), (1, 96, 6, 8)], None),  # two are the finest
        ([(1, 8, 84), (1, 32, 13, 16)], None),
        ([(1, 8, 84), (2, 32, 12, 16)], None),
        ([(1, 8, 84)], None),
    ],
)
def test_the_finest_map_holds_the_prototypes(shapes: list[tuple[int | None, ...]], found: tuple[int, int] | None) -> None:
    made = find_prototypes(context(*shapes, classes=2, size=NETWORK))
    assert (made and (made.output, made.count)) == found
