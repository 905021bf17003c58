from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.fastestdet import FastestDet
from tests.heads import reference
from tests.heads.reference import context


def picture(seed: int, classes: int, rows: int, columns: int, objects: int) -> NDArray[np.float32]:
    """Background everywhere, softmaxed classes, and some cells that see something."""
    rng = np.random.default_rng(seed)
    output = rng.normal(0, 2, (1, 5 + classes, rows, columns)).astype(np.float32)
    logits = output[:, 5:]
    output[:, 0] = rng.random((rows, columns)) ** 6 * 0.3
    for _ in range(objects):
        row, column, class_id = rng.integers(rows), rng.integers(columns), rng.integers(classes)
        output[0, 0, row, column] = rng.uniform(0.3, 1)
        logits[0, class_id, row, column] += 6
    output[:, 5:] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return output


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), rows=st.integers(1, 6), columns=st.integers(1, 6),
    objects=st.integers(0, 4), min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, rows: int, columns: int, objects: int, min_score: float) -> None:
    output = picture(seed, classes, rows, columns, objects)
    width, height = columns * 16, rows * 16
    head = FastestDet(context(output.shape, classes=classes, size=(width, height)))
    reference.check(head, [output], reference.fastestdet(output, width, height), min_score)


def test_a_cell_with_a_nan_is_background() -> None:
    output = picture(1, 3, 4, 4, 3)
    output[0, 0, 0, 0] = output[0, 6, 1, 1] = np.nan
    head = FastestDet(context(output.shape, classes=3))
    found = reference.check(head, [output], reference.fastestdet(output, 64, 64), 0.0)
    assert len(found.scores) == 14


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    head = FastestDet(context((1, 8, 4, 4), classes=3))
    for value in (np.nan, np.inf, -np.inf, -1.0):
        found = head.decode([np.full((1, 8, 4, 4), value, np.float32)], 0.4)
        assert isinstance(found, Candidates)
    assert len(head.decode([np.full((1, 8, 4, 4), np.nan, np.float32)], 0.0).scores) == 0


def test_unknown_grid_and_other_number_types_are_taken() -> None:
    output = picture(2, 3, 4, 4, 3)
    head = FastestDet(context((None, 8, None, None), classes=3))
    whole, half = (head.decode([output.astype(kind)], 0.3) for kind in (np.float64, np.float16))
    np.testing.assert_allclose(half.boxes, whole.boxes, atol=0.2)
    assert half.boxes.dtype == np.float32


@pytest.mark.parametrize(
    "shapes", [[], [(1, 85, 22)], [(1, 85, 80, 80)], [(1, 5, 4, 4)], [(1, None, 4, 4)], [(1, 8, 4, 4), (1, 8, 4, 4)]]
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        FastestDet(context(*shapes, classes=80))
    assert "(5 + classes) x 4 x 4" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"] == (", ".join(
        f"{name} {'x'.join('?' if d is None else str(d) for d in shape)} float32"
        for name, shape in zip("ab", shapes, strict=False)
    ) or "nothing")  # fmt: skip


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("fastestdet", context((1, 85, 4, 4), classes=79))
    assert refusal.value.evidence["labels"] == "79"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x85x4x4")


def test_params_are_refused() -> None:
    with pytest.raises(HeadMismatch, match="anchors"):
        FastestDet(context((1, 85, 4, 4), classes=80, params={"anchors": 3}))
