from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.yolox import YoloX
from tests.heads import grids, reference
from tests.heads.grids import CELLS, GRIDS, SIZE, STRIDES, Array
from tests.heads.reference import Cell, context, first_best, from_center

QUIET = st.sampled_from([0.3, 0.02, 0.009, 1e-4])
SCORES = st.sampled_from([0.0, 0.005, 0.25, 0.65, 1.0])


def raw(seed: int, classes: int, objects: int, quiet: float = 0.3) -> list[Array]:
    """1 x (5 + classes) x H x W per level: boxes not decoded, objectness up to `quiet`, and cells that see something."""
    rng = np.random.default_rng(seed)
    maps: list[Array] = []
    for grid in GRIDS:
        level = rng.random((1, 5 + classes, *grid)).astype(np.float32)
        level[0, :2] = rng.normal(0.5, 0.6, (2, *grid))
        level[0, 2:4] = rng.normal(0.0, 0.8, (2, *grid))
        level[0, 4] = rng.random(grid) ** 8 * quiet
        maps.append(level)
    for _ in range(objects):
        level = maps[int(rng.integers(3))]
        row, column = (int(rng.integers(side)) for side in level.shape[2:])
        level[0, 4, row, column] = rng.uniform(0.4, 1)
        level[0, 5 + rng.integers(classes), row, column] = rng.uniform(0.8, 1)
    return maps


def loops(maps: list[Array]) -> list[Cell]:
    cells = []
    for level, stride in zip(maps, STRIDES, strict=True):
        for row, column in grids.places(level.shape[2:]):
            x, y, width, height, objectness, *classes = (float(value) for value in level[0, :, row, column])
            best, class_id = first_best(classes)
            box = from_center((x + column) * stride, (y + row) * stride, math.exp(width) * stride, math.exp(height) * stride)
            cells.append(Cell(objectness * best, class_id, box))
    return cells


def as_rows(maps: list[Array]) -> Array:
    rows = [level.reshape(level.shape[1], -1).T for level in maps]
    return np.ascontiguousarray(np.concatenate(rows)[None])


def decoded(maps: list[Array]) -> Array:
    """As decode_outputs of the graph leaves them."""
    rows = as_rows(maps).astype(np.float64)
    centers = [cell.box for cell in loops(maps)]
    for row, (x1, y1, x2, y2) in zip(rows[0], centers, strict=True):
        row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    return rows.astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), quiet=QUIET, min_score=SCORES,
    form=st.sampled_from(["maps", "rows", "decoded"]),
)  # fmt: skip
def test_every_form_agrees_with_the_loops(
    *, seed: int, classes: int, objects: int, quiet: float, min_score: float, form: str
) -> None:
    maps = raw(seed, classes, objects, quiet)
    wanted = loops(maps)
    outputs = grids.shuffled(np.random.default_rng(seed), maps)
    if form != "maps":
        outputs = [as_rows(maps) if form == "rows" else decoded(maps)]
    head = YoloX(context(*(o.shape for o in outputs), classes=classes, size=SIZE))
    reference.check(head, outputs, wanted, min_score)


@pytest.mark.parametrize("form", ["undecoded", "decoded"])
def test_the_declared_form_holds_whatever_the_values(form: str) -> None:
    maps = raw(3, 3, 5)
    rows = as_rows(maps)
    rows[..., 2:4] = np.abs(rows[..., 2:4])
    for index, level in enumerate(maps):
        level[:, 2:4] = np.abs(level[:, 2:4])
        maps[index] = level
    wanted = loops(maps) if form == "undecoded" else reference.yolov5(rows)
    head = YoloX(context((1, None, 8), classes=3, size=SIZE, params={"boxes": form}))
    reference.check(head, [rows], wanted, 0.25)


def test_rows_of_unknown_number_are_counted_when_they_come() -> None:
    maps = raw(4, 3, 5)
    head = YoloX(context((1, None, 8), classes=3, size=SIZE))
    reference.check(head, [as_rows(maps)], loops(maps), 0.25)
    odd = np.concatenate([as_rows(maps), as_rows(maps)[:, :2]], axis=1)
    reference.check(head, [odd], reference.yolov5(odd), 0.25)


def test_logits_are_named() -> None:
    maps = raw(5, 3, 5)
    wanted = loops(maps)
    for level in maps:
        level[:, 4:] = grids.logits(level[:, 4:])
    head = YoloX(context(*(o.shape for o in maps), classes=3, size=SIZE, params={"scores": "logits"}))
    reference.check(head, maps, wanted, 0.25)


def test_a_cell_with_a_nan_is_background() -> None:
    maps = raw(6, 3, 5)
    maps[0][0, 4, 1, 2] = maps[1][0, 6, 1, 1] = np.nan
    head = YoloX(context(*(o.shape for o in maps), classes=3, size=SIZE))
    assert len(reference.check(head, maps, loops(maps), 0.0).scores) == CELLS - 2


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    maps = raw(7, 3, 5)
    for outputs in (maps, [as_rows(maps)], [decoded(maps)]):
        grids.survives(lambda shapes: YoloX(context(*shapes, classes=3, size=SIZE)), outputs)


MAPS = [(1, 85, side, side) for side in (20, 80, 40)]


@pytest.mark.parametrize("shapes", [[(1, 8400, 85)], [(None, None, 85)], MAPS, [*MAPS, (1, 85, 10, 10)]])
def test_the_grids_of_a_640_input_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("yolox", context(*shapes, classes=80, size=(640, 640))), YoloX)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 25200, 85)],
        [(1, 85, 8400)],
        [(1, 8400, None)],
        [(1, 8400, 85), (1, 8400, 85)],
        MAPS[:1],
        [*MAPS[:2], (1, 86, 40, 40)],
        [*MAPS[:2], (1, 85, 41, 40)],
        [*MAPS, (1, 32, 160, 160)],
        [(1, 85, None, None)] * 3,
        [(1, 5, side, side) for side in (80, 40, 20)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloX(context(*shapes, classes=80, size=(640, 640)))
    assert "1 x N x (5 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize("shapes", [[(1, 8400, 85)], MAPS])
def test_another_label_count_is_refused_with_both_sides(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        YoloX(context(*shapes, classes=81, size=(640, 640)))
    assert refusal.value.evidence["labels"] == "81"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x8")


@pytest.mark.parametrize(("key", "value"), [("boxes", "normalized"), ("order", "xyxy")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloX(context(*MAPS, classes=80, size=(640, 640), params={key: value}))
