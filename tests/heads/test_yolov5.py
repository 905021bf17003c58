from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.yolov5 import YoloV5
from tests.heads import reference
from tests.heads.reference import context

SIZE = (64, 32)
ROWS = 3 * (8 * 4 + 4 * 2 + 2 * 1)  # strides 8, 16, 32


def output(seed: int, classes: int, objects: int, quiet: float = 0.3) -> NDArray[np.float32]:
    """Boxes all over the picture, objectness up to `quiet`, and some rows that see something."""
    rng = np.random.default_rng(seed)
    values = rng.random((1, ROWS, 5 + classes)).astype(np.float32)
    values[0, :, :4] *= np.array([*SIZE, *SIZE], np.float32)
    values[0, :, 4] = rng.random(ROWS) ** 8 * quiet
    for _ in range(objects):
        row, class_id = rng.integers(ROWS), rng.integers(classes)
        values[0, row, 4] = rng.uniform(0.4, 1)
        values[0, row, 5 + class_id] = rng.uniform(0.8, 1)
    return values


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6),
    quiet=st.sampled_from([0.3, 0.02, 0.009, 1e-4]), min_score=st.sampled_from([0.0, 0.005, 0.25, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_busy_and_quiet_frames(
    *, seed: int, classes: int, objects: int, quiet: float, min_score: float
) -> None:
    values = output(seed, classes, objects, quiet)
    head = YoloV5(context(values.shape, classes=classes, size=SIZE))
    reference.check(head, [values], reference.yolov5(values), min_score)


def test_the_best_score_of_a_quiet_frame_need_not_be_where_the_objectness_is_highest() -> None:
    values = np.zeros((1, ROWS, 7), np.float32)
    values[0, 3, 4:] = [0.008, 0.1, 0.2]
    values[0, 9, 4:] = [0.004, 0.9, 0.1]
    head = YoloV5(context(values.shape, classes=2, size=SIZE))
    assert head.decode([values], 0.4).score_max == pytest.approx(0.0036)


def test_normalized_boxes_become_pixels() -> None:
    values = output(5, 3, 4)
    values[0, :, :4] /= np.array([*SIZE, *SIZE], np.float32)
    head = YoloV5(context(values.shape, classes=3, size=SIZE))
    reference.check(head, [values], reference.yolov5(values, *SIZE), 0.25)


def test_a_row_with_a_nan_is_background() -> None:
    values = output(6, 3, 4)
    values[0, 4, 4] = values[0, 8, 6] = np.nan
    head = YoloV5(context(values.shape, classes=3, size=SIZE))
    found = reference.check(head, [values], reference.yolov5(values), 0.0)
    assert len(found.scores) == ROWS - 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 3e38])
def test_values_that_no_healthy_model_gives_raise_no_warning(value: float) -> None:
    head = YoloV5(context((1, ROWS, 8), classes=3, size=SIZE))
    for columns in (slice(None), slice(2, 4), slice(4, 5), slice(5, 6)):
        values = output(7, 3, 4)
        values[0, :, columns] = value
        assert isinstance(head.decode([values], 0.1), Candidates)
    nothing = head.decode([np.full((1, ROWS, 8), np.nan, np.float32)], 0.0)
    assert (len(nothing.scores), nothing.seen, nothing.score_max) == (0, 0, 0.0)


def test_undecoded_maps_beside_the_decoded_output_are_left_alone() -> None:
    values = output(8, 3, 4)
    maps = [np.zeros((1, 3, rows, 2 * rows, 8), np.float32) for rows in (4, 2, 1)]
    outputs = [maps[0], values, maps[1], maps[2]]
    head = YoloV5(context(*(o.shape for o in outputs), classes=3, size=SIZE))
    reference.check(head, outputs, reference.yolov5(values), 0.25)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 8400, 85)],
        [(1, 84, 8400)],
        [(1, 25200, None)],
        [(1, 25200, 5)],
        [(1, 25200, 117), (1, 32, 160, 160)],
        [(1, 25200, 85), (1, 25200, 85)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV5(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (5 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov5", context((1, 25200, 85), classes=81, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "81"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x25200x85")


@pytest.mark.parametrize("shape", [(1, 25200, 85), (None, None, 85), (1, 100800, 85)])
def test_the_grids_of_a_640_input_fit(shape: tuple[int | None, ...]) -> None:
    YoloV5(context(shape, classes=80, size=(640, 640)))
