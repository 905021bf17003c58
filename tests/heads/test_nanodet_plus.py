from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.nanodet_plus import NanoDetPlus
from tests.heads import grids, reference
from tests.heads.grids import SIZE, Array
from tests.heads.reference import Cell, context, first_best

LEVELS = ((8, 4, 8), (16, 2, 4), (32, 1, 2), (64, 1, 1))  # stride, rows, columns
CELLS = 32 + 8 + 2 + 1


def output(seed: int, classes: int, objects: int, bins: int = 8) -> Array:
    """Class scores near 0, and some cells that see something; then logits."""
    rng = np.random.default_rng(seed)
    values = (rng.random((1, CELLS, classes + 4 * bins)) ** 12 * 0.1).astype(np.float32)
    values[..., classes:] = rng.normal(0, 3, (1, CELLS, 4 * bins))
    for _ in range(objects):
        values[0, rng.integers(CELLS), rng.integers(classes)] = rng.uniform(0.2, 1)
    return values


def loops(values: Array, classes: int) -> list[Cell]:
    cells = []
    rows = iter(values[0])
    for stride, *grid in LEVELS:
        for row, column in grids.places(grid):
            cell = next(rows)
            box = grids.split_box(cell[classes:], row, column, stride, offset=0.0)
            cells.append(Cell(*first_best(float(value) for value in cell[:classes]), box))
    return cells


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), bins=st.sampled_from([8, 17]),
    min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, bins: int, min_score: float) -> None:
    values = output(seed, classes, objects, bins)
    params = {} if bins == 8 else {"bins": bins}
    head = NanoDetPlus(context(values.shape, classes=classes, size=SIZE, params=params))
    reference.check(head, [values], loops(values, classes), min_score)


def test_one_cell_by_hand() -> None:
    """Cell (row 1, column 2) of stride 8, all weight on bin 1 left and above, on bin 3 right and below."""
    values = np.zeros((1, CELLS, 2 + 32), np.float32)
    values[0, 8 + 2, 1] = 0.9
    values[0, 8 + 2, [2 + 1, 2 + 8 + 1, 2 + 16 + 3, 2 + 24 + 3]] = 100
    found = NanoDetPlus(context(values.shape, classes=2, size=SIZE)).decode([values], 0.5)
    assert isinstance(found, Candidates)
    np.testing.assert_allclose(found.boxes, [[8, 0, 40, 32]], atol=1e-4)


def test_logits_are_named() -> None:
    values = output(3, 3, 4)
    wanted = loops(values, 3)
    values[..., :3] = grids.logits(values[..., :3])
    head = NanoDetPlus(context(values.shape, classes=3, size=SIZE, params={"scores": "logits"}))
    reference.check(head, [values], wanted, 0.15)


def test_a_cell_with_a_nan_is_background() -> None:
    values = output(4, 3, 4)
    values[0, 5, 2] = np.nan
    head = NanoDetPlus(context(values.shape, classes=3, size=SIZE))
    assert len(reference.check(head, [values], loops(values, 3), 0.0).scores) == CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: NanoDetPlus(context(*shapes, classes=3, size=SIZE)), [output(5, 3, 4)])


@pytest.mark.parametrize(("shape", "side"), [((1, 3598, 112), 416), ((None, None, 112), 416), ((1, 2125, 112), 320)])
def test_the_usual_shapes_fit(shape: tuple[int | None, ...], side: int) -> None:
    assert isinstance(build_head("nanodet-plus", context(shape, classes=80, size=(side, side))), NanoDetPlus)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 3597, 112)],
        [(1, 3549, 112)],
        [(1, 112, 3598)],
        [(1, 3598, 32)],
        [(1, 3598, None)],
        [(3598, 112)],
        [(1, 3598, 112), (1, 3598, 112)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        NanoDetPlus(context(*shapes, classes=80, size=(416, 416)))
    assert "1 x 3598 x (classes + 32)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        NanoDetPlus(context((1, 3598, 112), classes=3, size=(416, 416)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x3598x112")


@pytest.mark.parametrize(("key", "value"), [("bins", 1), ("bins", "8"), ("scores", "twofold"), ("strides", [8])])
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        NanoDetPlus(context((1, 3598, 112), classes=80, size=(416, 416), params={key: value}))
