from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov8_rknn import YoloV8Rknn
from tests.heads import grids, reference
from tests.heads.grids import SIZE, Array
from tests.heads.reference import context

Outputs = tuple[list[Array], list[Array], list[Array]]


def outputs(seed: int, classes: int, objects: int) -> Outputs:
    """Boxes, classes and their clipped sums."""
    rng = np.random.default_rng(seed)
    scores = grids.class_maps(rng, classes, objects)
    return grids.box_maps(rng, 64), scores, [score.sum(axis=1, keepdims=True).clip(0, 1) for score in scores]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(2, 6), objects=st.integers(0, 6), with_sum=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(*, seed: int, classes: int, objects: int, with_sum: bool, min_score: float) -> None:
    boxes, scores, sums = outputs(seed, classes, objects)
    given_outputs = grids.shuffled(np.random.default_rng(seed), [*boxes, *scores, *(sums if with_sum else [])])
    head = YoloV8Rknn(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    reference.check(head, given_outputs, grids.split(boxes, scores), min_score)


def test_one_class_looks_like_its_sum_and_64_like_the_boxes() -> None:
    boxes, scores, sums = outputs(3, 1, 4)
    nine = [array for level in zip(boxes, scores, sums, strict=True) for array in level]
    reference.check(YoloV8Rknn(context(*(o.shape for o in nine), classes=1, size=SIZE)), nine, grids.split(boxes, scores), 0.2)
    boxes, scores, _ = outputs(4, 64, 4)
    six = [array for level in zip(boxes, scores, strict=True) for array in level]
    reference.check(YoloV8Rknn(context(*(o.shape for o in six), classes=64, size=SIZE)), six, grids.split(boxes, scores), 0.2)


def test_logits_are_named() -> None:
    boxes, scores, _ = outputs(5, 3, 4)
    with np.errstate(divide="ignore"):
        raw = [np.log(score / (1 - score)) for score in scores]
    head = YoloV8Rknn(context(*(o.shape for o in [*boxes, *raw]), classes=3, size=SIZE, params={"scores": "logits"}))
    reference.check(head, [*boxes, *raw], grids.split(boxes, scores), 0.2)


def test_a_cell_with_a_nan_is_background() -> None:
    boxes, scores, _ = outputs(6, 3, 4)
    scores[1][0, 1, 1, 2] = np.nan
    head = YoloV8Rknn(context(*(o.shape for o in [*boxes, *scores]), classes=3, size=SIZE))
    found = reference.check(head, [*boxes, *scores], grids.split(boxes, scores), 0.0)
    assert len(found.scores) == grids.CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    boxes, scores, sums = outputs(7, 3, 4)
    grids.survives(lambda shapes: YoloV8Rknn(context(*shapes, classes=3, size=SIZE)), [*boxes, *scores, *sums])


@pytest.mark.parametrize("batch", [1, None])
def test_the_grids_of_a_640_input_fit(batch: int | None) -> None:
    shapes = [(batch, channels, side, side) for side in (20, 80, 40) for channels in (1, 64, 80)]
    YoloV8Rknn(context(*shapes, classes=80, size=(640, 640)))


GOOD = [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80)]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 84, 8400)],
        GOOD[:2],
        GOOD[:5],
        [*GOOD, (1, 32, 160, 160)],
        [(1, 64, 79, 80), *GOOD[1:]],
        [(1, 64, None, None), *GOOD[1:]],
        [*GOOD[:5], (1, 81, 20, 20)],
        [*GOOD, (1, 1, 80, 80)][1:],
        [*GOOD, *((1, 32, side, side) for side in (80, 40, 20))],
        [(1, channels, side, side) for side in (80, 40, 20) for channels in (68, 80)],
        [(1, 255, side, side) for side in (80, 40, 20)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV8Rknn(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x 64 x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov8-rknn", context(*GOOD, classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (b 1x80x80x80")


@pytest.mark.parametrize(("key", "value"), [("scores", "twofold"), ("score", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV8Rknn(context(*GOOD, classes=80, size=(640, 640), params={key: value}))
