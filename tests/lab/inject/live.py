"""Faults of cameras and streams. Golden pictures pass; what arrives, or does not arrive, is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from tests.lab import draw
from tests.lab.frames import decoded, fingerprint
from tests.lab.inject.base import fault, one, pick, retrained
from tests.lab.inject.decode import repainted
from tests.lab.referee import silent
from tests.lab.rig import Rig, look
from tests.lab.scene import Pixels, empty, ground

_LAYER = "source"
_NEAR = (0.55, 0.92)  # of the threshold: so weak that nothing is seen, and so strong that something is there


@fault("orientation-wrong", "quarter", _LAYER)
def _quarter(rig: Rig, rng: Generator) -> Rig | None:
    """Corridor mode: the picture lies on its side."""
    return _turned(rig, one(rng, (1, 3)))


@fault("orientation-wrong", "upside down", _LAYER)
def _upside_down(rig: Rig, rng: Generator) -> Rig | None:
    return _turned(rig, 2)


@fault("lens-dark-or-covered", "dark", _LAYER)
def _dark(rig: Rig, rng: Generator) -> Rig | None:
    """Almost black, a little noise."""
    level, noise = pick(rng, 1.0, 9.0), pick(rng, 0.3, 2.0)
    return _replaced(rig, lambda pixels: _noise(rng, np.full(pixels.shape, level), noise))


@fault("lens-dark-or-covered", "covered", _LAYER)
def _covered(rig: Rig, rng: Generator) -> Rig | None:
    """Something flat before the lens, of any brightness."""
    colour, noise = np.array([pick(rng, 20, 200)] * 3) + rng.normal(0, 6, 3), pick(rng, 0.3, 2.0)
    return _replaced(rig, lambda pixels: _noise(rng, np.broadcast_to(colour, pixels.shape), noise))


@fault("stream-frozen", "on an empty picture", _LAYER)
def _frozen_empty(rig: Rig, rng: Generator) -> Rig | None:
    made = draw.with_camera(rig)
    if not made.live or made.name == "classify":
        return None
    if made.right.spec.engine == "onnx":
        return _frozen(made, np.asarray(cv2.GaussianBlur(made.live[0].pixels, (0, 0), 40), np.uint8), rng)
    return _frozen(made, empty(rng, "still", draw.style_of(made).size).pixels, rng)


@fault("stream-frozen", "on things", _LAYER)
def _frozen_on_things(rig: Rig, rng: Generator) -> Rig | None:
    """The picture that stands still has things on it: they are reported for ever, which is no silence."""
    made = draw.with_camera(rig)
    return _frozen(made, made.live[0].pixels, rng) if made.live else None


@fault("wrong-stream-profile", "plain", _LAYER)
def _small(rig: Rig, rng: Generator) -> Rig | None:
    """A wide view: the same things, a few pixels high on the network's input."""
    if rig.name == "classify" or rig.shown is not None:
        return None
    if rig.right.spec.engine == "onnx":
        farther = (_farther(draw.with_camera(rig), times * pick(rng, 0.9, 1.1), rng) for times in (2.0, 3.0, 4.0, 6.0))
        return next((made for made in farther if silent(made)), None)
    made = draw.with_camera(retrained(rig, smallest=pick(rng, 7.0, 11.0)))
    if made.right.manifest.input.resize == "crop":
        return None
    wanted = pick(rng, 0.42, 0.6) * made.right.spec.smallest  # pixels of the network
    height, width = made.live[0].pixels.shape[:2]
    spec = made.right.manifest.input
    usual = 0.21 * min(height, width) * min(spec.width / width, spec.height / height)  # pixels of the network, of a thing
    times = usual / wanted
    if times < 1.3:
        return None
    return _farther(made, times, rng)


@fault("night-ir-domain", "plain", _LAYER)
def _night(rig: Rig, rng: Generator) -> Rig | None:
    """Infrared: hardly any colour, less light, more noise. How little is left is searched, until the model nearly sees."""
    level = pick(rng, 0.85, 1.0)
    made = retrained(rig, spread=pick(rng, 0.06, 0.085))  # it knows things by more than their colour
    return _until_weak(made, np.linspace(0.4, 0.08, 12).tolist(), lambda pixels, left: _by_night(pixels, left, level, rng))


@fault("view-domain", "squeezed", _LAYER)
def _view(rig: Rig, rng: Generator) -> Rig | None:
    """Another angle: everything is narrower, or flatter, than in training."""
    flat = rng.random() < 0.5
    return _until_weak(rig, np.linspace(0.9, 0.25, 20).tolist(), lambda pixels, left: _squeezed(pixels, left, flat=flat))


@fault("view-domain", "colours", _LAYER)
def _other_colours(rig: Rig, rng: Generator) -> Rig | None:
    """Things in colours that are only nearly those of the training."""
    tint = rng.uniform(-1, 1, 3)
    tint = tint / np.abs(tint).max()
    return _until_weak(rig, np.linspace(20, 130, 20).tolist(), lambda pixels, far: _tinted(pixels, tint * far))


@fault("stream-unreachable", "plain", _LAYER)
def _unreachable(rig: Rig, rng: Generator) -> Rig | None:
    sentence = one(rng, ("connection refused", "401 Unauthorized", "404 Not Found", "no route to host"))
    return _silent(rig, "stream-unreachable", sentence, packets=0, seconds=pick(rng, 5, 12))


@fault("stream-client-limit", "plain", _LAYER)
def _client_limit(rig: Rig, rng: Generator) -> Rig | None:
    """It answers, and sends no media."""
    return _silent(rig, "stream-client-limit", "the camera answers and sends no pictures", packets=0, seconds=pick(rng, 11, 14))


