"""Privacy masks: nothing of the private area survives in any format, nothing else is touched, later frames stay whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.config import Camera, Mask, Point
from camagent.sources import open_source
from camagent.sources.masks import BoolMap, Masker, rasterise
from tests.support.camera import Clips

FORMATS = [
    "yuv420p", "yuvj420p", "nv12", "nv21", "yuv422p", "yuv444p", "yuv410p", "yuv411p", "gray", "yuv420p10le", "yuv422p12le",
    "p010le", "rgb24", "bgr24", "rgba", "bgr0", "gbrp", "yuva420p",
]  # fmt: skip
CONVERTED = ["yuyv422", "rgb565le", "yuv420p10be", "uyvy422"]
SQUARE: tuple[Point, ...] = ((0.25, 0.25), (0.6, 0.25), (0.6, 0.7), (0.25, 0.7))
ARROW: tuple[Point, ...] = ((0.1, 0.2), (0.8, 0.3), (0.4, 0.45), (0.7, 0.9))  # not convex


def scene(width: int, height: int, polygon: tuple[Point, ...]) -> av.VideoFrame:
    """A green-blue gradient with a magenta patch that fills the polygon."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([np.full_like(x, 20), 100 + x * 100 // width, 60 + y * 60 // height], axis=2).astype(np.uint8)
    rgb[shrunk(rasterise(polygon, width, height))] = (255, 0, 255)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


def shrunk(covered: BoolMap) -> BoolMap:
    """Without the pixel that rasterise adds around a polygon."""
    outside = np.pad(~covered, 1, constant_values=True)
    height, width = covered.shape
    near = [outside[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in itertools.product((-1, 0, 1), repeat=2)]
    return np.asarray(~np.any(near, axis=0))


def grown(covered: BoolMap, by: int) -> BoolMap:
    for _ in range(by):
        covered = ~shrunk(~covered)
    return covered


def magenta(rgb: np.ndarray) -> int:
    wide = rgb.astype(np.int16)
    return int(((wide[..., 0] - wide[..., 1] > 60) & (wide[..., 2] - wide[..., 1] > 60)).sum())


def rgb_of(picture: av.VideoFrame) -> np.ndarray:
    return picture.reformat(format="rgb24").to_ndarray()


@pytest.mark.parametrize("size", [(192, 128), (193, 129)])
@pytest.mark.parametrize("polygon", [SQUARE, ARROW])
@pytest.mark.parametrize("name", [*FORMATS, *CONVERTED])
def test_nothing_of_the_private_area_survives(name: str, polygon: tuple[Point, ...], size: tuple[int, int]) -> None:
    if name in {"yuyv422", "uyvy422"}:  # packed pairs of pixels have no odd width
        size = (size[0] & ~1, size[1])
    picture = scene(*size, polygon).reformat(format=name)
    before = rgb_of(picture)
    assert magenta(before) > 100 or name == "gray"
    filled = Masker((Mask(name="m", polygon=polygon),)).fill(picture)
    after = rgb_of(filled)
    assert magenta(after) == 0
    covered = rasterise(polygon, *size)
    # chroma is shared by a block of pixels, and the conversion to RGB interpolates between blocks
    block = {"yuv410p": 4, "yuv411p": 4}.get(name, 2)
    inner = covered
    for _ in range(2 * block):
        inner = shrunk(inner)
    assert inner.any()
    inside = after[inner].astype(np.int16)
    assert inside.std(axis=0).max() < 2.0
    assert np.abs(inside - 128).max() < 12  # grey, whatever the range
    far = ~grown(covered, 2 * block)
    assert far.any()
    if name in FORMATS:
        assert np.array_equal(before[far], after[far])


def test_a_palette_is_converted_first() -> None:
    colours = np.zeros((256, 4), np.uint8)
    colours[:, 0], colours[1] = 255, (255, 255, 0, 255)  # alpha, red, green, blue: black, and one magenta
    picture = av.VideoFrame.from_ndarray((np.ones((48, 64), np.uint8), colours), format="pal8")  # type: ignore[arg-type]
    assert magenta(rgb_of(picture)) == 48 * 64
    filled = Masker((Mask(name="m", polygon=((0, 0), (1, 0), (1, 1), (0, 1))),)).fill(picture)
    assert filled.format.name == "yuv420p"
    assert magenta(rgb_of(filled)) == 0


def test_planes_beyond_the_rim_are_not_touched() -> None:
    picture = scene(128, 96, ARROW).reformat(format="yuv420p")
    before = picture.to_ndarray()
    after = Masker((Mask(name="m", polygon=ARROW),)).fill(picture).to_ndarray()
    covered = rasterise(ARROW, 128, 96)
    assert np.array_equal(before[:96][~covered], after[:96][~covered])
    assert (after[:96][covered] == 128).all()
    chroma = covered.reshape(48, 2, 64, 2).any(axis=(1, 3))
    for plane in (slice(96, 120), slice(120, 144)):
        old, new = before[plane].reshape(48, 64), after[plane].reshape(48, 64)
        assert np.array_equal(old[~chroma], new[~chroma])
        assert (new[chroma] == 128).all()


def test_no_mask_means_the_very_same_picture() -> None:
    picture = scene(64, 48, SQUARE)
    assert Masker(()).fill(picture) is picture


def test_size_and_format_may_change_from_frame_to_frame() -> None:
    masker = Masker((Mask(name="m", polygon=SQUARE), Mask(name="n", polygon=((0.8, 0.8), (1.0, 0.8), (1.0, 1.0)))))
    for width, height, name in [(64, 48, "yuv420p"), (128, 96, "yuv420p"), (128, 96, "nv12"), (64, 48, "yuv420p")]:
        assert magenta(rgb_of(masker.fill(scene(width, height, SQUARE).reformat(format=name)))) == 0


polygons = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8).map(tuple)


