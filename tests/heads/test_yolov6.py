from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov6 import YoloV6
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import context


def output(seed: int, classes: int, objects: int) -> Array:
    """Boxes all over the picture, a one, class scores near 0, and some rows that see something."""
    rng = np.random.default_rng(seed)
    values = (rng.random((1, CELLS, 5 + classes)) ** 12 * 0.1).astype(np.float32)
    values[0, :, :4] = rng.uniform(0, 1, (CELLS, 4)) * [*SIZE, *SIZE]
    values[0, :, 4] = 1
    for _ in range(objects):
        values[0, rng.integers(CELLS), 5 + rng.integers(classes)] = rng.uniform(0.2, 1)
    return values


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, min_score: float) -> None:
    values = output(seed, classes, objects)
    head = YoloV6(context(values.shape, classes=classes, size=SIZE))
    reference.check(head, [values], reference.yolov5(values), min_score)


def test_normalized_boxes_become_pixels() -> None:
    values = output(5, 3, 4)
    values[0, :, :4] /= np.array([*SIZE, *SIZE], np.float32)
    reference.check(YoloV6(context(values.shape, classes=3, size=SIZE)), [values], reference.yolov5(values, *SIZE), 0.1)


@pytest.mark.parametrize("value", [0.5, 0.0, 1.5])
def test_without_the_ones_it_is_another_family(value: float) -> None:
    values = output(6, 3, 4)
    values[0, 7, 4] = value
    found = YoloV6(context(values.shape, classes=3, size=SIZE)).decode([values], 0.0)
    assert (len(found.scores), found.seen, found.score_max) == (0, 0, 0.0)


def test_a_row_with_a_nan_is_background() -> None:
    values = output(7, 3, 4)
    values[0, 4, 6] = np.nan
    head = YoloV6(context(values.shape, classes=3, size=SIZE))
    assert len(reference.check(head, [values], reference.yolov5(values), 0.0).scores) == CELLS - 1


def test_logits_are_named() -> None:
    values = output(8, 3, 4)
    wanted = reference.yolov5(values)
    with np.errstate(divide="ignore"):
        values[..., 5:] = np.log(values[..., 5:] / (1 - values[..., 5:]))
    reference.check(YoloV6(context(values.shape, classes=3, size=SIZE, params={"scores": "logits"})), [values], wanted, 0.15)


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: YoloV6(context(*shapes, classes=3, size=SIZE)), [output(9, 3, 4)])
    head = YoloV6(context((1, CELLS, 8), classes=3, size=SIZE))
    for value in grids.STRANGE:
        values = output(9, 3, 4)
        values[0, :, 2:4] = values[0, ::2, 5:] = value
        head.decode([values], 0.1)


@pytest.mark.parametrize("shape", [(1, 8400, 85), (1, None, 85), (1, 33600, 85)])
def test_the_grids_of_a_640_input_fit(shape: tuple[int | None, ...]) -> None:
    assert isinstance(build_head("yolov6", context(shape, classes=80, size=(640, 640))), YoloV6)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 25200, 85)],
        [(1, 85, 8400)],
        [(1, 8400, None)],
        [(1, 8400, 5)],
        [(8400, 85)],
        [(1, 8400, 85), (1, 32, 160, 160)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV6(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (5 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        YoloV6(context((1, 8400, 85), classes=81, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "81"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x8400x85")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("score", "product")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV6(context((1, 8400, 85), classes=80, size=(640, 640), params={key: value}))
