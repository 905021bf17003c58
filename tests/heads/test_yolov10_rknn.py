from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolov10_rknn import YoloV10Rknn
from tests.heads import grids
from tests.heads.grids import SIZE, Array
from tests.heads.reference import Cell, context

LARGE = (160, 160)
LARGE_GRIDS = ((20, 20), (10, 10), (5, 5))


def outputs(seed: int, classes: int, objects: int) -> tuple[list[Array], list[Array]]:
    """Boxes and classes; some cells are two things."""
    rng = np.random.default_rng(seed)
    scores = grids.class_maps(rng, classes, objects)
    if objects:
        scores[0][0, :2, 1, 3] = [0.9, 0.7]
    return grids.box_maps(rng, 64), scores


def loops(boxes: list[Array], scores: list[Array], min_score: float, most: int = 300) -> list[Cell]:
    """The best cells, and of these the best pairs of cell and class."""
    cells = []
    for box, score, stride in zip(boxes, scores, grids.STRIDES, strict=True):
        for row, column in grids.places(score.shape[2:]):
            values = [float(value) for value in score[0, :, row, column]]
            cells.append((values, grids.split_box(box[0, :, row, column], row, column, stride)))
    order = sorted(range(len(cells)), key=lambda index: -max(cells[index][0]))[:most]
    pairs = [(index, class_id) for index in sorted(order) for class_id in range(len(cells[0][0]))]
    pairs = [(index, class_id) for index, class_id in pairs if cells[index][0][class_id] >= min_score]
    best = sorted(pairs, key=lambda pair: -cells[pair[0]][0][pair[1]])[:most]
    return [Cell(cells[index][0][class_id], class_id, cells[index][1]) for index, class_id in sorted(best)]


def agrees(head: YoloV10Rknn, given_outputs: list[Array], wanted: list[Cell], min_score: float) -> None:
    found = head.decode(given_outputs, min_score)
    assert found.class_ids.tolist() == [cell.class_id for cell in wanted]
    np.testing.assert_allclose(found.scores, [cell.score for cell in wanted], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, np.reshape([cell.box for cell in wanted], (-1, 4)), rtol=1e-4, atol=1e-3)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(2, 6), objects=st.integers(0, 6), with_sum=st.booleans(),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops_in_any_order(*, seed: int, classes: int, objects: int, with_sum: bool, min_score: float) -> None:
    boxes, scores = outputs(seed, classes, objects)
    sums = [score.sum(axis=1, keepdims=True) for score in scores] if with_sum else []
    given_outputs = grids.shuffled(np.random.default_rng(seed), [*boxes, *scores, *sums])
    head = YoloV10Rknn(context(*(o.shape for o in given_outputs), classes=classes, size=SIZE))
    agrees(head, given_outputs, loops(boxes, scores, min_score), min_score)
    found = head.decode(given_outputs, min_score)
    best = [float(score.max(axis=1).max()) for score in scores]
    assert found.score_max == max(best)
    assert found.seen == sum(int((score.max(axis=1) >= 0.01).sum()) for score in scores)


@pytest.mark.parametrize("min_score", [0.0, 0.3])
def test_more_than_300_are_cut_to_the_best(min_score: float) -> None:
    rng = np.random.default_rng(8)
    scores = [rng.random((1, 3, *grid)).astype(np.float32) for grid in LARGE_GRIDS]
    boxes = [rng.normal(0, 3, (1, 64, *grid)).astype(np.float32) for grid in LARGE_GRIDS]
    head = YoloV10Rknn(context(*(o.shape for o in [*boxes, *scores]), classes=3, size=LARGE))
    wanted = loops(boxes, scores, min_score)
    assert len(wanted) == 300
    agrees(head, [*boxes, *scores], wanted, min_score)


def test_a_cell_with_a_nan_is_background() -> None:
    boxes, scores = outputs(6, 3, 4)
    scores[1][0, 1, 1, 2] = np.nan
    head = YoloV10Rknn(context(*(o.shape for o in [*boxes, *scores]), classes=3, size=SIZE))
    assert len(head.decode([*boxes, *scores], 0.0).scores) == 3 * (grids.CELLS - 1)


def test_logits_are_named() -> None:
    boxes, scores = outputs(5, 3, 4)
    with np.errstate(divide="ignore"):
        raw = [np.log(score / (1 - score)) for score in scores]
    head = YoloV10Rknn(context(*(o.shape for o in [*boxes, *raw]), classes=3, size=SIZE, params={"scores": "logits"}))
    wanted, found = loops(boxes, scores, 0.15), head.decode([*boxes, *raw], 0.15)
    assert found.class_ids.tolist() == [cell.class_id for cell in wanted]
    np.testing.assert_allclose(found.scores, [cell.score for cell in wanted], rtol=1e-4)


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    boxes, scores = outputs(7, 3, 4)
    grids.survives(lambda shapes: YoloV10Rknn(context(*shapes, classes=3, size=SIZE)), [*boxes, *scores])


GOOD = [(1, channels, side, side) for side in (80, 40, 20) for channels in (64, 80)]


@pytest.mark.parametrize(
    "shapes",
    [[], GOOD[:5], [(1, 68, 80, 80), *GOOD[1:]], [*GOOD, (1, 32, 160, 160)], [(1, 64, 79, 80), *GOOD[1:]]],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloV10Rknn(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x 64 x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolov10-rknn", context(*GOOD, classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (b 1x80x80x80")


@pytest.mark.parametrize(("key", "value"), [("scores", "twofold"), ("limit", 300)])
def test_wrong_params_are_refused(key: str, value: str | int) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloV10Rknn(context(*GOOD, classes=80, size=(640, 640), params={key: value}))
