"""What the self-test reads off tensors without an inference: the contract of a stored input, memory orders, structure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.pipeline import prepare, rgb_frame
from camagent.selftest import memory_order, stored_input, structure
from camagent.selftest.known import Known, Reference
from firmware_pkg.manifest import Artifact, Expectation, HeadSpec, InputSpec, Manifest, Triple

Color = Literal["rgb", "bgr"]
Resize = Literal["letterbox", "stretch", "crop"]
CONTRACTS = st.builds(
    InputSpec, width=st.just(96), height=st.just(64), layout=st.sampled_from(["nchw", "nhwc"]),
    color=st.sampled_from(["rgb", "bgr"]), scale=st.sampled_from([1.0, 1 / 255, 1 / 127.5]),
    mean=st.sampled_from([(0.0, 0.0, 0.0), (0.3, 0.2, 0.1), (101.5, 112.25, 119.0)]),
    std=st.sampled_from([(1.0, 1.0, 1.0), (0.2, 0.25, 0.3), (57.0, 58.0, 59.0)]),
    resize=st.sampled_from(["letterbox", "stretch", "crop"]), placement=st.sampled_from(["center", "top-left"]),
)  # fmt: skip


def manifest(spec: InputSpec, head: HeadSpec | None = None, labels: int = 3) -> Manifest:
    return Manifest(
        name="m", version="1", created="2026-01-01T00:00:00Z", task="detect", input=spec, head=head or HeadSpec(name="yolov8"),
        labels=tuple(f"label {index}" for index in range(labels)), artifacts=(Artifact(path="m.onnx", backend="onnx"),),
        files={"m.onnx": 1},
    )  # fmt: skip


def picture(right: InputSpec) -> Known:
    """A colourful picture with the tensor that the right contract makes of it."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    frame = rgb_frame(np.kron(coarse, np.ones((16, 16, 1), np.uint8)))
    expect = (Expectation(label="label 0", score=0.9, box_norm=(0.1, 0.1, 0.5, 0.5)),)
    return Known("p", frame, {"label 0": 1}, expect, Reference(prepare(frame, right).tensor, ()))


@settings(deadline=None, max_examples=60)
@given(right=CONTRACTS, wrong=CONTRACTS)
def test_a_stored_tensor_tells_the_contract_that_made_it(right: InputSpec, wrong: InputSpec) -> None:
    known = picture(right)
    assert known.reference is not None
    stored = np.asarray(known.reference.input, np.float64)
    found = list(stored_input.variants(manifest(wrong), [known]))
    now = np.asarray(prepare(known.frame, wrong).tensor, np.float64)
    if now.shape == stored.shape and np.abs(now - stored).mean() <= 0.02 * np.ptp(stored):
        assert not found, "the contract in force is the one that made it"
        return
    assert len(found) == 1
    again = np.asarray(prepare(known.frame, found[0].manifest.input).tensor, np.float64)
    assert again.shape == stored.shape
    assert np.abs(again - stored).mean() <= 0.02 * np.ptp(stored)
    causes = {found[0].cause, *(more.cause for more in found[0].more)}
    if right.color != wrong.color and right.mean == wrong.mean and right.std == wrong.std:
        assert "channel-order-swapped" in causes


def test_a_stored_tensor_of_another_picture_says_nothing() -> None:
    spec = InputSpec(width=96, height=64)
    noise = np.random.default_rng(1).random((1, 3, 64, 96)).astype(np.float32)
    known = replace(picture(spec), reference=Reference(noise, ()))
    assert not list(stored_input.variants(manifest(spec), [known]))


@pytest.mark.parametrize("shape", [(1, 3, 6, 10), (1, 6, 10, 3)])
def test_memory_orders_undo_each_other_and_keep_the_shape(shape: tuple[int, ...]) -> None:
    tensor = np.arange(180, dtype=np.float32).reshape(shape)
    as_pixels, as_planes = (memory_order.INTAKES[name][2] for name in ("as pixels", "as planes"))
    assert as_pixels(tensor).shape == as_planes(tensor).shape == shape
    np.testing.assert_array_equal(as_planes(as_pixels(tensor)), tensor)
    assert not np.array_equal(as_pixels(tensor), tensor)


def test_a_reader_of_pixels_gets_the_picture() -> None:
    tensor = np.arange(180, dtype=np.float32).reshape(1, 3, 6, 10)
    memory = memory_order.INTAKES["as pixels"][2](tensor).reshape(1, 6, 10, 3)
    np.testing.assert_array_equal(memory.transpose(0, 3, 1, 2), tensor)


