from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.yolov7_end2end import YoloV7End2End
from tests.heads import grids, reference
from tests.heads.grids import Array
from tests.heads.reference import Cell, context

SIZE = (96, 64)


def output(seed: int, classes: int, objects: int) -> Array:
    """Picture, corners, class id, score."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (objects, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (objects, 2))], axis=1) * [*SIZE, *SIZE]
    rest = [rng.integers(classes, size=(objects, 1)), rng.uniform(0.25, 1, (objects, 1))]
    return np.concatenate([np.zeros((objects, 1)), boxes, *rest], axis=1).astype(np.float32)


def loops(values: Array, classes: int) -> list[Cell]:
    cells = []
    for row in values:
        picture, x1, y1, x2, y2, class_id, score = (float(value) for value in row)
        known = picture == 0 and class_id in range(classes)
        cells.append(Cell(score if known else math.nan, int(class_id) if known else 0, (x1, y1, x2, y2)))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 12),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, min_score: float) -> None:
    values = output(seed, classes, objects)
    head = YoloV7End2End(context((None, 7), classes=classes, size=SIZE))
    reference.check(head, [values], loops(values, classes), min_score)


def test_no_rows_are_no_candidates() -> None:
    found = YoloV7End2End(context((0, 7), classes=3, size=SIZE)).decode([np.zeros((0, 7), np.float32)], 0.25)
    assert (len(found.scores), found.seen, found.score_max) == (0, 0, 0.0)


def test_rows_of_another_picture_or_class_are_background() -> None:
    values = output(1, 3, 6)
    values[0, 0], values[1, 5], values[2, 5], values[3, 5] = 1, 3, -1, math.nan
    head = YoloV7End2End(context(values.shape, classes=3, size=SIZE))
    found = reference.check(head, [values], loops(values, 3), 0.0)
    assert len(found.scores) == 2


@pytest.mark.parametrize("unit", ["normalized", "auto"])
def test_normalized_boxes_become_pixels(unit: str) -> None:
    values = output(2, 3, 6)
    wanted = values[:, 1:5].copy()
    values[:, 1:5] /= np.array([*SIZE, *SIZE], np.float32)
    found = YoloV7End2End(context(values.shape, classes=3, size=SIZE, params={"boxes": unit})).decode([values], 0.0)
    assert isinstance(found, Candidates)
    np.testing.assert_allclose(found.boxes, wanted, rtol=1e-5)


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: YoloV7End2End(context(*shapes, classes=3, size=SIZE)), [output(3, 3, 6)])


@pytest.mark.parametrize("shapes", [[], [(1, 8400, 7)], [(1, 6)], [(None, None)], [(1, 1, 100, 7)], [(5, 7), (5, 7)]])
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        build_head("yolov7-end2end", context(*shapes, classes=80, size=(640, 640)))
    assert "M x 7" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("scores", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV7End2End(context((None, 7), classes=80, params={key: value}))
