from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov5_seg import YoloV5Seg
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import context

ROWS = 3 * CELLS


def outputs(seed: int, classes: int, objects: int, count: int = 32, quiet: float = 0.3) -> tuple[Array, Array]:
    """Rows, 1 x N x (5 + classes + count), boxes all over the picture, and prototypes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (1, ROWS, 5 + classes + count)).astype(np.float32)
    values[0, :, :4] = rng.uniform(0, 1, (ROWS, 4)) * [*SIZE, *SIZE]
    values[0, :, 4] = rng.random(ROWS) ** 8 * quiet
    values[0, :, 5 : 5 + classes] = rng.random((ROWS, classes))
    for _ in range(objects):
        row = rng.integers(ROWS)
        values[0, row, 4], values[0, row, 5 + rng.integers(classes)] = rng.uniform(0.4, 1), rng.uniform(0.8, 1)
    return values, grids.prototypes(rng, count)


def coefficients(values: Array, classes: int) -> list[list[float]]:
    return [[float(value) for value in row[5 + classes :]] for row in values[0]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), swapped=st.booleans(),
    count=st.sampled_from([1, 5, 32]), quiet=st.sampled_from([0.3, 0.009, 1e-4]),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(
    *, seed: int, classes: int, objects: int, swapped: bool, count: int, quiet: float, min_score: float
) -> None:
    values, prototypes = outputs(seed, classes, objects, count, quiet)
    given_outputs = [prototypes, values] if swapped else [values, prototypes]
    head = YoloV5Seg(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    wanted = reference.yolov5(values[..., : 5 + classes])
    found = reference.check(head, given_outputs, wanted, min_score, coefficients(values, classes))
    if found.masks is not None:
        np.testing.assert_array_equal(found.masks.prototypes, prototypes[0])


def test_params_are_those_of_yolov5() -> None:
    values, prototypes = outputs(3, 3, 4)
    values[0, :, :4] /= [*SIZE, *SIZE]
    wanted = reference.yolov5(values[..., :8], *SIZE)
    raw = values.copy()
    raw[0, :, 4:8] = grids.logits(values[0, :, 4:8])
    params = {"boxes": "normalized", "scores": "logits"}
    head = YoloV5Seg(context(raw.shape, prototypes.shape, classes=3, size=SIZE, params=params))
    reference.check(head, [raw, prototypes], wanted, 0.2, coefficients(values, 3))


def test_a_row_with_a_nan_is_background() -> None:
    values, prototypes = outputs(4, 3, 4)
    values[0, 17, 4] = values[0, 18, 6] = np.nan
    head = YoloV5Seg(context(values.shape, prototypes.shape, classes=3, size=SIZE))
    found = reference.check(head, [values, prototypes], reference.yolov5(values[..., :8]), 0.0, coefficients(values, 3))
    assert len(found.scores) == ROWS - 2


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: YoloV5Seg(context(*shapes, classes=3, size=SIZE)), outputs(5, 3, 4))


PROTO = (1, 32, 160, 160)


@pytest.mark.parametrize("rows", [(1, 25200, 117), (1, None, 117), (None, 25200, 117)])
def test_the_grids_of_a_640_input_fit_and_undecoded_maps_do_no_harm(rows: tuple[int | None, ...]) -> None:
    maps = [(1, 3, side, side, 117) for side in (80, 40, 20)]
    YoloV5Seg(context(rows, PROTO, classes=80, size=(640, 640)))
    YoloV5Seg(context(rows, PROTO, *maps, classes=80, size=(640, 640)))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 25200, 117)],
        [PROTO],
        [(1, 25201, 117), PROTO],
        [(1, 25200, 37), PROTO],  # no class is left
        [(1, 117, 25200), PROTO],
        [(1, 25200, 117), (1, 32, 161, 160)],
        [(1, 25200, 117), PROTO, (1, 1)],
        [(1, 25200, 117), (1, 25200, 117), PROTO],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV5Seg(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (5 + classes + k)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov5-seg", context((1, 25200, 117), PROTO, classes=3, size=(640, 640)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (80, "3")
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x25200x117")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("box", "pixels")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV5Seg(context((1, 25200, 117), PROTO, classes=80, size=(640, 640), params={key: value}))
