from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import TensorSpec
from camagent.heads import build_head
from camagent.heads.base import HeadContext
from camagent.heads.rtdetr import RtDetr
from tests.heads import grids, reference
from tests.heads.grids import Array
from tests.heads.reference import Cell, context, first_best, from_center, sigmoid, softmax

SIZE = (96, 64)
ROWS = 40
AUTHORS = ((1, ROWS), (1, ROWS, 4), (1, ROWS))


def queries(seed: int, classes: int, objects: int) -> Array:
    """Boxes x y w h in 0..1, class scores near 0, and some queries that see something."""
    rng = np.random.default_rng(seed)
    values = (rng.random((1, ROWS, 4 + classes)) ** 12 * 0.1).astype(np.float32)
    values[..., :4] = rng.uniform(0.05, 0.95, (1, ROWS, 4))
    for _ in range(objects):
        values[0, rng.integers(ROWS), 4 + rng.integers(classes)] = rng.uniform(0.2, 1)
    return values


def loops(values: Array) -> list[Cell]:
    cells = []
    for row in values[0]:
        x, y, width, height, *classes = (float(value) for value in row)
        box = from_center(x * SIZE[0], y * SIZE[1], width * SIZE[0], height * SIZE[1])
        cells.append(Cell(*first_best(classes), box))
    return cells


