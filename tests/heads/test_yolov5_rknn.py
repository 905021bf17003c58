from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov5_rknn import YoloV5Rknn
from camagent.heads.yolov7_rknn import YoloV7Rknn
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE
from tests.heads.reference import context

YOLOV5 = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
YOLOV7 = [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]]
OTHERS = [[size + 5.0 for size in level] for level in YOLOV5]
Head = type[YoloV5Rknn]
each = pytest.mark.parametrize("head_type", [YoloV5Rknn, YoloV7Rknn])
each_with_anchors = pytest.mark.parametrize(("head_type", "anchors"), [(YoloV5Rknn, YOLOV5), (YoloV7Rknn, YOLOV7)])


@each_with_anchors
@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), raw=st.booleans(),
    quiet=st.sampled_from([0.3, 0.02, 0.009, 1e-4]), min_score=st.sampled_from([0.0, 0.005, 0.25, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(
    *,
    head_type: Head,
    anchors: list[list[int]],
    seed: int,
    classes: int,
    objects: int,
    raw: bool,
    quiet: float,
    min_score: float,
) -> None:
    rng = np.random.default_rng(seed)
    maps = grids.anchor_maps(rng, classes, objects, quiet)
    wanted = grids.anchored(maps, anchors)
    outputs = grids.as_channels([grids.logits(level) for level in maps] if raw else maps)
    order = rng.permutation(len(outputs))
    given_outputs = [outputs[int(index)] for index in order]
    head = head_type(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    reference.check(head, given_outputs, wanted, min_score)


@each
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_anchors_and_activation_may_be_given(head_type: Head, activation: str) -> None:
    maps = grids.anchor_maps(np.random.default_rng(3), 3, 5)
    outputs = grids.as_channels([grids.logits(level) for level in maps] if activation == "sigmoid" else maps)
    params = {"anchors": OTHERS, "activation": activation}
    head = head_type(context(*(o.shape for o in outputs), classes=3, size=SIZE, params=params))
    reference.check(head, outputs, grids.anchored(maps, OTHERS), 0.25)


@each_with_anchors
def test_a_cell_with_a_nan_is_background(head_type: Head, anchors: list[list[int]]) -> None:
    maps = grids.anchor_maps(np.random.default_rng(4), 3, 5)
    maps[0][0, 1, 2, 3, 4] = maps[1][0, 0, 1, 1, 6] = np.nan
    outputs = grids.as_channels(maps)
    head = head_type(context(*(o.shape for o in outputs), classes=3, size=SIZE))
    assert len(reference.check(head, outputs, grids.anchored(maps, anchors), 0.0).scores) == 3 * CELLS - 2


@each
def test_values_that_no_healthy_model_gives_raise_no_warning(head_type: Head) -> None:
    outputs = grids.as_channels(grids.anchor_maps(np.random.default_rng(5), 3, 5))
    grids.survives(lambda shapes: head_type(context(*shapes, classes=3, size=SIZE)), outputs)


GOOD = [(1, 255, side, side) for side in (20, 80, 40)]


@pytest.mark.parametrize(("name", "head_type"), [("yolov5-rknn", YoloV5Rknn), ("yolov7-rknn", YoloV7Rknn)])
def test_four_levels_have_usual_anchors_and_two_have_none(name: str, head_type: Head) -> None:
    assert type(build_head(name, context(*GOOD, (1, 255, 10, 10), classes=80, size=(640, 640)))) is head_type
    with pytest.raises(HeadMismatch, match="anchors"):
        head_type(context(*GOOD[:2], classes=80, size=(640, 640)))


@each
@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 25200, 85)],
        GOOD[:1],
        [*GOOD[:2], (1, 258, 40, 40)],
        [*GOOD[:2], (1, 255, 41, 40)],
        [(1, 254, side, side) for side in (80, 40, 20)],
        [(1, 15, side, side) for side in (80, 40, 20)],
        [*GOOD, (1, 32, 160, 160)],
        [*GOOD, (1, 255, 80, 80)],
        [(1, 255, None, None)] * 3,
        [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(head_type: Head, shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        head_type(context(*shapes, classes=80, size=(640, 640)))
    assert "3 (5 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@each
def test_another_label_count_is_refused_with_both_sides(head_type: Head) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        head_type(context(*GOOD, classes=81, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "81"
    assert refusal.value.evidence["classes in the model"].startswith("80 (b 1x255x80x80")


@each
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("anchors", YOLOV5[:2]),
        ("anchors", [*YOLOV5[:2], YOLOV5[2][:4]]),
        ("anchors", [*YOLOV5[:2], [0, *YOLOV5[2][1:]]]),
        ("anchors", "usual"),
        ("activation", "softmax"),
        ("anchor", YOLOV5),
    ],
)
def test_wrong_params_are_refused(head_type: Head, key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        head_type(context(*GOOD, classes=80, size=(640, 640), params={key: value}))
