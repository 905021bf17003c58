"""Exports whose graph ends elsewhere: named by the head's params, they decode to what the usual export does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from camagent.frame import Candidates
from camagent.heads import build_head
from tests.heads.reference import context

Array = NDArray[Any]
Make = Callable[[np.random.Generator], list[Array]]
Export = Callable[[Sequence[Array]], list[Array]]
SIZE = (64, 64)
CELLS = 8 * 8 + 4 * 4 + 2 * 2


def logits(values: Array) -> Array:
    made: Array = np.log(values / (1 - values))
    return made


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def as_corners(values: Array, axis: int) -> Array:
    """The first four along `axis`: x y w h -> x1 y1 x2 y2."""
    made = np.moveaxis(values.astype(np.float64), axis, 0).copy()
    made[0:4] = [made[0] - made[2] / 2, made[1] - made[3] / 2, made[0] + made[2] / 2, made[1] + made[3] / 2]
    return np.moveaxis(made, 0, axis)


def on(part: tuple[slice, ...], change: Callable[[Array], Array]) -> Callable[[Sequence[Array]], list[Array]]:
    """Changes a part of the first output."""

    def changed(outputs: Sequence[Array]) -> list[Array]:
        first = outputs[0].astype(np.float64)
        first[part] = change(first[part])
        return [first, *outputs[1:]]

    return changed


def yolov8(rng: np.random.Generator) -> list[Array]:
    made = rng.uniform(0.02, 0.98, (1, 4 + 3, CELLS))
    made[:, :4] = rng.uniform(8, 50, (1, 4, CELLS))
    return [made]


def yolov5(rng: np.random.Generator) -> list[Array]:
    made = rng.uniform(0.02, 0.98, (1, 3 * CELLS, 5 + 3))
    made[..., :4] = rng.uniform(8, 50, (1, 3 * CELLS, 4))
    return [made]


def ultraface(rng: np.random.Generator) -> list[Array]:
    face = rng.uniform(0.02, 0.98, (1, 50, 1))
    low, size = rng.uniform(0, 0.5, (1, 50, 2)), rng.uniform(0.1, 0.4, (1, 50, 2))
    return [np.concatenate([1 - face, face], axis=2), np.concatenate([low, low + size], axis=2)]


def fastestdet(rng: np.random.Generator) -> list[Array]:
    made = rng.normal(0, 1, (1, 5 + 3, 4, 4))
    made[:, 0] = rng.uniform(0.1, 0.95, (1, 4, 4))
    raised = np.exp(made[:, 5:] * 2)
    made[:, 5:] = raised / raised.sum(axis=1, keepdims=True)
    return [made]


def decoded_fastestdet(outputs: Sequence[Array]) -> list[Array]:
    made = outputs[0].copy()
    rows, columns = np.mgrid[0:4, 0:4]
    made[0, 1:5] = [
        (np.tanh(made[0, 1]) + columns) / 4, (np.tanh(made[0, 2]) + rows) / 4, sigmoid(made[0, 3]), sigmoid(made[0, 4]),
    ]  # fmt: skip
    return [made]


ALL = slice(None)
V8_SCORES, V5_SCORES = (ALL, slice(4, None)), (ALL, ALL, slice(4, None))
HALF = 0.5
CASES: list[tuple[str, Make, dict[str, str], Export]] = [
    ("yolov8", yolov8, {"scores": "logits"}, on(V8_SCORES, logits)),
    ("yolov8", yolov8, {"scores": "twice"}, on(V8_SCORES, sigmoid)),
    ("yolov8", yolov8, {"order": "xyxy"}, on((ALL,), lambda values: as_corners(values, 1))),
    ("yolov5", yolov5, {"scores": "logits"}, on(V5_SCORES, logits)),
    ("yolov5", yolov5, {"scores": "twice"}, on(V5_SCORES, sigmoid)),
    ("yolov5", yolov5, {"order": "xyxy"}, on((ALL,), lambda values: as_corners(values, 2))),
    ("ultraface", ultraface, {"scores": "logits"}, lambda out: [np.log(out[0]), out[1]]),
    ("ultraface", ultraface, {"boxes": "pixels"}, lambda out: [out[0], out[1] * 64]),
    ("ultraface", ultraface, {"order": "xywh"}, lambda out: [
        out[0], np.concatenate([(out[1][..., :2] + out[1][..., 2:]) / 2, out[1][..., 2:] - out[1][..., :2]], axis=2),
    ]),
    ("ultraface", ultraface, {}, lambda out: [array.transpose(0, 2, 1) for array in out]),
    ("fastestdet", fastestdet, {"objectness": "logits"}, on((ALL, slice(0, 1)), logits)),
    ("fastestdet", fastestdet, {"objectness": "twice"}, on((ALL, slice(0, 1)), sigmoid)),
    ("fastestdet", fastestdet, {"classes": "logits"}, on((ALL, slice(5, None)), np.log)),
    ("fastestdet", fastestdet, {"boxes": "decoded"}, decoded_fastestdet),
    ("fastestdet", fastestdet, {"layout": "nhwc"}, lambda out: [out[0].transpose(0, 2, 3, 1)]),
]  # fmt: skip


def decode(head: str, outputs: Sequence[Array], params: dict[str, str], classes: int) -> Candidates:
    given = [np.ascontiguousarray(array, np.float32) for array in outputs]
    shapes = [array.shape for array in given]
    found = build_head(head, context(*shapes, classes=classes, size=SIZE, params=params)).decode(given, HALF)
    assert isinstance(found, Candidates)
    return found


@pytest.mark.parametrize(("head", "make", "params", "export"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_an_unusual_ending_decodes_to_what_the_usual_one_does(
    head: str, make: Make, params: dict[str, str], export: Export
) -> None:
    outputs = make(np.random.default_rng(5))
    classes = 1 if head == "ultraface" else 3
    wanted, found = decode(head, outputs, {}, classes), decode(head, export(outputs), params, classes)
    assert len(wanted.scores) >= 3
    assert (found.class_ids == wanted.class_ids).all()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=2e-3)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=2e-3)
    assert (found.seen, round(found.score_max, 2)) == (wanted.seen, round(wanted.score_max, 2))


def test_a_constant_class_column_is_left_out_of_the_score() -> None:
    outputs = [yolov5(np.random.default_rng(6))[0][..., :6]]
    outputs[0][..., 5] = 0.5
    found = decode("yolov5", outputs, {"score": "objectness"}, 1)
    np.testing.assert_allclose(np.sort(found.scores), np.sort(outputs[0][0, outputs[0][0, :, 4] >= HALF, 4]), rtol=1e-6)
    assert len(decode("yolov5", outputs, {}, 1).scores) == 0
