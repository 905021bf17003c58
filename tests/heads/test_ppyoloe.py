from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.ppyoloe import PpYoloe
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import Cell, context, first_best

COUNT = np.array([3], np.int32)


def parts(seed: int, classes: int, objects: int) -> tuple[Array, Array]:
    """Corners in pixels, 1 x N x 4, and scores near 0, 1 x classes x N, some of which see something."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (1, CELLS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (1, CELLS, 2))], axis=2) * [*SIZE, *SIZE]
    scores = (rng.random((1, classes, CELLS)) ** 12 * 0.1).astype(np.float32)
    for _ in range(objects):
        scores[0, rng.integers(classes), rng.integers(CELLS)] = rng.uniform(0.2, 1)
    return boxes.astype(np.float32), scores


def form(name: str, boxes: Array, scores: Array) -> list[Array]:
    by_row = np.ascontiguousarray(scores.transpose(0, 2, 1))
    return {
        "pair": [boxes, scores], "scores first": [scores, boxes], "rows": [boxes, by_row],
        "joined": [np.concatenate([boxes, by_row], axis=2)],
    }[name]  # fmt: skip


def loops(boxes: Array, scores: Array) -> list[Cell]:
    cells = []
    for cell in range(CELLS):
        x1, y1, x2, y2 = (float(value) for value in boxes[0, cell])
        cells.append(Cell(*first_best(float(value) for value in scores[0, :, cell]), (x1, y1, x2, y2)))
    return cells


def suppressed(seed: int, classes: int, objects: int) -> Array:
    """Class id, score, corners in pixels; the last two rows have no label's id."""
    rng = np.random.default_rng(seed)
    boxes = parts(seed, classes, 0)[0][0, : objects + 2]
    ids = np.append(rng.integers(classes, size=objects), [-1, classes])
    return np.concatenate([ids[:, None], rng.random((objects + 2, 1)), boxes], axis=1).astype(np.float32)


def suppressed_loops(rows: Array, classes: int) -> list[Cell]:
    cells = []
    for row in rows:
        class_id, score, x1, y1, x2, y2 = (float(value) for value in row)
        known = class_id in range(classes)
        cells.append(Cell(score if known else math.nan, int(class_id) if known else 0, (x1, y1, x2, y2)))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6),
    name=st.sampled_from(["pair", "scores first", "rows", "joined"]), min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_the_forms_without_suppression_agree_with_the_loops(
    *, seed: int, classes: int, objects: int, name: str, min_score: float
) -> None:
    boxes, scores = parts(seed, classes, objects)
    outputs = form(name, boxes, scores)
    head = PpYoloe(context(*(o.shape for o in outputs), classes=classes, size=SIZE))
    reference.check(head, outputs, loops(boxes, scores), min_score)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 12), first=st.booleans(),
    min_score=st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip
def test_suppressed_rows_agree_with_the_loops(*, seed: int, classes: int, objects: int, first: bool, min_score: float) -> None:
    rows = suppressed(seed, classes, objects)
    shapes: list[tuple[int | None, ...]] = [(None, 6), (1,)] if first else [(1,), (None, 6)]
    head = PpYoloe(context(*shapes, classes=classes, size=SIZE))
    reference.check(head, [rows, COUNT] if first else [COUNT, rows], suppressed_loops(rows, classes), min_score)


def test_an_empty_list_is_nothing() -> None:
    head = PpYoloe(context((None, 6), classes=3, size=SIZE))
    for rows in (np.zeros((0, 6), np.float32), np.full((1, 6), -1, np.float32)):
        found = head.decode([rows], 0.0)
        assert (len(found.scores), found.seen, found.score_max) == (0, 0, 0.0)


@pytest.mark.parametrize("name", ["pair", "joined"])
def test_normalized_boxes_and_logits_are_named(name: str) -> None:
    boxes, scores = parts(3, 3, 5)
    outputs = form(name, (boxes / [*SIZE, *SIZE]).astype(np.float32), grids.logits(scores))
    params = {"boxes": "normalized", "scores": "logits"}
    head = PpYoloe(context(*(o.shape for o in outputs), classes=3, size=SIZE, params=params))
    reference.check(head, outputs, loops(boxes, scores), 0.15)


def test_a_cell_with_a_nan_is_background() -> None:
    boxes, scores = parts(4, 3, 5)
    scores[0, 1, 7] = np.nan
    for name in ("pair", "joined"):
        outputs = form(name, boxes, scores)
        head = PpYoloe(context(*(o.shape for o in outputs), classes=3, size=SIZE))
        assert len(reference.check(head, outputs, loops(boxes, scores), 0.0).scores) == CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    for outputs in (form("pair", *parts(5, 3, 5)), form("joined", *parts(5, 3, 5)), [suppressed(5, 3, 5)]):
        grids.survives(lambda shapes: PpYoloe(context(*shapes, classes=3, size=SIZE)), outputs)


PAIR = [(1, 8400, 4), (1, 80, 8400)]


@pytest.mark.parametrize(
    "shapes",
    [PAIR, PAIR[::-1], [(1, None, 4), (1, 80, None)], [(1, 8400, 84)], [(None, 6), (None,)], [(300, 6)], [(100, 6), (1,)]],
)
def test_the_usual_shapes_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("ppyoloe", context(*shapes, classes=80, size=(640, 640))), PpYoloe)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 84, 8400)],
        [(1, 25200, 84)],
        [(1, 8400, 4)],
        [(1, 8400, None)],
        [(1, 8400, 4), (1, 80, 8399)],
        [(1, 4420, 4), (1, 4420, 2)],
        [(1, 8400, 4), (1, None, None)],
        [*PAIR, (1,)],
        [(100, 7)],
        [(100, 6), (100, 6)],
        [(100, 6), (2,)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        PpYoloe(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x 4" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize("shapes", [PAIR, [(1, 8400, 84)]])
def test_another_label_count_is_refused_with_both_sides(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        PpYoloe(context(*shapes, classes=3, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (")


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("order", "xyxy")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        PpYoloe(context(*PAIR, classes=80, size=(640, 640), params={key: value}))
