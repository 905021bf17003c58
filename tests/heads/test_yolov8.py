from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.yolov8 import YoloV8
from tests.heads import reference
from tests.heads.reference import context

SIZE = (96, 64)
CELLS = 12 * 8 + 6 * 4 + 3 * 2  # strides 8, 16, 32


def output(seed: int, classes: int, objects: int, cells: int = CELLS) -> NDArray[np.float32]:
    """Boxes all over the picture, class scores near 0, and some cells that see something."""
    rng = np.random.default_rng(seed)
    values = (rng.random((1, 4 + classes, cells)) ** 12 * 0.1).astype(np.float32)
    values[0, :4] = rng.uniform(0, 1, (4, cells)) * np.array([*SIZE, *SIZE])[:, None]
    for _ in range(objects):
        values[0, 4 + rng.integers(classes), rng.integers(cells)] = rng.uniform(0.2, 1)
    return values


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), by_row=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, by_row: bool, min_score: float) -> None:
    values = output(seed, classes, objects)
    given_values = np.ascontiguousarray(values.transpose(0, 2, 1)) if by_row else values
    head = YoloV8(context(given_values.shape, classes=classes, size=SIZE))
    reference.check(head, [given_values], reference.yolov8(values), min_score)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_boxes_and_classes_may_come_apart(*, seed: int, classes: int, objects: int, min_score: float) -> None:
    values = output(seed, classes, objects)
    apart = [np.ascontiguousarray(part) for part in (values[:, :4], values[:, 4:])]
    head = YoloV8(context(*(part.shape for part in apart), classes=classes, size=SIZE))
    reference.check(head, apart, reference.yolov8(values), min_score)


@pytest.mark.parametrize("shapes", [
    [(1, 4, CELLS), (1, 3, CELLS - 1)], [(1, 5, CELLS), (1, 3, CELLS)], [(1, 4, 100), (1, 3, 100)],
    [(1, 3, CELLS), (1, 4, CELLS)], [(1, 4, CELLS), (1, 3, 8, 12)],
])  # fmt: skip
def test_two_outputs_that_are_no_boxes_and_classes_are_turned_away(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(HeadMismatch):
        build_head("yolov8", context(*shapes, classes=3, size=SIZE))


@pytest.mark.parametrize("unit", ["auto", "normalized"])
def test_normalized_boxes_become_pixels(unit: str) -> None:
    values = output(5, 3, 4)
    values[0, :4] /= np.array([*SIZE, *SIZE])[:, None]
    head = YoloV8(context(values.shape, classes=3, size=SIZE, params={"boxes": unit}))
    reference.check(head, [values], reference.yolov8(values, *SIZE), 0.1)


def test_the_declared_unit_holds_whatever_the_values() -> None:
    values = output(6, 3, 4)
    values[0, :4] /= 100
    head = YoloV8(context(values.shape, classes=3, size=SIZE, params={"boxes": "pixels"}))
    reference.check(head, [values], reference.yolov8(values), 0.1)


def test_one_small_object_in_the_corner_is_still_in_pixels() -> None:
    values = output(7, 3, 0)
    values[0, :, 0] = [1, 1, 1, 1, 0, 0.9, 0]
    found = YoloV8(context(values.shape, classes=3, size=SIZE)).decode([values], 0.5)
    assert found.boxes.tolist() == [[0.5, 0.5, 1.5, 1.5]]


def test_a_cell_with_a_nan_is_background() -> None:
    values = output(8, 3, 4)
    values[0, 5, 17] = np.nan
    head = YoloV8(context(values.shape, classes=3, size=SIZE))
    found = reference.check(head, [values], reference.yolov8(values), 0.0)
    assert len(found.scores) == CELLS - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("unit", ["auto", "normalized"])
def test_values_that_no_healthy_model_gives_raise_no_warning(value: float, unit: str) -> None:
    values = output(9, 3, 4)
    values[0, 2:4] = value
    head = YoloV8(context(values.shape, classes=3, size=SIZE, params={"boxes": unit}))
    assert isinstance(head.decode([values], 0.1), Candidates)
    nothing = head.decode([np.full_like(values, np.nan)], 0.0)
    assert (len(nothing.scores), nothing.seen, nothing.score_max) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "shape", [(1, 84, 8400), (1, 8400, 84), (1, 84, None), (None, 84, 8400), (1, 84, 33600), (1, 84, 2000), (1, 84, 34000)]
)
def test_the_grids_of_a_640_input_fit(shape: tuple[int | None, ...]) -> None:
    YoloV8(context(shape, classes=80, size=(640, 640)))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 84, 8399)],
        [(1, 25200, 85)],
        [(1, None, None)],
        [(1, 4, 8400)],
        [(84, 8400)],
        [(1, 84, 8400), (1, 32, 160, 160)],
        [(1, 300, 6)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV8(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x (4 + classes) x N" in refusal.value.evidence["head wants"]
    assert "640 x 640" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_where_both_axes_could_be_the_cells_the_label_count_decides() -> None:
    tiny = (32, 32)  # strides 4, 8, 16 have 84 cells, 4 to 32 have 85
    YoloV8(context((1, 85, 84), classes=80, size=tiny))
    YoloV8(context((1, 85, 84), classes=81, size=tiny))
    with pytest.raises(HeadMismatch):
        YoloV8(context((1, 84, 84), classes=80, size=tiny))


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov8", context((1, 84, 8400), classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x84x8400")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("box", "pixels")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV8(context((1, 84, 8400), classes=80, size=(640, 640), params={key: value}))


def test_one_row_among_emptied_ones_keeps_its_unit() -> None:
    """Suppression in the graph empties all rows but a few: the unit is found by the one that is left, wherever it stands."""
    values = np.zeros((1, 4 + 2, CELLS), np.float32)
    values[0, :, 101] = [50, 30, 20, 10, 0.9, 0.1]
    found = YoloV8(context(values.shape, classes=2, size=SIZE)).decode([values], 0.5)
    np.testing.assert_allclose(found.boxes, [[40, 25, 60, 35]])
