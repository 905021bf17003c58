from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.heads import build_head
from camagent.heads.priors import PRESETS, boxes_of
from camagent.heads.ssd_raw import SsdRaw
from tests.heads import grids, reference
from tests.heads.grids import SIZE, Array
from tests.heads.reference import Cell, context, first_best, from_center, sigmoid, softmax

LEVELS: list[dict[str, Any]] = [
    {"grid": [4, 6], "sizes": [[0.1, 0.1], [0.2, 0.15]]},
    {"grid": [2, 3], "sizes": [[0.3, 0.3], [0.5, 0.25], [0.25, 0.5]]},
]
COUNT = 4 * 6 * 2 + 2 * 3 * 3
USUAL = {"priors": LEVELS}


def priors() -> list[tuple[float, float, float, float]]:
    """Centre and size of every prior, 0..1."""
    return [
        ((column + 0.5) / level["grid"][1], (row + 0.5) / level["grid"][0], width, height)
        for level in LEVELS
        for row, column in grids.places(level["grid"])
        for width, height in level["sizes"]
    ]


def outputs(seed: int, classes: int, objects: int, loud: float = 6.0) -> tuple[Array, Array]:
    """Locations 1 x N x 4 and logits 1 x N x (1 + classes): background, but for some rows."""
    rng = np.random.default_rng(seed)
    locations = rng.normal(0, 2, (1, COUNT, 4)).astype(np.float32)
    logits = rng.normal(0, 1, (1, COUNT, 1 + classes)).astype(np.float32)
    logits[..., 0] += loud
    for _ in range(objects):
        logits[0, rng.integers(COUNT), 1 + rng.integers(classes)] += rng.uniform(4, 14)
    return locations, logits


def cells(
    locations: Array, scores: list[list[float]], order: str = "yxhw", variances: tuple[float, ...] = (10, 10, 5, 5)
) -> list[Cell]:
    """`scores`: per row those of the classes, without the background's."""
    made = []
    for prior, row, own in zip(priors(), locations.reshape(-1, 4), scores, strict=True):
        offsets = [float(value) / variance for value, variance in zip(row, variances, strict=True)]
        x, y, w, h = offsets if order == "xywh" else (offsets[1], offsets[0], offsets[3], offsets[2])
        center_x, center_y = prior[0] + x * prior[2], prior[1] + y * prior[3]
        best, class_id = first_best(own)
        box = from_center(
            center_x * SIZE[0], center_y * SIZE[1], prior[2] * math.exp(w) * SIZE[0], prior[3] * math.exp(h) * SIZE[1]
        )
        made.append(Cell(best, class_id, box))
    return made


