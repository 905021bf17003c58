from __future__ import annotations

from typing import Any, cast

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.frame import Frame
from camagent.preprocess import Preprocessor, place
from firmware_pkg.manifest import InputSpec
from tests.support import yardstick
from tests.support.data import shared

SIZES = [(768, 432), (769, 433), (1920, 1080), (321, 181), (176, 144), (90, 200)]


def picture(width: int, height: int, fmt: str, matrix: str, *, full: bool) -> av.VideoFrame:
    """A real photograph in the wanted size and pixel format, tagged with the matrix it was made with."""
    photo = cv2.imread(str(shared("images/street.jpg")))
    assert photo is not None
    bgr = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    made = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(
        format=fmt, dst_colorspace="ITU709" if matrix == "709" else "ITU601", dst_color_range="JPEG" if full else "MPEG"
    )
    made.colorspace = 1 if matrix == "709" else 6
    made.color_range = 2 if full else 1
    return made


def frame(picture: av.VideoFrame) -> Frame:
    return Frame(picture, 0.0, 0.0, "arrival", 0.0, 0.0)


def levels(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], spec: InputSpec) -> float:
    """Mean difference in levels of 0..255."""
    gain = 1.0 if spec.dtype == "uint8" else float(np.mean(np.array(spec.std)) / spec.scale)
    return float(np.abs(ours.astype(np.float64) - theirs).mean() * gain)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fmt", ["yuv420p", "yuvj420p", "nv12"])
@pytest.mark.parametrize("matrix", ["601", "709"])
def test_agrees_with_the_yardstick_for_every_format_matrix_and_size(size: tuple[int, int], fmt: str, matrix: str) -> None:
    full = fmt == "yuvj420p"
    source = picture(*size, fmt, matrix, full=full)
    for resize in ("letterbox", "stretch", "crop"):
        spec = InputSpec(width=160, height=128, resize=cast("Any", resize), scale=1 / 255)
        ours = Preprocessor(spec).prepare(frame(source)).tensor
        theirs = yardstick.tensor(yardstick.rgb(source, matrix, full=full), spec, place(*size, spec))
        assert levels(ours, theirs, spec) < 1.5, (size, fmt, matrix, resize)


@pytest.mark.parametrize("full", [False, True])
def test_range_and_matrix_matter_so_the_yardstick_would_notice_a_mistake(full: bool) -> None:
    source = picture(768, 432, "nv12", "709", full=full)
    spec = InputSpec(width=160, height=128, resize="stretch")
    ours = Preprocessor(spec).prepare(frame(source)).tensor
    wrong_range = yardstick.tensor(yardstick.rgb(source, "709", full=not full), spec, place(768, 432, spec))
    assert levels(ours, wrong_range, spec) > 4


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("placement", ["center", "top-left"])
def test_layout_colour_dtype_and_placement(layout: Any, color: Any, dtype: Any, placement: Any) -> None:
    spec = InputSpec(
        width=200, height=200, layout=layout, color=color, dtype=dtype, placement=placement, pad_value=7,
        scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    source = picture(768, 432, "yuv420p", "601", full=False)
    prepared = Preprocessor(spec).prepare(frame(source))
    theirs = yardstick.tensor(yardstick.rgb(source, "601", full=False), spec, place(768, 432, spec))
    assert prepared.tensor.shape == theirs.shape
    assert prepared.tensor.dtype == np.dtype(dtype)
    assert prepared.tensor.flags["C_CONTIGUOUS"]
    assert levels(prepared.tensor, theirs, spec) < 2
    assert prepared.letterbox.offset_y == (0 if placement == "top-left" else 43)


def test_a_stream_that_changes_size_leaves_no_old_pixels_in_the_padding() -> None:
    spec = InputSpec(width=160, height=160, dtype="uint8", layout="nhwc", pad_value=114)
    preprocessor = Preprocessor(spec)
    preprocessor.prepare(frame(picture(200, 400, "yuv420p", "601", full=False)))
    tensor = preprocessor.prepare(frame(picture(400, 200, "yuv420p", "601", full=False))).tensor
    assert (tensor[0, :40] == 114).all()
    assert (tensor[0, 120:] == 114).all()


def test_the_same_frame_gives_the_same_tensor_and_the_buffer_is_reused() -> None:
    preprocessor = Preprocessor(InputSpec(width=96, height=96))
    one = frame(picture(321, 181, "yuv420p", "601", full=False))
    first = preprocessor.prepare(one).tensor
    copy = first.copy()
    second = preprocessor.prepare(one).tensor
    assert second is first
    assert np.array_equal(copy, second)


@settings(max_examples=300, deadline=None)
@given(
    source=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    network=st.tuples(st.integers(8, 1024), st.integers(8, 1024)),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]),
    placement=st.sampled_from(["center", "top-left"]),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_map_to_the_network_and_back_exactly(
    source: tuple[int, int], network: tuple[int, int], resize: Any, placement: Any, corners: list[float]
) -> None:
    spec = InputSpec(width=network[0], height=network[1], resize=resize, placement=placement)
    placed = place(*source, spec)
    box = np.array([corners], np.float32) * np.array([*source, *source], np.float32)
    back = placed.letterbox.box_in_source(placed.letterbox.to_network(box)[0].tolist())
    assert np.allclose(back, box[0], atol=1e-3)
    whole = placed.letterbox.to_network(np.array([[0, 0, *source]], np.float32))[0]
    assert whole[2] - whole[0] == pytest.approx(placed.width)
    assert whole[3] - whole[1] == pytest.approx(placed.height)
    if resize == "crop":
        assert whole[0] <= 0
        assert whole[2] >= network[0] - 1e-6
    else:
        assert whole[0] >= 0
        assert whole[2] <= network[0] + 1e-6


@settings(max_examples=100, deadline=None)
@given(
    source=st.tuples(st.integers(4, 600), st.integers(4, 600)),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]),
    cell=st.sampled_from([1, 4, 8]),
)
def test_masks_map_back_to_the_pixels_they_came_from(source: tuple[int, int], resize: Any, cell: int) -> None:
    """A source column and row, painted into the network's grid by their forward mapping, is found where it was."""
    spec = InputSpec(width=160, height=160, resize=resize)
    letterbox = place(*source, spec).letterbox
    grid = 160 // cell
    rows, columns = letterbox.grid_index(grid, grid)
    assert rows.shape == (source[1],)
    assert columns.shape == (source[0],)
    assert (np.diff(rows) >= 0).all()
    assert (np.diff(columns) >= 0).all()
    x = np.arange(source[0]) + 0.5
    expected = np.clip(np.floor((x * letterbox.scale_x + letterbox.offset_x) / cell), 0, grid - 1)
    assert np.array_equal(columns, expected)
