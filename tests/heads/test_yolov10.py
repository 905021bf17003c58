from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.yolov10 import YoloV10
from tests.heads import grids, reference
from tests.heads.grids import Array
from tests.heads.reference import Cell, context

SIZE = (96, 64)


def output(seed: int, classes: int, objects: int, rows: int = 40) -> Array:
    """Corners all over the picture, scores sorted, whole class ids."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (rows, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (rows, 2))], axis=1) * [*SIZE, *SIZE]
    scores = rng.random(rows) ** 12 * 0.1
    scores[:objects] = rng.uniform(0.2, 1, objects)
    values = np.concatenate([boxes, np.sort(scores)[::-1, None], rng.integers(classes, size=(rows, 1))], axis=1)
    return values[None].astype(np.float32)


def loops(values: Array, classes: int, scale: tuple[float, float] = (1.0, 1.0)) -> list[Cell]:
    cells = []
    for row in values[0]:
        x1, y1, x2, y2, score, class_id = (float(value) for value in row)
        known = not math.isnan(class_id) and class_id == round(class_id) and 0 <= class_id < classes
        box = (x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1])
        cells.append(Cell(score if known else math.nan, int(class_id) if known else 0, box))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), normalized=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, normalized: bool, min_score: float) -> None:
    values = output(seed, classes, objects)
    if normalized:
        values[..., :4] /= np.array([*SIZE, *SIZE], np.float32)
    head = YoloV10(context(values.shape, classes=classes, size=SIZE))
    reference.check(head, [values], loops(values, classes, SIZE if normalized else (1.0, 1.0)), min_score)


@pytest.mark.parametrize("class_id", [math.nan, -1.0, 3.0, 1.5, math.inf, 1e30])
def test_a_class_that_has_no_label_is_background(class_id: float) -> None:
    values = output(1, 3, 4)
    values[0, 2, 5] = class_id
    head = YoloV10(context(values.shape, classes=3, size=SIZE))
    found = head.decode([values], 0.0)
    assert len(found.scores) == values.shape[1] - 1
    assert found.class_ids.max() < 3


def test_half_precision_is_read_alike() -> None:
    values = output(2, 80, 6)
    head = YoloV10(context(values.shape, classes=80, size=SIZE, dtype="float16"))
    whole, half = (head.decode([values.astype(kind)], 0.1) for kind in (np.float32, np.float16))
    assert half.class_ids.tolist() == whole.class_ids.tolist()
    np.testing.assert_allclose(half.boxes, whole.boxes, atol=0.1)


def test_corners_may_be_centres() -> None:
    values = np.array([[[50, 30, 20, 10, 0.9, 1]]], np.float32)
    found = YoloV10(context((1, 1, 6), classes=2, size=SIZE, params={"order": "xywh"})).decode([values], 0.5)
    assert isinstance(found, Candidates)
    assert found.boxes.tolist() == [[40, 25, 60, 35]]


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: YoloV10(context(*shapes, classes=3, size=SIZE)), [output(3, 3, 4)])


@pytest.mark.parametrize("shape", [(1, 300, 6), (None, 300, 6), (1, None, 6), (1, 100, 6)])
def test_the_usual_shapes_fit(shape: tuple[int | None, ...]) -> None:
    assert isinstance(build_head("yolov10", context(shape, classes=80, size=(640, 640))), YoloV10)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 8400, 6)],
        [(1, 6, 8400)],
        [(1, 300, 84)],
        [(1, 300, None)],
        [(300, 6)],
        [(1, 300, 6), (1, 32, 160, 160)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV10(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x 6" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("scores", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV10(context((1, 300, 6), classes=80, size=(640, 640), params={key: value}))
