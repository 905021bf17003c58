from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camagent.frame import Candidates
from camagent.heads.nms import FEW, INPUT_LIMIT, nms
from tests.heads import reference


def candidates(boxes: list[list[float]], scores: list[float], class_ids: list[int]) -> Candidates:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Candidates(corners, np.array(scores, np.float32), np.array(class_ids, np.int64), seen=0, score_max=0.0)


def crowd(seed: int, count: int, objects: int, classes: int) -> Candidates:
    """Boxes in heaps, some of them outside the picture, with scores in coarse steps so that many are equal."""
    rng = np.random.default_rng(seed)
    which = rng.integers(objects, size=count)
    center = rng.uniform(-300, 640, (objects, 2))[which] + rng.normal(0, 6, (count, 2))
    half = rng.uniform(15, 60, (objects, 2))[which] * rng.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([center - half, center + half], axis=1).astype(np.float32)
    scores = (rng.integers(0, 21, count) / 20).astype(np.float32)
    return Candidates(boxes, scores, rng.integers(classes, size=count), seen=count, score_max=1.0)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(0, 60), objects=st.integers(1, 8), classes=st.integers(1, 5),
    iou=st.floats(0, 1),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, count: int, objects: int, classes: int, iou: float) -> None:
    crowded = crowd(seed, count, objects, classes)
    x1, y1, x2, y2 = crowded.boxes.astype(float).T.tolist() if count else [[]] * 4
    boxes = list(zip(x1, y1, x2, y2, strict=True))
    assume(all(abs(reference.iou(a, b) - iou) > 1e-9 for a in boxes for b in boxes if a is not b))
    expected = reference.nms(boxes, crowded.scores.tolist(), crowded.class_ids.tolist(), iou)
    kept = nms(crowded, iou)
    assert kept.dtype == np.intp
    assert kept.tolist() == expected


def test_equal_scores_stay_in_order() -> None:
    crowded = candidates([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [30, 0, 40, 10]], [0.5] * 4, [0] * 4)
    assert nms(crowded, 0.5).tolist() == [0, 2, 3]


def test_classes_leave_each_other_alone_left_of_the_picture_too() -> None:
    crowded = candidates([[100, 100, 200, 200], [-101, -101, -1, -1], [100, 100, 200, 200]], [0.9, 0.8, 0.7], [0, 1, 7])
    assert nms(crowded, 0.45).tolist() == [0, 1, 2]


def test_a_score_of_zero_is_a_score() -> None:
    assert nms(candidates([[0, 0, 10, 10]], [0.0], [0]), 0.5).tolist() == [0]


def test_one_broken_box_harms_no_other() -> None:
    boxes: list[list[float]] = [
        [0, 0, math.inf, 10],
        [math.nan, 0, 9, 9],
        [-math.inf, -math.inf, math.inf, math.inf],
        [20, 20, 30, 30],
    ]
    crowded = candidates([*boxes, [20, 20, 30, 30], [21, 20, 31, 30]], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 0, 0, 0, 1, 0])
    assert nms(crowded, 0.5).tolist() == [0, 2, 3, 4]


def test_boxes_turned_inside_out_have_no_area() -> None:
    crowded = candidates([[10, 10, 0, 0], [0, 0, 10, 10], [30, 30, 20, 20]], [0.9, 0.8, 0.7], [0, 0, 0])
    assert nms(crowded, 0.5).tolist() == [0, 1]


def test_the_limit_and_the_input_limit_keep_the_best() -> None:
    count = INPUT_LIMIT + 500
    boxes = [[20.0 * i, 0.0, 20.0 * i + 10, 10.0] for i in range(count)]
    crowded = candidates(boxes, [i / count for i in range(count)], [0] * count)
    assert nms(crowded, 0.5).tolist() == list(range(count - 1, count - 301, -1))
    assert len(nms(crowded, 0.5, limit=count)) == INPUT_LIMIT
    assert nms(crowded, 0.5, limit=0).tolist() == []


_SIDE = st.sampled_from([0.0, 0.0, 10.0, 12.0])
_FLAT = st.builds(lambda x, y, wide, high: [x, y, x + wide, y + high], *[st.sampled_from([0.0, 1.0, 40.0])] * 2, _SIDE, _SIDE)


@given(st.lists(_FLAT, min_size=1, max_size=FEW), st.sampled_from([0.0, 0.45, 1.0]))
def test_few_boxes_and_many_go_by_the_same_rule_flat_ones_too(boxes: list[list[float]], iou: float) -> None:
    """Far away and of another class, enough others to make them many."""
    far = [[1000.0 + 20 * i, 0.0, 1010.0 + 20 * i, 10.0] for i in range(FEW)]
    ids = [0] * len(boxes)
    few = candidates(boxes, [0.9] * len(boxes), ids)
    many = candidates([*boxes, *far], [0.9] * len(boxes) + [0.5] * FEW, [*ids, *[9] * FEW])
    assert nms(few, iou).tolist() == [row for row in nms(many, iou).tolist() if row < len(boxes)]
