"""Snapshots: the frame's own colours, one object marked, the decoder's planes untouched; which frame becomes one."""

from __future__ import annotations

from typing import cast

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.best_picture import EVERY_S, BestPictures, worth
from camagent.config import Mask, Point
from camagent.frame import Frame
from camagent.preprocess import to_pixels
from camagent.sinks import Mark, snapshot
from camagent.sources.masks import Masker
from tests.support.objects import track
from tests.test_sources_masks import ARROW, SQUARE, magenta
from tests.test_sources_masks import scene as private_scene

NOWHERE = Mark((0, 0, 0, 0), "", 0)
RED = (231, 76, 60)  # of class 0
FORMATS = ["yuv420p", "nv12", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "p010le", "rgb24", "bgr24", "gray"]
Pixels = NDArray[np.uint8]


def scene(width: int = 320, height: int = 240) -> Pixels:
    """Soft colours of every kind, RGB: no edges that subsampled chroma would smear."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin(x / width * a + y / height * b) for a, b in ((5, 2), (3, 6), (7, 1))]
    return np.stack(waves, axis=2).astype(np.uint8)


def picture(rgb: Pixels, name: str, space: Colorspace = Colorspace.ITU709, span: ColorRange = ColorRange.MPEG) -> av.VideoFrame:
    made = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    if name in {"rgb24", "bgr24"}:
        return VideoReformatter().reformat(made, format=name)
    made = VideoReformatter().reformat(made, format=name, dst_colorspace=space, dst_color_range=span)
    made.colorspace, made.color_range = (1 if space is Colorspace.ITU709 else 6), span
    return made


def frame_of(made: av.VideoFrame) -> Frame:
    return Frame(made, None, 0.0, "arrival", 0.0, 0.0)


def decoded(jpeg: bytes) -> Pixels:
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return cast("Pixels", bgr[:, :, ::-1])


@pytest.mark.parametrize("span", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("space", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("name", FORMATS)
def test_colours_are_those_that_the_model_sees(name: str, space: Colorspace, span: ColorRange) -> None:
    made = picture(scene(), name, space, span)
    wanted = to_pixels(VideoReformatter(), made, made.width, made.height, "rgb").astype(np.int16)
    got = decoded(snapshot(frame_of(made), NOWHERE, 2)).astype(np.int16)
    off = np.abs(got - wanted)[24:, 8:]  # the lettering's corner
    assert off.mean() < 2.0
    assert np.percentile(off, 99) <= 8


def test_the_box_and_its_words_are_drawn_and_nothing_else_changes() -> None:
    made = picture(np.full((360, 640, 3), 90, np.uint8), "yuv420p")
    before = made.to_ndarray().copy()
    got = decoded(snapshot(frame_of(made), Mark((200, 120, 400, 300), "person 0.87", 0), 2)).astype(int)
    assert np.array_equal(made.to_ndarray(), before), "the decoder's planes are its own"
    for x, y in ((200, 200), (400, 200), (300, 120), (300, 300)):
        near = got[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert np.abs(near - RED).sum(axis=1).min() < 60, (x, y)
    words = got[108:119, 201:260].reshape(-1, 3)
    assert (words.min(axis=1) > 200).any(), "white letters"
    assert (np.abs(words - RED).sum(axis=1) < 60).any(), "on the class's colour"
    far = np.ones((360, 640), bool)
    far[90:312, 188:418] = False  # whole blocks of the encoder
    assert np.abs(got[far] - 90).max() <= 4
    assert np.abs(got[140:280, 220:380] - 90).max() <= 4


@pytest.mark.parametrize("size", [(192, 128), (193, 129)])
@pytest.mark.parametrize("polygon", [SQUARE, ARROW])
@pytest.mark.parametrize("name", FORMATS[:-1])
def test_magenta_under_a_privacy_mask_is_in_no_snapshot(name: str, polygon: tuple[Point, ...], size: tuple[int, int]) -> None:
    made = private_scene(*size, polygon).reformat(format=name)
    mark = Mark((20, 30, 150, 110), "person 0.87", 0)
    assert magenta(decoded(snapshot(frame_of(made), mark))) > 100
    filled = Masker((Mask(name="m", polygon=polygon),)).fill(made)
    assert magenta(decoded(snapshot(frame_of(filled), mark))) == 0


def test_words_in_chinese_are_drawn() -> None:
    made = picture(np.full((360, 640, 3), 20, np.uint8), "nv12")
    pictures = [decoded(snapshot(frame_of(made), Mark((100, 100, 300, 300), text, 0))) for text in ("餐厨", "轿车", "??")]
    assert not any(np.array_equal(a, b) for a, b in ((pictures[0], pictures[1]), (pictures[0], pictures[2])))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(2, 90), height=st.integers(2, 90), text=st.text(max_size=30),
    box=st.tuples(*(st.floats(-200, 200) for _ in range(4))),
)  # fmt: skip
def test_any_size_any_box_and_any_words_make_a_picture(
    width: int, height: int, text: str, box: tuple[float, float, float, float]
) -> None:
    made = picture(scene(width, height), "yuv420p")
    got = decoded(snapshot(frame_of(made), Mark(box, text, 3)))
    assert got.shape == (height & ~1, width & ~1, 3)


def test_a_picture_without_two_lines_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="too small"):
        snapshot(frame_of(picture(scene(64, 1), "yuv444p")), NOWHERE)


def test_whole_large_and_sure_is_better() -> None:
    whole = worth(track(x=100), 640, 360)
    assert worth(track(x=100, score=0.9), 640, 360) > whole
    assert worth(track(x=100, size=(80, 160)), 640, 360) > whole
    assert worth(track(x=0), 640, 360) < whole
    assert worth(track(x=599.5), 640, 360) < whole
    assert worth(track(x=100, size=(400, 200), score=1.0), 640, 360) == 1.0


def test_at_most_one_picture_a_second_first_who_has_none_then_who_gains_most() -> None:
    best = BestPictures()

    def pick(now: float, *found: tuple[int, float]) -> int | None:
        chosen = best.pick([track(number, score=score) for number, score in found], 640, 360, now)
        if chosen is not None:
            best.took(chosen, 640, 360, now)
        return None if chosen is None else chosen.id

    assert pick(0.0, (1, 0.5), (2, 0.6)) == 2
    assert pick(EVERY_S / 2, (1, 0.5), (2, 0.9)) is None
    assert pick(EVERY_S, (1, 0.5), (2, 0.9)) == 1
    assert pick(2 * EVERY_S, (1, 0.7), (2, 0.9)) == 2
    assert pick(3 * EVERY_S, (1, 0.51), (2, 0.92)) is None, "hardly better is not better"
    best.forget([1, 2])
    assert len(best) == 0
