from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pycocotools import mask as coco

from camagent.frame import ClassMap, Letterbox
from camagent.heads.masks import Rle, decode, encode, encode_class, encode_window

masks = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=40))


def yardstick(mask: NDArray[Any]) -> Rle:
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = found["size"]
    return Rle((height, width), found["counts"].decode("ascii"))


def blobs(seed: int, height: int, width: int, classes: int) -> NDArray[np.uint8]:
    """A map of random rectangles, long runs and short ones."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(0, 6)):
        top, left = rng.integers(height), rng.integers(width)
        ids[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = rng.integers(classes)
    return ids


@settings(deadline=None)
@given(masks)
def test_encode_agrees_with_pycocotools(mask: NDArray[np.bool_]) -> None:
    assert encode(mask) == yardstick(mask)


@settings(deadline=None)
@given(masks)
def test_decode_brings_the_mask_back(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(decode(encode(mask)), mask)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 700), width=st.integers(1, 700))
def test_long_runs_too(seed: int, height: int, width: int) -> None:
    mask = blobs(seed, height, width, 2)
    assert encode(mask) == yardstick(mask)
    np.testing.assert_array_equal(decode(encode(mask)), mask)


@pytest.mark.parametrize("value", [0, 1])
def test_a_run_of_millions(value: int) -> None:
    mask = np.full((2160, 3840), value, np.uint8)
    assert encode(mask) == yardstick(mask)
    assert decode(encode(mask)).all() == bool(value)


def test_anything_but_zero_is_in_the_mask() -> None:
    mask = np.array([[0, 7], [255, 0]], np.uint8)
    assert encode(mask) == yardstick(mask != 0)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), grid=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)), letterbox=st.booleans(),
)  # fmt: skip
def test_a_class_is_encoded_as_its_full_size_mask_would_be(
    *, seed: int, grid: tuple[int, int], source: tuple[int, int], letterbox: bool
) -> None:
    height, width = source
    scale = min(64 / width, 64 / height) if letterbox else 0.0
    scale_x, scale_y = (scale, scale) if letterbox else (64 / width, 64 / height)
    offset_x, offset_y = (64 - width * scale_x) / 2, (64 - height * scale_y) / 2
    rows, columns = Letterbox(width, height, 64, 64, scale_x, scale_y, offset_x, offset_y).grid_index(grid[1], grid[0])
    class_map = ClassMap(blobs(seed, *grid, classes=4), rows, columns, 1.0)
    for class_id in range(5):
        assert encode_class(class_map, class_id) == yardstick(class_map.in_source() == class_id)


@settings(deadline=None)
@given(mask=masks, around=st.tuples(*(st.sampled_from([0, 0, 1, 7]),) * 4))
def test_a_window_is_encoded_as_the_whole_picture_would_be(
    *, mask: NDArray[np.bool_], around: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = around
    whole = np.pad(mask, ((top, bottom), (left, right)))
    assert encode_window(mask, left, top, *whole.shape) == yardstick(whole)


def test_a_window_of_nothing_is_nothing() -> None:
    assert encode_window(np.zeros((0, 4), np.bool_), 2, 3, 10, 20) == yardstick(np.zeros((10, 20), np.bool_))


@settings(deadline=None)
@given(
    ids=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(0, 2)), data=st.data()
)
def test_rows_and_columns_in_any_order(ids: NDArray[np.uint8], data: st.DataObject) -> None:
    rows, columns = (
        np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12)), np.int64) for size in ids.shape
    )
    class_map = ClassMap(ids, rows, columns, 1.0)
    assert encode_class(class_map, 1) == yardstick(class_map.in_source() == 1)


@pytest.mark.parametrize("counts", ["", "P", " 1", "~1", "é", "4", "0P", "13", "`" * 12 + "0"])
def test_malformed_counts_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"run|ascii"):
        decode(Rle((1, 3), counts))