def softmaxed(logits: Array) -> list[list[float]]:
    return [softmax([float(value) for value in row])[1:] for row in logits[0]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 6), objects=st.integers(0, 6), loud=st.sampled_from([0.0, 3.0, 12.0]),
    kind=st.sampled_from(["logits", "softmaxed", "sigmoid"]), order=st.sampled_from(["yxhw", "xywh"]),
    flat=st.booleans(), swapped=st.booleans(), min_score=st.sampled_from([0.0, 0.005, 0.3, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(
    *, seed: int, classes: int, objects: int, loud: float, kind: str, order: str, flat: bool, swapped: bool, min_score: float
) -> None:
    locations, logits = outputs(seed, classes, objects, loud)
    params: dict[str, Any] = {**USUAL, "order": order}
    scores, given_scores = softmaxed(logits), logits
    if kind == "softmaxed":
        given_scores = np.array([[softmax([float(value) for value in row]) for row in logits[0]]], np.float32)
        scores = [[float(value) for value in row[1:]] for row in given_scores[0]]
    elif kind == "sigmoid":
        params["activation"] = "sigmoid"
        scores = [[sigmoid(float(value)) for value in row[1:]] for row in logits[0]]
    if classes == 3:
        swapped = False  # both are N x 4 then, and the locations come first
    parts = [locations if flat else locations[:, :, None], given_scores]
    parts = parts[::-1] if swapped else parts
    head = SsdRaw(context(*(o.shape for o in parts), classes=classes, size=SIZE, params=params))
    reference.check(head, parts, cells(locations, scores, order), min_score)


def test_variances_may_be_given() -> None:
    locations, logits = outputs(3, 4, 5)
    variances = (7.0, 9.0, 3.0, 4.0)
    params = {**USUAL, "variances": variances}
    head = SsdRaw(context(locations.shape, logits.shape, classes=4, size=SIZE, params=params))
    reference.check(head, [locations, logits], cells(locations, softmaxed(logits), variances=variances), 0.2)


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    grids.survives(lambda shapes: SsdRaw(context(*shapes, classes=4, size=SIZE, params=USUAL)), outputs(4, 4, 5))


# -- known networks -----------------------------------------------------------------------------------------------------------


def test_mobilenets_priors_are_those_of_the_published_file() -> None:
    """box_priors.txt of rknn-toolkit2's example begins with these: y, x, height, width of the first cell's three priors."""
    made = boxes_of(PRESETS["tensorflow"](300, 300).levels)
    assert made.shape == (1917, 4)
    root = math.sqrt(2)
    np.testing.assert_allclose(made[:3, :2], 0.5 / 19, rtol=1e-6)
    np.testing.assert_allclose(made[:3, 2:], [[0.1, 0.1], [0.2 * root, 0.2 / root], [0.2 / root, 0.2 * root]], rtol=1e-6)
    np.testing.assert_allclose(made[3, :2], [1.5 / 19, 0.5 / 19], rtol=1e-6)  # along the row first
    np.testing.assert_allclose(made[19 * 19 * 3, 2:], [0.35, 0.35], rtol=1e-6)
    np.testing.assert_allclose(made[-6:, :2], 0.5, rtol=1e-6)  # one cell
    np.testing.assert_allclose(made[-1, 2:], [math.sqrt(0.95)] * 2, rtol=1e-6)


def test_vggs_and_torchvisions_priors_are_as_many_and_as_large_as_published() -> None:
    vgg = boxes_of(PRESETS["caffe"](300, 300).levels)
    assert vgg.shape == (8732, 4)
    np.testing.assert_allclose(vgg[:2, 2], [30 / 300, math.sqrt(30 * 60) / 300], rtol=1e-6)
    np.testing.assert_allclose(
        vgg[-4:, 2] * 300, [264, math.sqrt(264 * 315), 264 * math.sqrt(2), 264 / math.sqrt(2)], rtol=1e-6
    )
    lite = boxes_of(PRESETS["torchvision"](320, 320).levels)
    assert lite.shape == (3234, 4)
    np.testing.assert_allclose(lite[1, 2:], math.sqrt(0.2 * 0.35), rtol=1e-6)
    assert lite[:, 2:].max() == 1.0  # clipped


def test_squares_stay_squares_on_an_oblong_input() -> None:
    made = boxes_of(PRESETS["tensorflow"](600, 300).levels)
    np.testing.assert_allclose(made[0, 2:] * [600, 300], [30, 30], rtol=1e-6)


@pytest.mark.parametrize(
    ("side", "rows", "order"), [(300, 1917, "yxhw"), (320, 2034, "yxhw"), (300, 8732, "xywh"), (320, 3234, "xywh")]
)
def test_a_known_network_is_told_by_its_rows(side: int, rows: int, order: str) -> None:
    logits = np.zeros((1, rows, 91), np.float32)
    logits[..., 0] = 9
    logits[0, rows // 2, 5] = 18
    locations = np.zeros((1, rows, 4), np.float32)
    locations[0, rows // 2] = [5, 0, 0, 0]
    head = build_head("ssd-raw", context((1, rows, 1, 4), (1, rows, 91), classes=90, size=(side, side)))
    found = head.decode([locations[:, :, None], logits], 0.5)
    still = head.decode([np.zeros_like(locations), logits], 0.5)
    moved = (np.asarray(found.boxes) - np.asarray(still.boxes))[0]  # type: ignore[union-attr]
    assert found.class_ids.tolist() == [4]  # type: ignore[union-attr]
    assert (moved[0] > 1, moved[1] > 1) == ((False, True) if order == "yxhw" else (True, False))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 1917, 4)],
        [(1, 1917, 4), (1, 1916, 91)],
        [(1, 1917, 5), (1, 1917, 91)],
        [(1, 1917, 4), (1, 1917, 1)],
        [(1, None, 4), (1, None, 91)],
        [(1, 1917, 4), (1, 1917, 91), (1, 1)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        SsdRaw(context(*shapes, classes=90, size=(300, 300)))
    assert "1 x N x (1 + classes)" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_rows_without_priors_are_refused_with_what_is_known() -> None:
    with pytest.raises(HeadMismatch, match="no priors for 4420 rows") as refusal:
        SsdRaw(context((1, 4420, 4), (1, 4420, 2), classes=1, size=(320, 240)))
    assert "tensorflow: " in refusal.value.evidence["priors"]
    with pytest.raises(HeadMismatch, match="no priors"):
        SsdRaw(context((1, COUNT + 1, 4), (1, COUNT + 1, 3), classes=2, size=SIZE, params=USUAL))


def test_another_label_count_is_refused_with_both_sides() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("ssd-raw", context((1, 1917, 4), (1, 1917, 91), classes=80, size=(300, 300)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (90, "80")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priors", "mobilenet"),
        ("priors", [{"grid": [4, 6], "sizes": []}]),
        ("priors", [{"grid": [0, 6], "sizes": [[0.1, 0.1]]}]),
        ("order", "hwyx"),
        ("variances", [10, 10, 5, 0]),
        ("activation", "tanh"),
        ("prior", "auto"),
    ],
)
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        SsdRaw(context((1, 1917, 4), (1, 1917, 91), classes=90, size=(300, 300), params={key: value}))
