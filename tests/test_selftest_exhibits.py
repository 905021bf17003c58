from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from camagent.frame import ClassMap, Detections, Frame
from camagent.inputs import picture_frame
from camagent.preprocess import Preprocessor
from camagent.selftest import exhibits, statistics
from camagent.selftest.report import Exhibit, Mark
from firmware_pkg.manifest import Expectation, InputSpec

SPEC = InputSpec(
    width=64, height=48, color="rgb", scale=0.00392157, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize="stretch"
)


def blocks(width: int = 64, height: int = 48) -> Frame:
    """Red above left, green above right, blue below left, grey below right."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height // 2, : width // 2] = (0, 0, 200)
    picture[: height // 2, width // 2 :] = (0, 200, 0)
    picture[height // 2 :, : width // 2] = (200, 0, 0)
    return picture_frame(cv2.imencode(".png", picture)[1].tobytes(), "blocks.png")


def pixels(exhibit: Exhibit) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(exhibit.image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.astype(np.uint8)


def corners(exhibit: Exhibit) -> list[list[int]]:
    """BGR in the middle of the four quarters."""
    shown = pixels(exhibit)
    height, width = shown.shape[:2]
    return [[int(v) for v in shown[height * y // 4, width * x // 4]] for y in (1, 3) for x in (1, 3)]


def near(found: list[list[int]], wanted: list[tuple[int, int, int]], by: int = 12) -> bool:
    return bool((np.abs(np.array(found) - np.array(wanted)) <= by).all())


RIGHT = [(0, 0, 200), (0, 200, 0), (200, 0, 0), (128, 128, 128)]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_input_turned_back_is_the_picture_that_went_in(layout: Any, color: Any, dtype: Any) -> None:
    plain: dict[str, Any] = {"scale": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)} if dtype == "uint8" else {}
    spec = msgspec.structs.replace(SPEC, layout=layout, color=color, dtype=dtype, **plain)
    seen = exhibits.as_seen("input", Preprocessor(spec).prepare(blocks()).tensor, spec)
    assert near(corners(seen), RIGHT)
    assert f"{'1x3x48x64' if layout == 'nchw' else '1x48x64x3'} {dtype}, values " in seen.caption
    assert "outside" not in seen.caption


def test_seen_with_what_the_model_wants_the_fault_shows() -> None:
    tensor = Preprocessor(SPEC).prepare(blocks()).tensor
    swapped = exhibits.as_seen("input", tensor, msgspec.structs.replace(SPEC, color="bgr"))
    assert near(corners(swapped), [(200, 0, 0), (0, 200, 0), (0, 0, 200), (128, 128, 128)], 40)
    raw = msgspec.structs.replace(SPEC, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    dark = exhibits.as_seen("input", tensor, raw)
    assert pixels(dark).max() < 10
    assert "of them are outside what a picture has" in dark.caption  # what lies below the mean is negative
    unscaled = Preprocessor(raw).prepare(blocks()).tensor
    assert pixels(exhibits.as_seen("input", unscaled, SPEC)).max() == 255


def test_another_layout_reads_the_memory_as_the_model_would() -> None:
    tensor = Preprocessor(SPEC).prepare(blocks()).tensor
    striped = pixels(exhibits.as_seen("input", tensor, msgspec.structs.replace(SPEC, layout="nhwc")))
    assert striped.shape == (48, 64, 3)
    assert not near(corners(exhibits.as_seen("input", tensor, msgspec.structs.replace(SPEC, layout="nhwc"))), RIGHT, 40)


@pytest.mark.parametrize("shape", [(), (7,), (1, 2), (1, 4, 5, 5), (0, 3, 4, 4), (1, 3, 0, 4)])
def test_what_is_no_picture_is_said_and_not_drawn(shape: tuple[int, ...]) -> None:
    seen = exhibits.as_seen("input", np.zeros(shape, np.float32), SPEC, caption="as sent")
    assert seen.image == b""
    assert seen.caption.startswith("as sent. ")
    assert "no picture can be made" in seen.caption


def test_nan_and_infinity_are_drawn_and_counted() -> None:
    tensor = np.full((1, 3, 48, 64), np.nan, np.float32)
    tensor[0, 0] = np.inf
    seen = exhibits.as_seen("input", tensor, SPEC)
    assert "values none to none" in seen.caption
    assert "100% of them are outside" in seen.caption


def test_pictures_are_small_and_carry_found_and_expected_boxes() -> None:
    frame = blocks(1920, 1440)
    found = Detections(np.array([[192, 144, 768, 576]], np.float32), np.array([0.9], np.float32), np.array([0]))
    plain = pixels(exhibits.picture("golden", frame, found, ["person"]))
    assert plain.shape == (480, 640, 3)
    wanted = Expectation(label="person", score=0.9, box_norm=(0.6, 0.6, 0.9, 0.9))
    no_box = Expectation(label="sky", score=1.0)
    both = exhibits.picture("golden", frame, found, ["person"], expect=[wanted, no_box], caption="c")
    assert both.caption == "c"
    left = pixels(both)[120, 62:66]  # the found box's left side, at 64 of 640, is coloured
    assert np.abs(left.astype(int) - (0, 0, 200)).max() > 60
    assert pixels(both)[300, 382:387].max() > 220  # the expected box's upper left corner, at 384, is white
    assert plain[300, 382:387].max() < 220
    assert pixels(both)[360, 382:387].max() < 220  # its sides are left open
    assert len(both.image) < 60_000


def test_a_class_map_shrinks_with_its_picture() -> None:
    frame = blocks(1280, 960)
    ids = np.array([[0, 1], [0, 0]], np.uint8)
    found = ClassMap(ids, np.arange(960) // 480, np.arange(1280) // 640, 0.9)
    with_map = pixels(exhibits.picture("g", frame, found, ["sky", "car"]))
    assert with_map.shape == (480, 640, 3)
    green = with_map[200, 480]
    assert not (np.abs(green.astype(int) - (0, 200, 0)) < 30).all()  # covered
    assert (np.abs(with_map[200, 160].astype(int) - (0, 0, 200)) < 30).all()  # background


def test_tensor_facts_count_what_is_no_number() -> None:
    tensor = np.array([[0, 0, 1, 3], [np.nan, np.inf, -np.inf, 0]], np.float32)
    facts = statistics.tensor_facts("output0", tensor)
    assert (facts.shape, facts.dtype, facts.min, facts.max, facts.mean) == ((2, 4), "float32", 0.0, 3.0, 0.8)
    assert facts.std == pytest.approx(np.std([0, 0, 1, 3, 0]))
    assert (facts.nan, facts.inf, facts.zeros) == (1, 2, 0.375)
    assert facts.unique == len({0, 1, 3, "nan", "inf", "-inf"})


def test_tensor_facts_of_quantised_empty_and_hopeless_tensors() -> None:
    assert statistics.tensor_facts("q", np.array([-128, 127], np.int8)).min == -128
    empty = statistics.tensor_facts("e", np.zeros((0, 6), np.float16))
    assert (empty.min, empty.zeros, empty.unique) == (None, 0.0, 0)
    hopeless = statistics.tensor_facts("n", np.full(4, np.nan))
    assert (hopeless.max, hopeless.mean, hopeless.nan, hopeless.unique) == (None, None, 4, 1)


def test_a_histogram_covers_0_to_1_or_what_leaves_it() -> None:
    scores = exhibits.histogram("scores", np.array([0.01, 0.02, 0.99, np.nan]), [Mark("min_score", 0.4)], bins=10)
    assert (scores.edges[0], scores.edges[-1], len(scores.edges)) == (0.0, 1.0, 11)
    assert (sum(scores.counts), scores.counts[0], scores.counts[-1]) == (3, 2, 1)
    assert scores.marks == (Mark("min_score", 0.4),)
    logits = exhibits.histogram("logits", np.array([-7.0, 3.0], np.float32))
    assert (logits.edges[0], logits.edges[-1], sum(logits.counts)) == (-7.0, 3.0, 2)
    assert sum(exhibits.histogram("none", np.array([])).counts) == 0