@pytest.mark.parametrize("padding", [1, 4, 15])
def test_padded_rows_are_put_together_again(padding: int) -> None:
    output = np.random.default_rng(2).random((1, 9, 12, 11)).astype(np.float32)
    wide = np.pad(output.reshape(-1, 11), ((0, 0), (0, padding))).reshape(-1)[: output.size].reshape(output.shape)
    made = {words: array for words, _, array in memory_order.exhausts(wide)}[f"rows padded by {padding}"]
    kept = output.size * 11 // (11 + padding) // 11 * 11
    np.testing.assert_array_equal(made.reshape(-1)[:kept], output.reshape(-1)[:kept])


def test_channels_that_moved_in_memory_are_put_back() -> None:
    output = np.random.default_rng(3).random((1, 9, 12, 11)).astype(np.float32)
    last = np.ascontiguousarray(output.transpose(0, 2, 3, 1)).reshape(output.shape)
    ways = {words: array for words, _, array in memory_order.exhausts(last)}
    np.testing.assert_array_equal(ways["channels last in memory"], output)


def yolo(width: int, height: int, seed: int = 0) -> NDArray[np.float32]:
    """A sound YOLOv8 output: boxes around their cells, a few cells that see something."""
    rng = np.random.default_rng(seed)
    levels = []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        levels.append(
            np.stack([columns.ravel(), rows.ravel()], 1) * stride + stride / 2 + rng.normal(0, stride / 3, (rows.size, 2))
        )
    centres = np.concatenate(levels)
    scores = rng.random((len(centres), 3)) ** 12 * 0.3
    scores[:: len(centres) // 40] = 0.9
    return np.concatenate([centres, np.full((len(centres), 2), 20.0), scores], axis=1).T[None].astype(np.float32)


SPEC = manifest(InputSpec(width=192, height=128))


def test_a_sound_output_lies_along_its_cells() -> None:
    output = yolo(192, 128)
    assert structure.scores_possible(SPEC, [output])
    assert (structure.near_cells(SPEC, [output], 0.1) or 0) > 0.95
    drift = structure.drift(SPEC, [output])
    assert drift is not None
    assert np.allclose(drift.slope, 1, atol=0.05)
    assert drift.straight > 0.95
    assert structure.signature(SPEC, [output]) > 0.9


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_boxes_of_another_stride_lie_on_another_line(factor: float) -> None:
    output = yolo(192, 128)
    output[:, :2] *= factor
    drift = structure.drift(SPEC, [output])
    assert drift is not None
    assert np.allclose(drift.slope, factor, rtol=0.06)


@pytest.mark.parametrize("change", ["sigmoid", "logit", "shuffled"])
def test_what_is_no_probability_or_not_near_its_cell_is_no_detection(change: str) -> None:
    output = yolo(192, 128)
    scores = np.clip(output[:, 4:], 1e-4, 0.9999)
    if change == "sigmoid":
        output[:, 4:] = 1 / (1 + np.exp(-scores))
        assert not structure.scores_possible(SPEC, [output])
    elif change == "logit":
        output[:, 4:] = np.log(scores / (1 - scores)) * 3
        assert not structure.scores_possible(SPEC, [output])
    else:
        output[:, :4] = output[:, :4, np.random.default_rng(4).permutation(output.shape[2])]
        assert (structure.near_cells(SPEC, [output], 0.1) or 0) < 0.3


def test_a_param_that_says_logits_makes_logits_possible() -> None:
    told = msgspec.structs.replace(SPEC, head=HeadSpec(name="yolov8", params={"scores": "logits"}))
    assert structure.scores_possible(told, [yolo(192, 128) * 50])


def test_triples_stay_triples() -> None:
    spec = InputSpec(width=96, height=64, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    wrong = msgspec.structs.replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    made = next(iter(stored_input.variants(manifest(wrong), [picture(spec)])))
    mean: Triple = made.manifest.input.mean
    assert made.cause == "mean-std-wrong"
    again = [(255 * made.manifest.input.scale - m) / s for m, s in zip(mean, made.manifest.input.std, strict=True)]
    assert again == pytest.approx([(1 - m) / s for m, s in zip(spec.mean, spec.std, strict=True)], rel=0.02)
