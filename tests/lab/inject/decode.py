"""Faults between a stream's bytes and pixels, on decoded planes: what is shown is not what there is to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab import draw
from tests.lab.frames import Planes, decoded
from tests.lab.inject.base import fault, one, pick, retrained, true_too
from tests.lab.rig import Rig
from tests.lab.scene import Pixels

Plane = NDArray[np.uint8]
_GREY = 128
_BLOCK = 16  # pixels, of a macroblock


@fault("chroma-order-wrong", "plain")
def _chroma(rig: Rig, rng: Generator) -> Rig | None:
    """NV12 read as NV21: U and V exchanged, luma untouched. With red and blue both known, labels would merely be exchanged."""
    if {"red", "blue"} <= set(rig.right.spec.classes) and rig.name != "ultraface":
        return None
    return shown(rig, lambda planes: Planes(planes.y, planes.v, planes.u))


@fault("colour-range-or-matrix", "washed out")
def _washed(rig: Rig, rng: Generator) -> Rig | None:
    """Limited range shown as full, by one component or by two; this model is particular about colours."""
    times = one(rng, (1, 2, 2))
    share = (219 / 255) ** times
    return repainted(_particular(rig, rng), lambda pixels: _painted(pixels * share + (16 if times == 1 else 29.7)))


@fault("colour-range-or-matrix", "clipped")
def _clipped(rig: Rig, rng: Generator) -> Rig | None:
    """Full range taken for limited, by one component or by two."""
    share = (219 / 255) ** one(rng, (1, 2, 2))
    return repainted(_particular(rig, rng), lambda pixels: _painted((pixels - 255 * (1 - share) * 0.45) / share))


@fault("row-stride-ignored", "plain")
def _stride(rig: Rig, rng: Generator) -> Rig | None:
    """Rows lie further apart in the buffer than the picture is wide; they are read as packed."""
    pad = 2 * int(rng.integers(2, 33))
    made = shown(
        rig, lambda planes: Planes(_packed(planes.y, pad, 16), *(_packed(p, pad // 2, _GREY) for p in (planes.u, planes.v)))
    )
    return None if made is None else true_too(replace(made, displaced=True), "frame-geometry-wrong")


@fault("frame-geometry-wrong", "width")
def _width(rig: Rig, rng: Generator) -> Rig | None:
    """A width that is a little off, as if somebody had aligned it: on the picture nothing else than a wrong stride."""
    change = 2 * int(rng.integers(2, 25)) * one(rng, (-1, 1))
    made = shown(
        rig,
        lambda planes: Planes(
            *(_as_wide(p, c) for p, c in zip(_three(planes), (change, change // 2, change // 2), strict=True))
        ),
    )
    return None if made is None else true_too(replace(made, displaced=True), "row-stride-ignored")


@fault("frame-geometry-wrong", "exchanged")
def _turned_buffer(rig: Rig, rng: Generator) -> Rig | None:
    """Height as width and width as height, over the same bytes."""
    made = shown(rig, lambda planes: Planes(*(plane.reshape(plane.shape[::-1]) for plane in _three(planes))))
    return None if made is None else true_too(replace(made, displaced=True), "row-stride-ignored")


@fault("packet-loss-smear", "plain")
def _smeared(rig: Rig, rng: Generator) -> Rig | None:
    """Slices are lost: from some row on, the last good row is drawn down the picture; here and there, blocks of grey."""
    share = pick(rng, 0.3, 0.8)
    made = shown(rig, lambda planes: _smear(planes, rng))
    return None if made is None else with_losses(made, share, transport=one(rng, ("udp", "udp", "tcp")), rng=rng)


@fault("missing-reference-grey", "plain")
def _grey(rig: Rig, rng: Generator) -> Rig | None:
    """No key frame came: what moves is drawn on grey."""
    left = pick(rng, 0.05, 0.25)
    made = shown(rig, lambda planes: Planes(*(_faded(plane, left) for plane in _three(planes))))
    if made is None:
        return None
    made = with_losses(made, pick(rng, 0.6, 1.0), transport="tcp", rng=rng)
    return replace(made, facts={**made.facts, "key_interval": None})


def shown(rig: Rig, change: Callable[[Planes], Planes]) -> Rig | None:
    """The rig with every live picture changed on its way; None for classifiers, which always see something."""
    if rig.name == "classify":
        return None
    made = draw.with_camera(rig)
    before = made.shown if made.shown is not None else tuple(decoded(scene.pixels) for scene in made.live)
    return replace(made, shown=tuple(_even(change(planes)) for planes in before))


def repainted(rig: Rig, change: Callable[[NDArray[np.float32]], Pixels]) -> Rig | None:
    """The rig with the pixels of every live picture changed."""
    if rig.name == "classify" or rig.shown is not None:
        return None
    made = draw.with_camera(rig)
    return replace(made, shown=tuple(decoded(change(scene.pixels.astype(np.float32))) for scene in made.live))


def with_losses(rig: Rig, share: float, *, transport: str, rng: Generator) -> Rig:
    """What a decoder counts while packets are lost: `share` of the frames are damaged."""
    seconds, fps = pick(rng, 8, 12), float(one(rng, (10.0, 12.5, 15.0, 25.0)))
    count = int(seconds * fps)
    errors = max(1, int(count * share * pick(rng, 0.4, 1.0)))
    return replace(rig, facts={
        **rig.facts, "seconds": seconds, "fps": fps, "packets": int(count * pick(rng, 0.75, 0.97)), "transport": transport,
        "decoder_errors": errors, "corrupt": max(0, int(count * share) - errors // 2),
    })  # fmt: skip


def _particular(rig: Rig, rng: Generator) -> Rig:
    return retrained(rig, spread=pick(rng, 0.0035, 0.009)) if rig.right.spec.engine == "blobs" else rig


def _painted(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _three(planes: Planes) -> tuple[Plane, Plane, Plane]:
    return planes.y, planes.u, planes.v


def _packed(plane: Plane, pad: int, fill: int) -> Plane:
    wide = np.pad(plane, ((0, 0), (0, pad)), constant_values=fill)
    return np.ascontiguousarray(wide.reshape(-1)[: plane.size].reshape(plane.shape))


def _as_wide(plane: Plane, change: int) -> Plane:
    width = plane.shape[1] + change
    height = plane.shape[0]
    flat = plane.reshape(-1)
    if flat.size < width * height:
        flat = np.concatenate([flat, np.full(width * height - flat.size, _GREY, np.uint8)])
    return np.ascontiguousarray(flat[: width * height].reshape(height, width))


def _smear(planes: Planes, rng: Generator) -> Planes:
    y, u, v = (plane.copy() for plane in _three(planes))
    height, width = y.shape
    row = int(height * rng.uniform(0.05, 0.3)) // _BLOCK * _BLOCK
    y[row:], u[row // 2 :], v[row // 2 :] = y[max(0, row - 1)], u[max(0, row // 2 - 1)], v[max(0, row // 2 - 1)]
    for _ in range(int(rng.integers(3, 12))):
        left, top = int(rng.integers(0, width // _BLOCK)) * _BLOCK, int(rng.integers(0, height // _BLOCK)) * _BLOCK
        wide = _BLOCK * int(rng.integers(1, 8))
        y[top : top + _BLOCK, left : left + wide] = _GREY
        u[top // 2 : (top + _BLOCK) // 2, left // 2 : (left + wide) // 2] = _GREY
        v[top // 2 : (top + _BLOCK) // 2, left // 2 : (left + wide) // 2] = _GREY
    return Planes(y, u, v)


def _faded(plane: Plane, left: float) -> Plane:
    return np.asarray(np.rint((plane.astype(np.float32) - _GREY) * left + _GREY), np.uint8)


def _even(planes: Planes) -> Planes:
    """As a decoder gives them: sides that chroma can be half of."""
    height, width = planes.y.shape[0] // 2 * 2, planes.y.shape[1] // 2 * 2
    return Planes(planes.y[:height, :width], planes.u[: height // 2, : width // 2], planes.v[: height // 2, : width // 2])