def chosen(seed: int, classes: int) -> tuple[NDArray[np.int64], Array, Array]:
    """The authors' labels, boxes in pixels, scores."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (ROWS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (ROWS, 2))], axis=1) * [*SIZE, *SIZE]
    return rng.integers(classes, size=(1, ROWS)), boxes[None].astype(np.float32), rng.random((1, ROWS)).astype(np.float32)


def chosen_loops(labels: NDArray[np.int64], boxes: Array, scores: Array, classes: int) -> list[Cell]:
    cells = []
    for label, box, score in zip(labels[0].tolist(), boxes[0].tolist(), scores[0].tolist(), strict=True):
        x1, y1, x2, y2 = box
        known = label in range(classes)
        cells.append(Cell(score if known else math.nan, label if known else 0, (x1, y1, x2, y2)))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_queries_agree_with_the_loops(*, seed: int, classes: int, objects: int, min_score: float) -> None:
    values = queries(seed, classes, objects)
    reference.check(RtDetr(context(values.shape, classes=classes, size=SIZE)), [values], loops(values), min_score)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), order=st.permutations([0, 1, 2]),
    min_score=st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip
def test_the_authors_form_agrees_with_the_loops_in_any_order(
    *, seed: int, classes: int, order: list[int], min_score: float
) -> None:
    made = chosen(seed, classes)
    made[0][0, :3] = [classes, -1, classes - 1]
    outputs = [made[index] for index in order]
    specs = [TensorSpec(f"o{index}", output.shape, str(output.dtype)) for index, output in enumerate(outputs)]
    head = RtDetr(HeadContext(*SIZE, classes, specs, {}))
    reference.check(head, outputs, chosen_loops(*made, classes), min_score)


def test_labels_come_first_where_all_are_floats() -> None:
    labels, boxes, scores = chosen(3, 3)
    outputs = [labels.astype(np.float32), boxes, scores]
    reference.check(RtDetr(context(*AUTHORS, classes=3, size=SIZE)), outputs, chosen_loops(labels, boxes, scores, 3), 0.4)


def test_logits_pixels_and_corners_are_named() -> None:
    values = queries(4, 3, 5)
    wanted = loops(values)
    with np.errstate(divide="ignore"):
        values[..., 4:] = np.log(values[..., 4:] / (1 - values[..., 4:]))
    x, y, width, height = (values[..., index] for index in range(4))
    values[..., :4] = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=2) * [*SIZE, *SIZE]
    params = {"scores": "logits", "boxes": "pixels", "order": "xyxy"}
    reference.check(RtDetr(context(values.shape, classes=3, size=SIZE, params=params)), [values], wanted, 0.15)


def test_a_query_with_a_nan_is_background() -> None:
    values = queries(5, 3, 5)
    values[0, 4, 6] = np.nan
    head = RtDetr(context(values.shape, classes=3, size=SIZE))
    assert len(reference.check(head, [values], loops(values), 0.0).scores) == ROWS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: RtDetr(context(*shapes, classes=3, size=SIZE)), [queries(6, 3, 5)])
    labels, boxes, scores = chosen(6, 3)
    grids.survives(lambda shapes: RtDetr(context(*shapes, classes=3, size=SIZE)), [labels.astype(np.float32), boxes, scores])


@pytest.mark.parametrize(
    "shapes",
    [[(1, 300, 84)], [(None, None, 84)], [(1, 300), (1, 300, 4), (1, 300)], [(None, 9), (None, 9), (None, 9, 4)]],
)
def test_the_usual_shapes_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("rtdetr", context(*shapes, classes=80, size=(640, 640))), RtDetr)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 8400, 84)],
        [(1, 400, 84)],
        [(1, 84, 8400)],
        [(1, 300, None)],
        [(1, 300, 4)],
        [(1, 300, 4), (1, 300)],
        [(1, 300), (1, 299, 4), (1, 300)],
        [(1, 4420, 2), (1, 4420, 4)],
        [(1, 300, 84), (1, 32, 160, 160)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        RtDetr(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (4 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        RtDetr(context((1, 300, 84), classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x300x84")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("score", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        RtDetr(context((1, 300, 84), classes=80, size=(640, 640), params={key: value}))


# -- boxes and classes apart --------------------------------------------------------------------------------------------------


def apart(seed: int, classes: int, objects: int, column: str) -> tuple[Array, Array, list[list[float]]]:
    """Boxes, logits, and what these are worth. `column`: none is spare, or one that is never ahead, or one that mostly is."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0.05, 0.95, (1, ROWS, 4)).astype(np.float32)
    values = rng.normal(-4, 1, (1, ROWS, classes)).astype(np.float32)
    for _ in range(objects):
        values[0, rng.integers(ROWS), rng.integers(classes)] = rng.uniform(0, 6)
    if column == "none":
        return boxes, values, [[sigmoid(float(value)) for value in row] for row in values[0]]
    ahead = 5.0 if column == "background" else -8.0
    spare = rng.normal(ahead, 0.1, (1, ROWS, 1)).astype(np.float32)
    joined = np.concatenate([spare, values], axis=2)
    if column == "background":
        return boxes, joined, [softmax([float(value) for value in row])[1:] for row in joined[0]]
    return boxes, joined, [[sigmoid(float(value)) for value in row] for row in values[0]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.sampled_from([1, 2, 5, 6]), objects=st.integers(0, 6), last=st.booleans(),
    column=st.sampled_from(["none", "unused", "background"]), swapped=st.booleans(), min_score=st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip
def test_boxes_and_classes_apart_agree_with_the_loops(
    *, seed: int, classes: int, objects: int, last: bool, column: str, swapped: bool, min_score: float
) -> None:
    boxes, values, worth = apart(seed, classes, objects, column)
    if last and column != "none":
        values = np.ascontiguousarray(np.roll(values, -1, axis=2))
    parts = [values, boxes] if swapped else [boxes, values]
    params = {"no_object": "last" if last else "first"}
    head = RtDetr(context(*(o.shape for o in parts), classes=classes, size=SIZE, params=params))
    cells = [Cell(*first_best(row), cell.box) for row, cell in zip(worth, loops(boxes_only(boxes)), strict=True)]
    reference.check(head, parts, cells, min_score)


def boxes_only(boxes: Array) -> Array:
    return np.concatenate([boxes, np.zeros((1, ROWS, 1), np.float32)], axis=2)


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_what_is_still_to_be_applied_may_be_said(activation: str) -> None:
    boxes, values, _ = apart(3, 3, 5, "unused")
    head = RtDetr(context(boxes.shape, values.shape, classes=3, size=SIZE, params={"activation": activation}))
    own = [[float(value) for value in row] for row in values[0]]
    worth = {"none": [row[1:] for row in own], "sigmoid": [[sigmoid(value) for value in row[1:]] for row in own],
             "softmax": [softmax(row)[1:] for row in own]}[activation]  # fmt: skip
    cells = [Cell(*first_best(row), cell.box) for row, cell in zip(worth, loops(boxes_only(boxes)), strict=True)]
    reference.check(head, [boxes, values], cells, 0.3)


def test_apart_no_value_warns_and_another_label_count_is_refused() -> None:
    boxes, values, _ = apart(4, 3, 5, "background")
    grids.survives(lambda shapes: RtDetr(context(*shapes, classes=3, size=SIZE)), [boxes, values])
    with pytest.raises(LabelCountMismatch) as refusal:
        RtDetr(context((1, 300, 4), (1, 300, 91), classes=80, size=(640, 640)))
    assert refusal.value.classes == 91
    for shapes in ([(1, 300, 4), (1, 299, 91)], [(1, 8400, 4), (1, 8400, 80)], [(1, 300, 5), (1, 300, 91)]):
        with pytest.raises(HeadMismatch):
            RtDetr(context(*shapes, classes=90, size=(640, 640)))
