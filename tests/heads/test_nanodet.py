from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.nanodet import NanoDet
from tests.heads import grids, reference
from tests.heads.grids import CELLS, SIZE, Array
from tests.heads.reference import context

Maps = tuple[list[Array], list[Array]]


def maps(seed: int, classes: int, objects: int, bins: int = 8) -> Maps:
    """Boxes and classes, per level."""
    rng = np.random.default_rng(seed)
    return grids.box_maps(rng, 4 * bins), grids.class_maps(rng, classes, objects)


def rows(levels: list[Array]) -> list[Array]:
    """1 x C x H x W -> 1 x HW x C."""
    return [np.ascontiguousarray(level.reshape(1, level.shape[1], -1).transpose(0, 2, 1)) for level in levels]


def joined(boxes: list[Array], scores: list[Array]) -> Array:
    return np.concatenate([np.concatenate(rows(scores), axis=1), np.concatenate(rows(boxes), axis=1)], axis=2)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), together=st.booleans(),
    bins=st.sampled_from([8, 17]), min_score=st.sampled_from([0.0, 0.005, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_both_forms_agree_with_the_loops(
    *, seed: int, classes: int, objects: int, together: bool, bins: int, min_score: float
) -> None:
    boxes, scores = maps(seed, classes, objects, bins)
    outputs = [joined(boxes, scores)] if together else grids.shuffled(np.random.default_rng(seed), rows([*boxes, *scores]))
    params = {} if bins == 8 else {"bins": bins}
    head = NanoDet(context(*(o.shape for o in outputs), classes=classes, size=SIZE, params=params))
    reference.check(head, outputs, grids.split(boxes, scores), min_score)


def test_where_classes_look_like_sides_the_classes_come_first() -> None:
    boxes, scores = maps(3, 32, 5)
    outputs = [output for level in zip(rows(scores), rows(boxes), strict=True) for output in level]
    head = NanoDet(context(*(o.shape for o in outputs), classes=32, size=SIZE))
    reference.check(head, outputs, grids.split(boxes, scores), 0.2)


def test_logits_are_named() -> None:
    boxes, scores = maps(4, 3, 4)
    outputs = rows([*boxes, *(grids.logits(score) for score in scores)])
    head = NanoDet(context(*(o.shape for o in outputs), classes=3, size=SIZE, params={"scores": "logits"}))
    reference.check(head, outputs, grids.split(boxes, scores), 0.15)


def test_a_cell_with_a_nan_is_background() -> None:
    boxes, scores = maps(5, 3, 4)
    scores[1][0, 1, 1, 2] = np.nan
    outputs = rows([*boxes, *scores])
    head = NanoDet(context(*(o.shape for o in outputs), classes=3, size=SIZE))
    assert len(reference.check(head, outputs, grids.split(boxes, scores), 0.0).scores) == CELLS - 1


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    boxes, scores = maps(6, 3, 4)
    for outputs in (rows([*boxes, *scores]), [joined(boxes, scores)]):
        grids.survives(lambda shapes: NanoDet(context(*shapes, classes=3, size=SIZE)), outputs)


GOOD = [(1, side * side, values) for values in (80, 32) for side in (40, 20, 10)]


@pytest.mark.parametrize(
    "shapes", [GOOD, GOOD[::-1], [(None, *shape[1:]) for shape in GOOD], [(1, 2100, 112)], [(1, None, 112)]]
)
def test_the_usual_shapes_fit(shapes: list[tuple[int | None, ...]]) -> None:
    assert isinstance(build_head("nanodet", context(*shapes, classes=80, size=(320, 320))), NanoDet)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        GOOD[:5],
        [*GOOD, (1, 25, 80)],
        [(1, 1599, 80), *GOOD[1:]],
        [(1, 1600, 81), *GOOD[1:]],
        [(1, 1600, None), *GOOD[1:]],
        [(1, 2125, 112)],
        [(1, 2100, 32)],
        [(1, 2100, None)],
        [(1, 4420, 2), (1, 4420, 4)],
        [(1, values, side, side) for values in (80, 32) for side in (40, 20, 10)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        NanoDet(context(*shapes, classes=80, size=(320, 320)))
    assert "1 x HW x 32" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize("shapes", [GOOD, [(1, 2100, 112)]])
def test_another_label_count_is_refused_with_both_sides(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        NanoDet(context(*shapes, classes=3, size=(320, 320)))
    assert refusal.value.evidence["labels"] == "3"
    assert refusal.value.evidence["classes in the model"].startswith("80 (a 1x")


@pytest.mark.parametrize(("key", "value"), [("bins", 1), ("scores", "twofold"), ("strides", [8])])
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        NanoDet(context(*GOOD, classes=80, size=(320, 320), params={key: value}))
