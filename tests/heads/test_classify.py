from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Classes, TensorSpec
from camagent.heads import build_head
from camagent.heads.base import HeadContext


def context(*shapes: tuple[int | None, ...], classes: int = 3, **params: Any) -> HeadContext:
    outputs = [TensorSpec(f"o{i}", shape, "float32") for i, shape in enumerate(shapes)]
    return HeadContext(224, 224, classes, outputs, params)


def scores(values: list[float], **params: Any) -> list[float]:
    head = build_head("classify", context((1, len(values)), classes=len(values), **params))
    decoded = head.decode([np.array([values], np.float32)], 0.5)
    assert isinstance(decoded, Classes)
    return [float(score) for score in decoded.scores]


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30))
def test_logits_become_what_the_plain_formula_gives(logits: list[float]) -> None:
    raised = [math.exp(value - max(logits)) for value in logits]
    assert scores(logits, activation="softmax") == pytest.approx([value / sum(raised) for value in raised], abs=1e-5)


def test_probabilities_are_left_alone_and_logits_are_not() -> None:
    assert scores([0.1, 0.2, 0.7]) == pytest.approx([0.1, 0.2, 0.7])
    assert scores([1.0, 2.0, 7.0])[2] > 0.98
    assert sum(scores([0.5, 0.5, 0.5])) == pytest.approx(1)
    assert scores([2.0, -1.0, 0.0], activation="none") == [2.0, -1.0, 0.0]


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1, 1, 1, 3), (None, 3)])
def test_shapes_that_are_one_score_per_class(shape: tuple[int | None, ...]) -> None:
    head = build_head("classify", context(shape))
    decoded = head.decode([np.zeros([side or 1 for side in shape], np.float32)], 0.5)
    assert isinstance(decoded, Classes)
    assert decoded.scores.shape == (3,)


@pytest.mark.parametrize("shapes", [(), ((3,),), ((2, 3),), ((1, 3, 7, 7),), ((1, None),), ((1, 3), (1, 3))])
def test_other_outputs_are_refused_with_both_sides(shapes: tuple[tuple[int | None, ...], ...]) -> None:
    with pytest.raises(HeadMismatch) as caught:
        build_head("classify", context(*shapes))
    assert set(caught.value.evidence) == {"head wants", "model gives"}


def test_another_number_of_labels_is_refused_with_both_numbers() -> None:
    with pytest.raises(LabelCountMismatch) as caught:
        build_head("classify", context((1, 1000), classes=2))
    assert "1000" in caught.value.what
    assert "2 labels" in caught.value.what


def test_an_unknown_param_is_refused() -> None:
    with pytest.raises(HeadMismatch, match="activaton"):
        build_head("classify", context((1, 3), activaton="none"))


@pytest.mark.parametrize("values", [[math.nan, 1.0, 2.0], [math.nan] * 3, [math.inf, 0.0, 0.0], [-math.inf] * 3])
def test_broken_values_raise_nothing_and_never_win(values: list[float]) -> None:
    made = scores(values, activation="auto")
    assert all(0 <= score <= 1 for score in made)
    assert not (math.isnan(values[0]) and made[0] > 0)