@fault("transport-mismatch", "plain", _LAYER)
def _transport(rig: Rig, rng: Generator) -> Rig | None:
    name, other = one(rng, (("tcp", "udp"), ("udp", "tcp")))
    return _silent(rig, "transport-mismatch", f"over {other} pictures came at once", packets=0, transport=name)


@fault("stream-stalled", "plain", _LAYER)
def _stalled(rig: Rig, rng: Generator) -> Rig | None:
    return _silent(rig, "stream-stalled", "no packet for 10 s", packets=int(rng.integers(1, 40)), seconds=pick(rng, 11, 20))


@fault("smart-codec-on", "plain", _LAYER)
def _smart_codec(rig: Rig, rng: Generator) -> Rig | None:
    """Packets, and no key frame that a picture could begin with."""
    count = int(rng.integers(150, 500))
    return _silent(rig, None, "", packets=count, seconds=pick(rng, 15, 30), state="running")


def _farther(rig: Rig, times: float, rng: Generator) -> Rig:
    return replace(rig, shown=tuple(decoded(_far(scene.pixels, times, rng)) for scene in rig.live), displaced=True)


def _turned(rig: Rig, quarters: int) -> Rig | None:
    if rig.name == "classify" or rig.shown is not None or (rig.right.spec.engine == "blobs" and rig.right.spec.shape != "bell"):
        return None
    made = draw.with_camera(rig)
    pictures = tuple(decoded(np.ascontiguousarray(np.rot90(scene.pixels, quarters))) for scene in made.live)
    return replace(made, shown=pictures, displaced=True)


def _replaced(rig: Rig, change: Callable[[Pixels], Pixels]) -> Rig | None:
    if rig.shown is not None:
        return None
    made = draw.with_camera(rig)
    return replace(made, shown=tuple(decoded(change(scene.pixels)) for scene in made.live))


def _frozen(rig: Rig, pixels: Pixels, rng: Generator) -> Rig | None:
    """One picture for ever, while the stream's own time goes on."""
    if rig.shown is not None:
        return None
    planes = decoded(pixels)
    seconds, fps = pick(rng, 6, 12), float(one(rng, (10.0, 15.0, 25.0)))
    marks = (fingerprint(planes),) * int(seconds * fps)
    shown = tuple(planes for _ in rig.live)
    return replace(rig, shown=shown, facts={**rig.facts, "seconds": seconds, "fps": fps, "fingerprints": marks})


def _silent(rig: Rig, reason: str | None, sentence: str, **facts: Any) -> Rig | None:
    """Nothing arrives that could be looked at."""
    if rig.shown is not None:
        return None
    told = {"state": "waiting-source", "decoded": 0, "pts": (), "fingerprints": (), "key_interval": None, **facts}
    return replace(draw.with_camera(rig), shown=(), facts={**told, "reason": reason, "sentence": sentence})


def _until_weak(rig: Rig, strengths: Sequence[float], change: Callable[[Pixels, float], Pixels]) -> Rig | None:
    """The first strength at which nothing is seen and nearly everything nearly is; None where there is none."""
    if rig.name in ("classify", "semantic") or rig.shown is not None:
        return None
    made = draw.with_camera(rig)
    for strength in strengths:
        weak = repainted(made, lambda pixels, at=float(strength): change(pixels.astype(np.uint8), at))  # type: ignore[misc]
        if weak is None:
            return None
        best = _best_scores(weak)
        least = made.right.manifest.thresholds.min_score
        if max(best) < _NEAR[1] * least:
            near = sum(score > _NEAR[0] * least for score in best) >= 0.6 * len(best)
            return replace(weak, displaced=True) if near else None
    return None


def _best_scores(rig: Rig) -> list[float]:
    """Of every live picture, the best score of the right contract."""
    sample = rig.sample()
    assert sample is not None
    manifest = rig.right.manifest
    low = rig.right.with_manifest(thresholds=type(manifest.thresholds)(min_score=0.01, nms_iou=manifest.thresholds.nms_iou))
    return [max((item.score for item in seen), default=0.0) for seen in look(low, None, sample.frames)]


def _noise(rng: Generator, values: Any, noise: float) -> Pixels:
    return np.asarray(np.clip(np.rint(values + rng.normal(0, noise, values.shape)), 0, 255), np.uint8)


def _far(pixels: Pixels, times: float, rng: Generator) -> Pixels:
    """The picture so many times smaller, amid ground, on a picture large enough that nothing of it is lost."""
    height, width = pixels.shape[:2]
    wide = (int(width * times) // 2 * 2, int(height * times) // 2 * 2)
    around = ground(rng, wide)
    x, y = int((wide[0] - width) * rng.uniform(0.1, 0.9)), int((wide[1] - height) * rng.uniform(0.1, 0.9))
    around[y : y + height, x : x + width] = pixels
    return around


def _by_night(pixels: Pixels, left: float, level: float, rng: Generator) -> Pixels:
    grey = pixels.mean(axis=2, keepdims=True)
    return _noise(rng, (grey + (pixels - grey) * left) * level, 4.0)


def _squeezed(pixels: Pixels, left: float, *, flat: bool) -> Pixels:
    height, width = pixels.shape[:2]
    inner = (width, max(2, int(height * left))) if flat else (max(2, int(width * left)), height)
    small = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA)
    top, side = (height - inner[1]) // 2, (width - inner[0]) // 2
    border = (top, height - inner[1] - top, side, width - inner[0] - side)
    return np.asarray(cv2.copyMakeBorder(small, *border, cv2.BORDER_REPLICATE), np.uint8)


def _tinted(pixels: Pixels, tint: Any) -> Pixels:
    return np.asarray(np.clip(pixels.astype(np.float32) + tint, 0, 255), np.uint8)
