from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov5_seg_rknn import YoloV5SegRknn
from tests.heads import grids, reference
from tests.heads.grids import GRIDS, SIZE, Array
from tests.heads.reference import context

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
OTHERS = [[size + 5.0 for size in level] for level in ANCHORS]


def outputs(
    seed: int, classes: int, objects: int, quiet: float = 0.3, count: int = 32
) -> tuple[list[Array], list[Array], Array]:
    """Boxes as anchor_maps has them, coefficients 1 x 3 x count x H x W per level, and prototypes."""
    rng = np.random.default_rng(seed)
    maps = grids.anchor_maps(rng, classes, objects, quiet)
    signed = [rng.normal(0, 1, (1, 3, count, *grid)).astype(np.float32) for grid in GRIDS]
    return maps, signed, grids.prototypes(rng, count)


def coefficients(maps: Sequence[Array]) -> list[list[float]]:
    return [
        [float(value) for value in level[0, anchor, :, row, column]]
        for level in maps
        for anchor in range(3)
        for row, column in grids.places(level.shape[3:])
    ]


def joined(maps: Sequence[Array]) -> list[Array]:
    return [level.reshape(1, -1, *level.shape[3:]) for level in maps]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), raw=st.booleans(),
    quiet=st.sampled_from([0.3, 0.009, 1e-4]), min_score=st.sampled_from([0.0, 0.005, 0.25, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(
    *, seed: int, classes: int, objects: int, raw: bool, quiet: float, min_score: float
) -> None:
    maps, signed, prototypes = outputs(seed, classes, objects, quiet)
    boxes = grids.as_channels([grids.logits(level) for level in maps] if raw else maps)
    given_outputs = grids.shuffled(np.random.default_rng(seed), [*boxes, *joined(signed), prototypes])
    assert len(given_outputs) == 7
    head = YoloV5SegRknn(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    found = reference.check(head, given_outputs, grids.anchored(maps, ANCHORS), min_score, coefficients(signed))
    if found.masks is not None:
        np.testing.assert_array_equal(found.masks.prototypes, prototypes[0])


def test_maps_of_as_many_channels_are_told_by_their_order() -> None:
    maps, signed, prototypes = outputs(3, 27, 4)
    levels = [array for level in zip(grids.as_channels(maps), joined(signed), strict=True) for array in level]
    assert {level.shape[1] for level in levels} == {96}
    head = YoloV5SegRknn(context(*(o.shape for o in [*levels, prototypes]), classes=27, size=SIZE))
    reference.check(head, [*levels, prototypes], grids.anchored(maps, ANCHORS), 0.25, coefficients(signed))


def test_anchors_and_activation_may_be_given() -> None:
    maps, signed, prototypes = outputs(4, 3, 5)
    parts = [*grids.as_channels([grids.logits(level) for level in maps]), *joined(signed), prototypes]
    params = {"anchors": OTHERS, "activation": "sigmoid"}
    head = YoloV5SegRknn(context(*(o.shape for o in parts), classes=3, size=SIZE, params=params))
    reference.check(head, parts, grids.anchored(maps, OTHERS), 0.25, coefficients(signed))


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    maps, signed, prototypes = outputs(5, 3, 5)
    parts = [*grids.as_channels(maps), *joined(signed), prototypes]
    grids.survives(lambda shapes: YoloV5SegRknn(context(*shapes, classes=3, size=SIZE)), parts)


PROTO = (1, 32, 160, 160)
GOOD = [(1, channels, side, side) for side in (80, 40, 20) for channels in (255, 96)]


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        GOOD,
        [PROTO],
        [*GOOD[:-1], PROTO],
        [*GOOD[:2], PROTO],
        [*GOOD, (1, 255, 80, 80), PROTO],
        [*GOOD, (1, 16, 160, 160)],
        [*((1, channels, side, side) for side in (80, 40, 20) for channels in (254, 96)), PROTO],
        [(1, 255, side, side) for side in (80, 40, 20)],
        [(1, 25200, 117), PROTO],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV5SegRknn(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x 3 (5 + classes) x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov5-seg-rknn", context(*GOOD, PROTO, classes=3, size=(640, 640)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (80, "3")


@pytest.mark.parametrize(("key", "value"), [("anchors", ANCHORS[:2]), ("activation", "softmax"), ("anchor", ANCHORS)])
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV5SegRknn(context(*GOOD, PROTO, classes=80, size=(640, 640), params={key: value}))
