from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov6_rknn import YoloV6Rknn
from tests.heads import grids, reference
from tests.heads.grids import SIZE, Array
from tests.heads.reference import context


def outputs(seed: int, classes: int, objects: int, channels: int = 4) -> tuple[list[Array], list[Array], list[Array]]:
    """Boxes, classes and their clipped sums."""
    rng = np.random.default_rng(seed)
    scores = grids.class_maps(rng, classes, objects)
    return grids.box_maps(rng, channels), scores, [score.sum(axis=1, keepdims=True).clip(0, 1) for score in scores]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.sampled_from([2, 3, 5, 6]), objects=st.integers(0, 6), with_sum=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]), channels=st.sampled_from([4, 68]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(
    *, seed: int, classes: int, objects: int, with_sum: bool, min_score: float, channels: int
) -> None:
    boxes, scores, sums = outputs(seed, classes, objects, channels)
    given_outputs = grids.shuffled(np.random.default_rng(seed), [*boxes, *scores, *(sums if with_sum else [])])
    head = YoloV6Rknn(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    reference.check(head, given_outputs, grids.split(boxes, scores), min_score)


def test_four_classes_look_like_the_distances_and_come_second() -> None:
    boxes, scores, _ = outputs(3, 4, 4)
    six = [array for level in zip(boxes, scores, strict=True) for array in level]
    reference.check(YoloV6Rknn(context(*(o.shape for o in six), classes=4, size=SIZE)), six, grids.split(boxes, scores), 0.2)


def test_68_classes_do_not_look_like_bins() -> None:
    boxes, scores, _ = outputs(4, 68, 4)
    six = grids.shuffled(np.random.default_rng(4), [*boxes, *scores])
    reference.check(YoloV6Rknn(context(*(o.shape for o in six), classes=68, size=SIZE)), six, grids.split(boxes, scores), 0.2)


def test_a_cell_with_a_nan_is_background() -> None:
    boxes, scores, _ = outputs(6, 3, 4)
    scores[1][0, 1, 1, 2] = np.nan
    head = YoloV6Rknn(context(*(o.shape for o in [*boxes, *scores]), classes=3, size=SIZE))
    found = reference.check(head, [*boxes, *scores], grids.split(boxes, scores), 0.0)
    assert len(found.scores) == grids.CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    boxes, scores, sums = outputs(7, 3, 4)
    grids.survives(lambda shapes: YoloV6Rknn(context(*shapes, classes=3, size=SIZE)), [*boxes, *scores, *sums])


GOOD = [(1, channels, side, side) for side in (80, 40, 20) for channels in (4, 80)]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 84, 8400)],
        GOOD[:5],
        [*GOOD, (1, 32, 160, 160)],
        [(1, 4, 79, 80), *GOOD[1:]],
        [*GOOD[:5], (1, 81, 20, 20)],
        [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80)],
        [(1, 255, side, side) for side in (80, 40, 20)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV6Rknn(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x 4 x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov6-rknn", context(*GOOD, classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (b 1x80x80x80")


@pytest.mark.parametrize(("key", "value"), [("scores", "twofold"), ("score", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV6Rknn(context(*GOOD, classes=80, size=(640, 640), params={key: value}))
