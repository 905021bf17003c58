from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov8_seg_rknn import YoloV8SegRknn
from tests.heads import grids, reference
from tests.heads.grids import GRIDS, SIZE, Array
from tests.heads.reference import context

Outputs = tuple[list[Array], list[Array], list[Array], list[Array], Array]


def outputs(seed: int, classes: int, objects: int, count: int = 32) -> Outputs:
    """Boxes, classes, their clipped sums and coefficients per level, and prototypes."""
    rng = np.random.default_rng(seed)
    scores = grids.class_maps(rng, classes, objects)
    sums = [score.sum(axis=1, keepdims=True).clip(0, 1) for score in scores]
    signed = [rng.normal(0, 1, (1, count, *grid)).astype(np.float32) for grid in GRIDS]
    return grids.box_maps(rng, 64), scores, sums, signed, grids.prototypes(rng, count)


def coefficients(maps: Sequence[Array]) -> list[list[float]]:
    return [
        [float(value) for value in level[0, :, row, column]] for level in maps for row, column in grids.places(level.shape[2:])
    ]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(2, 6), objects=st.integers(0, 6), with_sum=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(*, seed: int, classes: int, objects: int, with_sum: bool, min_score: float) -> None:
    boxes, scores, sums, signed, prototypes = outputs(seed, classes, objects)
    parts = [*boxes, *scores, *(sums if with_sum else []), *signed, prototypes]
    given_outputs = grids.shuffled(np.random.default_rng(seed), parts)
    assert len(given_outputs) == (13 if with_sum else 10)
    head = YoloV8SegRknn(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    found = reference.check(head, given_outputs, grids.split(boxes, scores), min_score, coefficients(signed))
    if found.masks is not None:
        np.testing.assert_array_equal(found.masks.prototypes, prototypes[0])


@pytest.mark.parametrize("classes", [1, 32, 64])
def test_maps_of_as_many_channels_are_told_by_their_order(classes: int) -> None:
    boxes, scores, sums, signed, prototypes = outputs(3, classes, 4)
    levels = [array for level in zip(boxes, scores, sums, signed, strict=True) for array in level]
    head = YoloV8SegRknn(context(*(o.shape for o in [*levels, prototypes]), classes=classes, size=SIZE))
    reference.check(head, [*levels, prototypes], grids.split(boxes, scores), 0.2, coefficients(signed))


def test_logits_are_named() -> None:
    boxes, scores, _, signed, prototypes = outputs(5, 3, 4)
    raw = [*boxes, *map(grids.logits, scores), *signed, prototypes]
    head = YoloV8SegRknn(context(*(o.shape for o in raw), classes=3, size=SIZE, params={"scores": "logits"}))
    reference.check(head, raw, grids.split(boxes, scores), 0.2, coefficients(signed))


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    boxes, scores, sums, signed, prototypes = outputs(7, 3, 4)
    parts = [*boxes, *scores, *sums, *signed, prototypes]
    grids.survives(lambda shapes: YoloV8SegRknn(context(*shapes, classes=3, size=SIZE)), parts)


PROTO = (1, 32, 160, 160)
GOOD = [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80, 1, 32)]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        GOOD,
        [PROTO],
        [*GOOD[:-1], PROTO],  # a level without coefficients
        [*GOOD[:4], PROTO],
        [*GOOD, (1, 32, 80, 80)],
        [*GOOD, PROTO, PROTO],
        [*GOOD, (1, 16, 160, 160)],  # no level has so many coefficients
        [*GOOD, PROTO, (1, 84, 8400)],
        [(1, 116, 8400), PROTO],
        [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80)],
        [*((1, channels, side, side) for side in (80, 40, 20) for channels in (255, 96)), PROTO],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV8SegRknn(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x 64 x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov8-seg-rknn", context(*GOOD, PROTO, classes=3, size=(640, 640)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (80, "3")


@pytest.mark.parametrize(("key", "value"), [("scores", "twofold"), ("score", "logits")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV8SegRknn(context(*GOOD, PROTO, classes=80, size=(640, 640), params={key: value}))
