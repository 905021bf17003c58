from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.semantic import Semantic
from tests.heads import reference
from tests.heads.reference import context


def scene(seed: int, classes: int, height: int, width: int) -> NDArray[np.float32]:
    """Logits (1, C, H, W) with regions of different confidence, a tie and a NaN here and there."""
    rng = np.random.default_rng(seed)
    planes = rng.normal(0, rng.uniform(0.2, 3), (1, classes, height, width)).astype(np.float32)
    for _ in range(rng.integers(0, 4)):
        top, left, class_id = rng.integers(height), rng.integers(width), rng.integers(classes)
        planes[0, class_id, top : top + 4, left : left + 4] += rng.uniform(0, 8)
    planes[0, :, 0, 0] = planes[0, 0, 0, 0]
    planes[0, rng.integers(classes), rng.integers(height), rng.integers(width)] = np.nan
    return planes


def softmaxed(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):
        odds = np.exp(planes - planes.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
    return shares


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(2, 7), height=st.integers(2, 9), width=st.integers(2, 9),
    by_pixel=st.booleans(), activation=st.sampled_from(["softmax", "sigmoid", "none"]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, height: int, width: int, by_pixel: bool, activation: str) -> None:
    planes = scene(seed, classes, height, width)
    planes = softmaxed(planes) if activation == "none" else planes
    output = np.ascontiguousarray(planes.transpose(0, 2, 3, 1)) if by_pixel else planes
    params = {"activation": activation, "layout": "nhwc" if by_pixel else "nchw"}
    head = Semantic(context(output.shape, classes=classes, size=(width * 4, height * 4), params=params))
    turn = {
        "softmax": reference.softmax,
        "sigmoid": lambda values: [reference.sigmoid(value) for value in values],
        "none": lambda values: values,
    }
    ids, top = reference.semantic(planes[0], turn[activation])
    found = head.decode([output], 0.4)
    assert found.ids.dtype == np.uint8
    np.testing.assert_array_equal(found.ids, ids)
    assert top - 1.1e-3 <= found.score_max <= top + 1e-5


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), classes=st.integers(2, 7))
def test_logits_and_probabilities_are_told_apart(seed: int, classes: int) -> None:
    logits = np.nan_to_num(scene(seed, classes, 8, 8))
    head = Semantic(context(logits.shape, classes=classes))
    raw, done = head.decode([logits], 0.4), head.decode([softmaxed(logits)], 0.4)
    assert raw.score_max == pytest.approx(done.score_max, abs=2e-3)
    assert np.mean(raw.ids != done.ids) < 0.05  # a softmax in float32 may level close calls


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), min_score=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]), logits=st.booleans())
def test_a_single_channel_is_cut_at_min_score(seed: int, min_score: float, logits: bool) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.normal(0, 3, (8, 8)).astype(np.float32)
    share = 1 / (1 + np.exp(-plane.astype(np.float64)))
    for shape in ((1, 1, 8, 8), (1, 8, 8, 1), (1, 8, 8)):
        head = Semantic(context(shape, classes=2))
        found = head.decode([(plane if logits else share.astype(np.float32)).reshape(shape)], min_score)
        unsure = np.abs(share - min_score) < 1e-5
        np.testing.assert_array_equal(found.ids[~unsure], (share >= min_score)[~unsure])
        assert found.score_max == pytest.approx(share.max(), abs=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 1, 3, 4), (1, 3, 4, 1)])
def test_class_ids_from_the_graph_are_taken_over(dtype: str, shape: tuple[int, ...]) -> None:
    ids = np.array([[0, 1, 2, 3], [3, 3, 200, 19], [0, 0, 20, 0]], dtype)
    params = {"activation": "argmax"} if dtype == "float32" else {}
    head = Semantic(context(shape, classes=20, size=(32, 24), dtype=dtype, params=params))
    found = head.decode([ids.reshape(shape)], 0.4)
    assert found.ids.tolist() == [[0, 1, 2, 3], [3, 3, 0, 19], [0, 0, 0, 0]]
    assert found.score_max == 1.0
    assert head.decode([np.zeros(shape, dtype)], 0.4).score_max == 0.0


@pytest.mark.parametrize("activation", ["auto", "none", "softmax", "sigmoid"])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_where_nothing_wins_it_is_background(activation: str, value: float) -> None:
    head = Semantic(context((1, 3, 4, 4), classes=3, params={"activation": activation}))
    found = head.decode([np.full((1, 3, 4, 4), value, np.float32)], 0.4)
    assert not found.ids.any()
    assert found.score_max == 0.0


@pytest.mark.parametrize("value", [math.inf, 3e38, -3e38])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_that_no_healthy_model_gives_raise_no_warning(value: float, channels: int) -> None:
    head = Semantic(context((1, channels, 4, 4), classes=max(2, channels)))
    for wrong in (slice(None), slice(0, 1), slice(2, 3)):
        planes = np.zeros((1, channels, 4, 4), np.float32)
        planes[:, wrong] = value
        assert 0 <= head.decode([planes], 0.4).score_max <= 1


def test_nan_ids_are_background() -> None:
    head = Semantic(context((1, 2, 2), classes=3, params={"activation": "argmax"}))
    assert not head.decode([np.full((1, 2, 2), math.nan, np.float32)], 0.4).ids.any()


@pytest.mark.parametrize(
    ("shapes", "params"),
    [
        ([], {}),
        ([(1, 21)], {}),
        ([(1, 2, 65, 33)], {}),
        ([(1, None, 64, 64)], {}),
        ([(1, 2, 64, 64), (1, 2, 64, 64)], {}),
        ([(1, 1, 64, 64)], {"activation": "softmax"}),
        ([(1, 2, 64, 64)], {"activation": "argmax"}),
        ([(1, 2, 64, 64)], {"activation": "relu"}),
        ([(1, 2, 64, 64)], {"threshold": 0.5}),
    ],
)
def test_other_outputs_and_params_are_refused(shapes: list[tuple[int | None, ...]], params: dict[str, Any]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        Semantic(context(*shapes, classes=2, params=params))
    assert refusal.value.evidence.keys() in ({"head wants", "model gives"}, {"params", "allowed"})


@pytest.mark.parametrize(("shape", "classes"), [((1, 21, 65, 65), 20), ((1, 65, 65, 21), 65), ((1, 1, 64, 64), 1)])
def test_another_label_count_is_refused_with_both_sides(shape: tuple[int, ...], classes: int) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("semantic", context(shape, classes=classes, size=(513, 513)))
    assert refusal.value.evidence["labels"] == str(classes)
    assert refusal.value.evidence["classes in the model"].startswith("2 (" if shape[1] == 1 else "21 (")
