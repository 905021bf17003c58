from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov7 import YoloV7
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import context

ANCHORS = [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]]
TINY = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
QUIET = st.sampled_from([0.3, 0.02, 0.009, 1e-4])
SCORES = st.sampled_from([0.0, 0.005, 0.25, 0.65, 1.0])


def decoded(maps: list[Array]) -> Array:
    """As the graph concatenates them: x y w h in pixels."""
    rows = np.concatenate([level.reshape(-1, level.shape[-1]) for level in maps])[None]
    rows[..., :4] *= np.array([*SIZE, *SIZE], np.float32)
    return rows


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), raw=st.booleans(), quiet=QUIET,
    min_score=SCORES,
)  # fmt: skip
def test_maps_agree_with_the_loops_in_any_order(
    *, seed: int, classes: int, objects: int, raw: bool, quiet: float, min_score: float
) -> None:
    rng = np.random.default_rng(seed)
    maps = grids.anchor_maps(rng, classes, objects, quiet)
    wanted = grids.anchored(maps, ANCHORS)
    given_outputs = grids.shuffled(rng, [grids.logits(level) for level in maps] if raw else maps)
    head = YoloV7(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    reference.check(head, given_outputs, wanted, min_score)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), quiet=QUIET, min_score=SCORES)
def test_the_decoded_form_agrees_with_the_loops(
    *, seed: int, classes: int, objects: int, quiet: float, min_score: float
) -> None:
    values = decoded(grids.anchor_maps(np.random.default_rng(seed), classes, objects, quiet))
    head = YoloV7(context(values.shape, classes=classes, size=SIZE))
    reference.check(head, [values], reference.yolov5(values), min_score)


def test_maps_beside_the_decoded_output_are_left_alone() -> None:
    maps = grids.anchor_maps(np.random.default_rng(2), 3, 5)
    values = decoded(maps)
    outputs = [maps[2], values, maps[0], maps[1]]
    head = YoloV7(context(*(o.shape for o in outputs), classes=3, size=SIZE))
    reference.check(head, outputs, reference.yolov5(values), 0.25)


@pytest.mark.parametrize("unit", ["auto", "normalized"])
def test_normalized_boxes_become_pixels(unit: str) -> None:
    values = decoded(grids.anchor_maps(np.random.default_rng(3), 3, 5))
    values[..., :4] /= np.array([*SIZE, *SIZE], np.float32)
    head = YoloV7(context(values.shape, classes=3, size=SIZE, params={"boxes": unit}))
    reference.check(head, [values], reference.yolov5(values, *SIZE), 0.25)


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_anchors_and_activation_may_be_given(activation: str) -> None:
    maps = grids.anchor_maps(np.random.default_rng(4), 3, 5)
    outputs = [grids.logits(level) for level in maps] if activation == "sigmoid" else maps
    params = {"anchors": TINY, "activation": activation}
    head = YoloV7(context(*(o.shape for o in outputs), classes=3, size=SIZE, params=params))
    reference.check(head, outputs, grids.anchored(maps, TINY), 0.25)


def test_a_cell_with_a_nan_is_background() -> None:
    maps = grids.anchor_maps(np.random.default_rng(5), 3, 5)
    maps[0][0, 1, 2, 3, 4] = maps[1][0, 0, 1, 1, 6] = np.nan
    head = YoloV7(context(*(o.shape for o in maps), classes=3, size=SIZE))
    assert len(reference.check(head, maps, grids.anchored(maps, ANCHORS), 0.0).scores) == 3 * CELLS - 2
    values = decoded(maps)
    head = YoloV7(context(values.shape, classes=3, size=SIZE))
    assert len(reference.check(head, [values], reference.yolov5(values), 0.0).scores) == 3 * CELLS - 2


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    maps = grids.anchor_maps(np.random.default_rng(6), 3, 5)
    for outputs in (maps, [decoded(maps)]):
        grids.survives(lambda shapes: YoloV7(context(*shapes, classes=3, size=SIZE)), outputs)


MAPS = [(1, 3, side, side, 85) for side in (20, 80, 40)]


@pytest.mark.parametrize(
    "shapes", [[(1, 25200, 85)], [(1, None, 85)], MAPS, [*MAPS, (1, 3, 10, 10, 85)], [*MAPS, (1, 25200, 85)]]
)
def test_the_grids_of_a_640_input_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("yolov7", context(*shapes, classes=80, size=(640, 640))), YoloV7)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 8400, 85)],
        [(1, 25200, 5)],
        [(1, 25200, None)],
        [(1, 25200, 117), (1, 32, 160, 160)],
        MAPS[:1],
        [*MAPS[:2], (1, 3, 40, 40, 86)],
        [*MAPS[:2], (1, 2, 40, 40, 85)],
        [*MAPS[:2], (1, 3, 41, 40, 85)],
        [*MAPS[:2], (1, 3, None, None, 85)],
        [*MAPS, MAPS[0]],
        [(1, 255, side, side) for side in (80, 40, 20)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV7(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (5 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize("shapes", [[(1, 25200, 85)], MAPS])
def test_another_label_count_is_refused_with_both_sides(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        YoloV7(context(*shapes, classes=81, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "81"
    assert refusal.value.evidence["classes in the model"].startswith("80 (")


@pytest.mark.parametrize(
    ("key", "value"), [("anchors", TINY[:2]), ("boxes", "metres"), ("activation", 1), ("scores", "logits")]
)
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV7(context(*MAPS, classes=80, size=(640, 640), params={key: value}))