@settings(max_examples=60)
@given(polygon=polygons, width=st.integers(1, 70), height=st.integers(1, 70))
def test_every_point_of_a_polygon_is_covered(polygon: tuple[Point, ...], width: int, height: int) -> None:
    covered = rasterise(polygon, width, height)
    assert covered.shape == (height, width)
    corners = np.array(polygon) * (width, height)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for share in np.linspace(0, 1, 50):
            x, y = np.minimum((start + (end - start) * share).astype(int), (width - 1, height - 1))
            assert covered[y, x]
    if len(polygon) == 3:  # a triangle holds every mean of its corners
        x, y = np.minimum(corners.mean(axis=0).astype(int), (width - 1, height - 1))
        assert covered[y, x]
    low, high = corners.min(axis=0), corners.max(axis=0)
    rows, columns = np.nonzero(covered)
    assert columns.min() >= np.floor(low[0]) - 2
    assert columns.max() <= high[0] + 1
    assert rows.min() >= np.floor(low[1]) - 2
    assert rows.max() <= high[1] + 1


def test_the_whole_picture_can_be_private() -> None:
    assert rasterise(((0, 0), (1, 0), (1, 1), (0, 1)), 33, 17).all()


@pytest.mark.parametrize("bframes", [0, 2])  # without B-frames a picture is handed over while the next one still needs it
def test_frames_that_refer_to_a_masked_one_are_whole(tmp_path: Path, bframes: int) -> None:
    clip = Clips(tmp_path).make(size="320x240", seconds=3, gop=30, bframes=bframes)
    mask = Mask(name="m", polygon=((0.2, 0.2), (0.7, 0.3), (0.5, 0.8)))
    plain = open_source(Camera(name="c", url=str(clip))).frames()
    masked = open_source(Camera(name="c", url=str(clip), mask=(mask,))).frames()
    covered = rasterise(mask.polygon, 320, 240)
    count = 0
    for before, after in zip(plain, masked, strict=True):
        old, new = (frame.picture for frame in (before, after))
        assert isinstance(old, av.VideoFrame)
        assert isinstance(new, av.VideoFrame)
        old_luma, new_luma = old.to_ndarray()[:240], new.to_ndarray()[:240]
        assert np.array_equal(old_luma[~covered], new_luma[~covered])
        assert (new_luma[covered] == 128).all()
        count += 1
    assert count == 30
