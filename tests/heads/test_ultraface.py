from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.ultraface import UltraFace
from tests.heads import reference
from tests.heads.reference import context


def faces(seed: int, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores (background, face) that sum to 1, and boxes that may reach a little beyond the picture."""
    rng = np.random.default_rng(seed)
    face = rng.random(rows) ** 8
    scores = np.stack([1 - face, face], axis=1)[None].astype(np.float32)
    boxes = rng.uniform(-0.1, 1.1, (1, rows, 4)).astype(np.float32)
    return scores, boxes


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), rows=st.integers(1, 60), min_score=st.sampled_from([0.0, 0.005, 0.4, 0.7, 1.0]),
    boxes_first=st.booleans(), background=st.sampled_from([0, 1]),
)  # fmt: skip
def test_agrees_with_the_loops_in_either_order(
    *, seed: int, rows: int, min_score: float, boxes_first: bool, background: int
) -> None:
    scores, boxes = faces(seed, rows)
    outputs = [boxes, scores] if boxes_first else [scores, boxes]
    head = UltraFace(context(*(o.shape for o in outputs), classes=1, size=(320, 240), params={"background": background}))
    reference.check(head, outputs, reference.ultraface(scores, boxes, 1 - background, 320, 240), min_score)


def test_a_nan_score_is_background() -> None:
    scores, boxes = faces(3, 20)
    scores[0, 4] = np.nan
    head = UltraFace(context(scores.shape, boxes.shape, classes=1, size=(320, 240)))
    found = reference.check(head, [scores, boxes], reference.ultraface(scores, boxes, 1, 320, 240), 0.0)
    assert len(found.scores) == 19


def test_nothing_but_nan_is_nothing() -> None:
    head = UltraFace(context((1, 9, 2), (1, 9, 4), classes=1))
    found = head.decode([np.full((1, 9, size), np.nan, np.float32) for size in (2, 4)], 0.0)
    assert isinstance(found, Candidates)
    assert (len(found.scores), found.seen, found.score_max) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 9, 2)],
        [(1, 9, 2), (1, 9, 2)],
        [(1, 9, 2), (1, 8, 4)],
        [(1, 9, 21), (1, 9, 4)],
        [(1, 9, 2), (1, 9, 4), (1, 9, 10)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        UltraFace(context(*shapes, classes=1))
    assert "scores 1 x N x 2" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_any_other_label_count_than_one_is_refused() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("ultraface", context((1, None, 2), (1, 4420, 4), classes=2))
    assert refusal.value.evidence["labels"] == "2"
    assert refusal.value.evidence["classes in the model"].startswith("1 (a 1x?x2")


@pytest.mark.parametrize(("key", "value"), [("background", 2), ("backgroud", 0)])
def test_wrong_params_are_refused(key: str, value: int) -> None:
    with pytest.raises(HeadMismatch, match=key):
        UltraFace(context((1, 9, 2), (1, 9, 4), classes=1, params={key: value}))
