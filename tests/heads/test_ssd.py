from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch
from camagent.heads import build_head
from camagent.heads.ssd import Ssd
from tests.heads import grids, reference
from tests.heads.grids import Array
from tests.heads.reference import Cell, context

SIZE = (96, 64)
ROWS = 20
FOUR = ((1, ROWS, 4), (1, ROWS), (1, ROWS), (1,))


def parts(seed: int, classes: int, first: int) -> tuple[Array, Array, Array]:
    """Class ids from `first`, scores, corners x1 y1 x2 y2 in 0..1."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (ROWS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (ROWS, 2))], axis=1).astype(np.float32)
    ids = rng.integers(classes, size=ROWS) + first
    return ids.astype(np.float32), rng.random(ROWS).astype(np.float32), boxes


def single(ids: Array, scores: Array, boxes: Array) -> Array:
    return np.concatenate([np.zeros((ROWS, 1)), ids[:, None], scores[:, None], boxes], axis=1)[None, None].astype(np.float32)


def four(ids: Array, scores: Array, boxes: Array, count: int) -> list[Array]:
    return [boxes[None][..., [1, 0, 3, 2]], ids[None], scores[None], np.array([count], np.float32)]


def loops(ids: Array, scores: Array, boxes: Array, classes: int, *, first: int = 0, count: int = ROWS) -> list[Cell]:
    cells = []
    for row in range(len(ids)):
        x1, y1, x2, y2 = (float(value) for value in boxes[row])
        known = float(ids[row]) - first in range(classes) and row < count
        box = (x1 * SIZE[0], y1 * SIZE[1], x2 * SIZE[0], y2 * SIZE[1])
        cells.append(Cell(float(scores[row]) if known else math.nan, int(ids[row]) - first if known else 0, box))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), first=st.integers(0, 1), count=st.integers(0, ROWS),
    min_score=st.sampled_from([0.0, 0.4, 1.0]), tflite=st.booleans(),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, first: int, count: int, min_score: float, tflite: bool) -> None:
    made = parts(seed, classes, first)
    made[0][:2] = [classes + first, first - 1]
    outputs = four(*made, count) if tflite else [single(*made)]
    head = Ssd(context(*(o.shape for o in outputs), classes=classes, size=SIZE, params={"first_class": first}))
    reference.check(head, outputs, loops(*made, classes, first=first, count=count if tflite else ROWS), min_score)


def test_a_row_of_another_picture_or_with_a_nan_is_background() -> None:
    made = parts(1, 3, 0)
    values = single(*made)
    values[0, 0, 3, 0], values[0, 0, 5, 2], values[0, 0, 6, 1] = -1, np.nan, np.nan
    found = Ssd(context(values.shape, classes=3, size=SIZE)).decode([values], 0.0)
    assert len(found.scores) == ROWS - 3


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 2, 0, 1), (1, 3, 2, 0)])
def test_four_outputs_are_told_apart_in_any_order(order: tuple[int, ...]) -> None:
    made = parts(2, 3, 0)
    outputs = [four(*made, ROWS)[index] for index in order]
    reference.check(Ssd(context(*(o.shape for o in outputs), classes=3, size=SIZE)), outputs, loops(*made, 3), 0.3)


@pytest.mark.parametrize("unit", ["pixels", "auto"])
def test_boxes_may_be_pixels(unit: str) -> None:
    ids, scores, boxes = parts(3, 3, 0)
    values = single(ids, scores, boxes * np.array([*SIZE, *SIZE], np.float32))
    reference.check(
        Ssd(context(values.shape, classes=3, size=SIZE, params={"boxes": unit})), [values], loops(ids, scores, boxes, 3), 0.3
    )


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    made = parts(4, 3, 0)
    for outputs in ([single(*made)], four(*made, ROWS)):
        grids.survives(lambda shapes: Ssd(context(*shapes, classes=3, size=SIZE)), outputs)


@pytest.mark.parametrize("shapes", [[(1, 1, 100, 7)], [(1, 1, None, 7)], FOUR, [(1, 1), *FOUR[:3]], [(1, None, 4), *FOUR[1:]]])
def test_the_usual_shapes_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("ssd", context(*shapes, classes=80, size=(300, 300))), Ssd)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 100, 7)],
        [(1, 1, 100, 6)],
        [(1, 3, 100, 7)],
        [(1, 1, 100, None)],
        FOUR[:3],
        [(1, 19, 4), *FOUR[1:]],
        [*FOUR[:3], (1, ROWS)],
        [(1, 1, 100, 7), (1,)],
        [(1, 1917, 4), (1, 1917, 91)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        Ssd(context(*shapes, classes=80, size=(300, 300)))
    assert "1 x 1 x N x 7" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("first_class", -1), ("scores", "logits")])
def test_wrong_params_are_refused(key: str, value: str | int) -> None:
    with pytest.raises(HeadMismatch, match=key):
        Ssd(context((1, 1, 100, 7), classes=80, params={key: value}))
