from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov8_seg import YoloV8Seg
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import context


def outputs(seed: int, classes: int, objects: int, count: int = 32) -> tuple[Array, Array]:
    """Cells, 1 x (4 + classes + count) x N, boxes all over the picture, and prototypes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (1, 4 + classes + count, CELLS)).astype(np.float32)
    values[0, :4] = rng.uniform(0, 1, (4, CELLS)) * np.array([*SIZE, *SIZE])[:, None]
    values[0, 4 : 4 + classes] = rng.random((classes, CELLS)) ** 12 * 0.1
    for _ in range(objects):
        values[0, 4 + rng.integers(classes), rng.integers(CELLS)] = rng.uniform(0.2, 1)
    return values, grids.prototypes(rng, count)


def coefficients(values: Array, classes: int) -> list[list[float]]:
    return [[float(value) for value in cell[4 + classes :]] for cell in values[0].T]


@settings(deadline=None)
@given(  # not six classes: then a cell has as many values as there are cells
    seed=st.integers(0, 2**32), classes=st.integers(1, 5), objects=st.integers(0, 6), by_row=st.booleans(),
    swapped=st.booleans(), count=st.sampled_from([1, 5, 32]), min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(
    *, seed: int, classes: int, objects: int, by_row: bool, swapped: bool, count: int, min_score: float
) -> None:
    values, prototypes = outputs(seed, classes, objects, count)
    cells = np.ascontiguousarray(values.transpose(0, 2, 1)) if by_row else values
    given_outputs = [prototypes, cells] if swapped else [cells, prototypes]
    head = YoloV8Seg(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    wanted = reference.yolov8(values[:, : 4 + classes])
    found = reference.check(head, given_outputs, wanted, min_score, coefficients(values, classes))
    if found.masks is not None:
        np.testing.assert_array_equal(found.masks.prototypes, prototypes[0])


def test_params_are_those_of_yolov8() -> None:
    values, prototypes = outputs(3, 3, 4)
    values[0, :4] /= np.array([*SIZE, *SIZE])[:, None]
    wanted = reference.yolov8(values[:, :7], *SIZE)
    raw = values.copy()
    raw[0, 4:7] = grids.logits(values[0, 4:7])
    params = {"boxes": "normalized", "scores": "logits"}
    head = YoloV8Seg(context(raw.shape, prototypes.shape, classes=3, size=SIZE, params=params))
    reference.check(head, [raw, prototypes], wanted, 0.1, coefficients(values, 3))


def test_a_cell_with_a_nan_is_background() -> None:
    values, prototypes = outputs(4, 3, 4)
    values[0, 5, 17] = np.nan
    head = YoloV8Seg(context(values.shape, prototypes.shape, classes=3, size=SIZE))
    found = reference.check(head, [values, prototypes], reference.yolov8(values[:, :7]), 0.0, coefficients(values, 3))
    assert len(found.scores) == CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: YoloV8Seg(context(*shapes, classes=3, size=SIZE)), outputs(5, 3, 4))


PROTO = (1, 32, 160, 160)


@pytest.mark.parametrize("cells", [(1, 116, 8400), (1, 8400, 116), (1, 116, None), (None, 116, 33600)])
@pytest.mark.parametrize("prototypes", [PROTO, (None, 32, 160, 160), (1, 32, None, None)])
def test_the_grids_of_a_640_input_fit(cells: tuple[int | None, ...], prototypes: tuple[int | None, ...]) -> None:
    YoloV8Seg(context(cells, prototypes, classes=80, size=(640, 640)))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 116, 8400)],
        [PROTO],
        [(1, 116, 8399), PROTO],
        [(1, 36, 8400), PROTO],  # no class is left
        [(1, 25200, 117), PROTO],
        [(1, 116, 8400), (1, 32, 161, 160)],
        [(1, 116, 8400), (1, None, 160, 160)],
        [(1, 116, 8400), PROTO, (1, 1)],
        [(1, 116, 8400), (1, 116, 8400)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV8Seg(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x (4 + classes + k) x N" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov8-seg", context((1, 116, 8400), PROTO, classes=3, size=(640, 640)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (80, "3")
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x116x8400")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("box", "pixels")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV8Seg(context((1, 116, 8400), PROTO, classes=80, size=(640, 640), params={key: value}))
