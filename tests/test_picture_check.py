"""Is a picture black, flat, masked, or the same as before? On pictures made here, and on what encoders make of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.config import Camera
from camagent.frame import Letterbox, Prepared
from camagent.picture_check import CELLS, PictureCheck, Stillness, masked_map, tone_of, visible_cells
from camagent.preprocess import Preprocessor, place
from camagent.sources import open_source
from firmware_pkg.manifest import InputSpec
from tests.support.camera import need_ffmpeg
from tests.support.data import shared

Pixels = NDArray[np.uint8]
ALL = np.ones((CELLS, CELLS), np.bool_)
WHOLE = Letterbox(352, 352, 352, 352, 1.0, 1.0, 0.0, 0.0)
INPUT = InputSpec(width=352, height=352, layout="nchw", dtype="float32", color="bgr", resize="stretch", scale=1 / 255)


def noisy(picture: NDArray[np.floating], sigma: float, seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    made: Pixels = np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)
    return made


def scene(size: int = 352) -> NDArray[np.float64]:
    picture = cv2.imread(str(shared("images/street.jpg")))
    assert picture is not None
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def dark(pixels: Pixels) -> bool:
    tone = tone_of(pixels, ALL)
    assert tone is not None
    return tone.dark


@pytest.mark.parametrize("sigma", [0.0, 2.0, 8.0])
@pytest.mark.parametrize("level", [0, 10, 128, 250])
def test_one_tone_is_dark_whatever_its_level_and_noise(level: int, sigma: float) -> None:
    assert dark(noisy(np.full((352, 352, 3), level), sigma))


@pytest.mark.parametrize("sigma", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("dim", [0.06, 0.1, 0.2, 1.0])
def test_a_dim_scene_is_not_dark(dim: float, sigma: float) -> None:
    assert not dark(noisy(scene() * dim, sigma))


def test_one_lamp_in_the_night_is_something() -> None:
    night = np.full((352, 352, 3), 4.0)
    night[150:220, 100:160] = 90
    assert not dark(noisy(night, 3.0))


@given(level=st.integers(0, 255), gain=st.floats(0, 1), size=st.sampled_from([(96, 96), (320, 240), (640, 640)]))
def test_tone_lies_within_the_picture_and_more_contrast_is_never_darker(level: int, gain: float, size: tuple[int, int]) -> None:
    height, width = size
    ramp = np.linspace(-60, 60, width)[None, :, None] * np.ones((height, 1, 3))
    tone, flatter = (tone_of(np.clip(level + ramp * share, 0, 255).astype(np.uint8), ALL) for share in (gain, gain / 2))
    assert tone is not None
    assert flatter is not None
    assert 0 <= tone.low <= tone.median <= tone.high <= 255
    assert not tone.dark or flatter.dark or flatter.high >= 15


def test_what_the_camera_writes_at_the_edges_does_not_light_a_black_picture() -> None:
    black = np.zeros((352, 352, 3))
    black[4:24, 10:200] = black[330:346, 180:340] = 255
    visible = visible_cells(WHOLE, masked_map([]))
    tone = tone_of(noisy(black, 1.0), visible)
    assert tone is not None
    assert tone.dark
    assert not dark(noisy(black, 1.0)), "with the edges it would not be"


def test_masks_and_padding_do_not_count() -> None:
    wide = place(640, 320, InputSpec(width=352, height=352, layout="nchw", dtype="float32", resize="letterbox"))
    pixels = np.full((352, 352, 3), 114, np.uint8)  # padding above and below
    top, height = round(wide.letterbox.offset_y), wide.height
    pixels[top : top + height] = 3
    pixels[top : top + height, :176] = 130  # a mask over the left half
    half = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    visible = visible_cells(wide.letterbox, masked_map([half]))
    tone = tone_of(pixels, visible)
    assert tone is not None
    assert (tone.low, tone.high) == (3, 3)
    assert tone_of(pixels, visible_cells(wide.letterbox, masked_map([half, [(x + 0.5, y) for x, y in half]]))) is None


def test_a_crop_shows_the_middle_of_the_picture() -> None:
    cut = place(640, 320, InputSpec(width=320, height=320, layout="nchw", dtype="float32", resize="crop"))
    left = visible_cells(cut.letterbox, masked_map([[(0.0, 0.0), (0.2, 0.0), (0.2, 1.0), (0.0, 1.0)]]))
    assert left.any(axis=0).all(), "the mask lies in what was cut away"
    middle = visible_cells(cut.letterbox, masked_map([[(0.4, 0.0), (0.6, 0.0), (0.6, 1.0), (0.4, 1.0)]]))
    assert not middle[:, CELLS // 2].any()


def longest_still(pictures: Iterator[Pixels], interval_s: float = 0.1, gap_s: float = 3.0) -> float:
    stillness, longest = Stillness(gap_s), 0.0
    for index, pixels in enumerate(pictures):
        stillness.see(pixels, index * interval_s)
        longest = max(longest, stillness.seconds)
    return longest


def test_the_same_picture_stands_still_and_one_level_of_noise_moves_it() -> None:
    picture = scene()
    assert longest_still(noisy(picture, 0) for _ in range(100)) == pytest.approx(9.9)
    assert longest_still(noisy(picture, 0.5, seed) for seed in range(100)) == 0


def test_key_frame_and_refinement_in_turn_stand_still_and_three_pictures_in_turn_do_not() -> None:
    variants = [noisy(scene(), 1.0, seed) for seed in range(3)]
    assert longest_still(variants[index // 5 % 2] for index in range(100)) > 9
    assert longest_still(variants[index // 5 % 3] for index in range(100)) < 1


def test_two_scenes_in_turn_are_no_frozen_picture() -> None:
    shown = noisy(scene(), 0), noisy(255 - scene(), 0)
    assert longest_still(shown[index // 5 % 2] for index in range(100)) < 1


@given(x=st.integers(0, 300), y=st.integers(0, 300))
def test_anything_that_moves_is_noticed(x: int, y: int) -> None:
    stillness, plain = Stillness(3.0), np.full((352, 352, 3), 90, np.uint8)
    moved = plain.copy()
    moved[y : y + 24, x : x + 24] += 100
    stillness.see(plain, 0.0)
    stillness.see(moved, 0.1)
    assert stillness.frames == 1


def test_a_gap_nobody_watched_starts_the_count_anew() -> None:
    stillness, picture = Stillness(3.0), noisy(scene(), 0)
    for now in (0.0, 1.0, 2.0, 60.0, 61.0):
        stillness.see(picture, now)
    assert (stillness.seconds, stillness.frames) == (1.0, 2)


def test_a_stream_that_changes_its_size_is_not_compared() -> None:
    stillness = Stillness(3.0)
    for now, size in enumerate((352, 320, 320)):
        stillness.see(np.zeros((size, size, 3), np.uint8), float(now))
    assert stillness.frames == 2


ENCODERS = {
    "h264": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "10"],
    "h264-b": ["-c:v", "libx264", "-g", "20"],
    "h265": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=10"],
    "mpeg4": ["-c:v", "mpeg4", "-q:v", "5", "-g", "10"],
    "mjpeg": ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"],
}


def encoded(folder: Path, name: str, filters: str, seconds: float) -> list[Pixels]:
    """The street as an encoder gives it after the filters, as the network sees it, 10 pictures a second."""
    need_ffmpeg()
    path = folder / f"{name}.mkv"
    source = ["-loop", "1", "-r", "10", "-i", str(shared("images/street.jpg")), "-t", str(seconds)]
    options = ["-vf", f"scale=640:360{filters}", "-pix_fmt", "yuv420p", *ENCODERS[name]]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *options, str(path)], check=True, timeout=120)
    prepare = Preprocessor(INPUT).prepare
    return [prepare(frame).pixels.copy() for frame in open_source(Camera(name="a", url=str(path))).frames()]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_loop_of_a_still_scene_is_not_frozen_whatever_the_encoder(tmp_path: Path, encoder: str) -> None:
    loop = encoded(tmp_path, encoder, ",noise=alls=2:allf=t", 4) * 5
    assert longest_still(iter(loop)) < 3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_picture_for_ever_is_frozen_once_the_encoder_has_settled(tmp_path: Path, encoder: str) -> None:
    settled = encoded(tmp_path, encoder, "", 34)[-130:]
    assert longest_still(iter(settled)) > 10


def test_the_check_of_a_camera_follows_its_frames() -> None:
    check = PictureCheck([[(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)]], fps=10.0)
    assert check.facts().tone is None
    black, lit = np.zeros((352, 352, 3), np.uint8), noisy(scene(), 0)
    tensor = np.zeros((1, 3, 352, 352), np.float32)
    for index in range(121):
        check.see(Prepared(tensor, WHOLE, black), index * 0.1)
    facts = check.facts()
    assert facts.tone is not None
    assert facts.tone.dark
    assert facts.dark_s == pytest.approx(12, abs=2.5)
    assert facts.still_s == pytest.approx(12)
    assert facts.still_frames == 31, "not every frame is looked at"
    assert facts.masked == pytest.approx(0.25, abs=0.02)
    for index in range(121, 150):
        check.see(Prepared(tensor, WHOLE, lit), index * 0.1)
    facts = check.facts()
    assert facts.dark_s == 0
    assert facts.still_s < 3
