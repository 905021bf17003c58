"""Healthy rigs of every kind that looks like a fault: nothing here may be accused of anything.

Not here: a deliberate OFF, which what looks at stored frames cannot see, and an end-to-end head, which the agent has not yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.random import Generator

from camagent.config import Camera, Filter, Mask, Zone
from firmware_pkg.manifest import HeadSpec
from tests.lab import draw, real
from tests.lab.frames import decoded
from tests.lab.inject.base import DETECTORS, pick, retrained, with_tail
from tests.lab.rig import Rig
from tests.lab.scene import Pixels, Scene, empty
from tests.lab.spec import Op

Making = Callable[[Rig, Generator], Rig | None]  # None: this rig cannot be healthy in this way
_TRIES = 300


@dataclass(frozen=True, slots=True)
class Health:
    """A kind of health. `told`: what may be said of it and is no accusation."""

    name: str
    make: Making
    told: tuple[str, ...] = ()


def rig_of(name: str, seed: int) -> Rig:
    """A healthy rig of this kind. The same name and seed give the same rig."""
    numbers = np.random.default_rng((seed, *name.encode()))
    start = int(numbers.integers(1 << 30))
    for attempt in range(_TRIES):
        made = KINDS[name].make(draw.healthy(start + attempt), np.random.default_rng((start + attempt, 9)))
        if made is not None:
            return made
    raise AssertionError(f"no rig can be healthy as {name}")


def rig_of_network(name: str, seed: int, network: str) -> Rig | None:
    """As `rig_of`, with a network that nobody here made; None where it cannot be healthy in this way."""
    if name not in OF_NETWORKS:
        return None
    return KINDS[name].make(real.healthy(seed, network), np.random.default_rng((seed, 9)))


def _anything(rig: Rig, rng: Generator) -> Rig:
    return rig


def _empty_scene(rig: Rig, rng: Generator) -> Rig:
    """Nothing there, every picture another one."""
    made = draw.with_camera(rig)
    size = draw.style_of(made).size
    return replace(made, live=tuple(empty(rng, f"live{k}", size) for k in range(6)))


def _still_and_empty(rig: Rig, rng: Generator) -> Rig:
    """One place for hours: only the sensor's noise changes."""
    made = draw.with_camera(rig)
    still = empty(rng, "still", draw.style_of(made).size).pixels
    return replace(made, live=tuple(Scene(f"live{k}", _noisy(still, rng, 2.0)) for k in range(6)))


def _night_and_empty(rig: Rig, rng: Generator) -> Rig:
    """Infrared, grey, dim, and nobody there."""
    made = draw.with_camera(rig)
    level, size = pick(rng, 0.25, 0.6), draw.style_of(made).size
    grounds = [empty(rng, f"live{k}", size).pixels.mean(axis=2, keepdims=True) * level for k in range(6)]
    return replace(
        made, live=tuple(Scene(f"live{k}", _noisy(np.repeat(one, 3, axis=2), rng, 5.0)) for k, one in enumerate(grounds))
    )


def _night_but_seen(rig: Rig, rng: Generator) -> Rig | None:
    """Dusk, and the model still sees things most of the time."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(retrained(rig, gain=0.97))
    level = pick(rng, 0.8, 0.92)
    return replace(made, live=tuple(replace(one, pixels=_noisy(one.pixels * level, rng, 3.0)) for one in made.live))


def _foliage(rig: Rig, rng: Generator) -> Rig:
    """Leaves in the wind: strong texture in dull greens and browns, other at every moment, nothing that the model knows."""
    made = draw.with_camera(rig)
    size = draw.style_of(made).size
    return replace(made, live=tuple(Scene(f"live{k}", _leaves(empty(rng, "", size).pixels, rng)) for k in range(6)))


def _far_things(rig: Rig, rng: Generator) -> Rig | None:
    """Things of a pixel or two: no model sees them, and none is at fault. That they are small may be said."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(rig)
    return replace(made, live=tuple(_tiny(scene, rng) for scene in made.live))


def _quiet_zone(rig: Rig, rng: Generator) -> Rig | None:
    """Things pass, never in the zone, which lies in the picture."""
    if rig.name not in DETECTORS:
        return None
    style = replace(draw.style_of(rig), line=pick(rng, 0.25, 0.4), strangers=False)
    made = replace(draw.with_camera(rig), live=draw.walk(rng, style))
    top = pick(rng, 0.72, 0.82)
    zone = Zone(name="door", polygon=((0.1, top), (0.9, top), (0.9, 0.98), (0.1, 0.98)))
    return _set(made, zone=(zone,))


def _busy_zone(rig: Rig, rng: Generator) -> Rig | None:
    """Filters of every kind that let things through."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(rig)
    assert made.camera is not None
    camera = draw.permissive(made.camera, made.right.manifest.label_names)
    return replace(made, camera=camera, right_camera=camera)


def _own_threshold(rig: Rig, rng: Generator) -> Rig | None:
    """A camera that asks for a little more than the bundle, or for less."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(retrained(rig, gain=0.97))
    least = made.right.manifest.thresholds.min_score
    return _set(made, filter=Filter(min_score=round(least * pick(rng, 0.8, 1.2), 3)))


def _low_scores(rig: Rig, rng: Generator) -> Rig | None:
    """A model that is never sure, at the threshold that its card names."""
    if rig.name not in DETECTORS:
        return None
    gain = pick(rng, 0.3, 0.5)
    made = retrained(rig, gain=gain)
    limits = msgspec.structs.replace(made.right.manifest.thresholds, min_score=round(gain * pick(rng, 0.4, 0.6), 3))
    right = made.right.with_manifest(thresholds=limits)
    return replace(made, right=right, deployed=right)


def _int8(rig: Rig, rng: Generator) -> Rig | None:
    """A sound quantisation: scores on steps of 1/255. The golden tensors are the float model's."""
    if rig.name not in DETECTORS or any(op.name == "int8-parts" for op in rig.right.spec.tail):
        return None
    return replace(with_tail(rig, Op("int8-parts")), made_by="right")


def _other_runtime(rig: Rig, rng: Generator) -> Rig | None:
    """Another runtime's arithmetic: a little off everywhere, and nothing lost."""
    args = {"amount": pick(rng, 0.001, 0.004), "mix": 0.0, "seed": float(rng.integers(99))}
    return replace(with_tail(rig, Op("noise", args)), made_by="right") if rig.name in DETECTORS else None


def _nms_in_graph(rig: Rig, rng: Generator) -> Rig | None:
    """An export that suppresses by itself, at a threshold below the manifest's: most of its output is empty, always."""
    if rig.name not in ("yolov5", "yolov8", "ultraface"):
        return None
    least = rig.right.manifest.thresholds.min_score
    params = {} if rig.name == "ultraface" else {"boxes": "pixels"}  # nearly empty outputs do not tell the unit
    made = with_tail(rig, Op("floor-scores", {"threshold": least * pick(rng, 0.4, 0.9)}))
    right = made.deployed.with_manifest(head=HeadSpec(name=rig.name, params=params))
    return replace(made, right=right, deployed=right)


def _bgr(rig: Rig, rng: Generator) -> Rig | None:
    return rig if rig.right.manifest.input.color == "bgr" else None


def _bytes(rig: Rig, rng: Generator) -> Rig | None:
    """A model that takes 0..255."""
    return rig if rig.right.manifest.input.scale == 1.0 and not any(rig.right.manifest.input.mean) else None


def _glitch(rig: Rig, rng: Generator) -> Rig:
    """The network was away for some seconds; a few packets were lost."""
    made = draw.with_camera(rig)
    seconds, fps, gap = pick(rng, 9, 12), 12.5, pick(rng, 2.0, 6.0)
    count = int((seconds - gap) * fps)
    pts = [index / fps + (gap if index > count // 2 else 0.0) for index in range(count)]
    losses = int(rng.integers(0, 6))
    facts = {"seconds": seconds - gap, "fps": fps, "pts": tuple(pts), "reconnects": 1}
    return replace(made, facts={**facts, "decoder_errors": losses, "corrupt": losses // 2})


def _long_gop(rig: Rig, rng: Generator) -> Rig:
    """Key frames are rare, and nothing is missing between them."""
    return replace(draw.with_camera(rig), facts={"key_interval": pick(rng, 8, 20), "transport": "udp"})


def _tie(rig: Rig, rng: Generator) -> Rig | None:
    """A model that does not care whether a picture is stretched."""
    if rig.name not in DETECTORS or rig.right.manifest.input.resize == "crop":
        return None
    return retrained(rig, leeway=2.5)


def _workstation(rig: Rig, rng: Generator) -> Rig:
    """No camera at all."""
    return replace(rig, camera=None, right_camera=None, live=())


def _without_frames(rig: Rig, rng: Generator) -> Rig:
    """A camera's settings, and no frames of it."""
    return replace(draw.with_camera(rig), live=())


def _masked_corner(rig: Rig, rng: Generator) -> Rig | None:
    """A privacy mask over a part of the picture."""
    made = draw.with_camera(rig)
    low = pick(rng, 0.1, 0.35)
    corners = ((0.0, 0.0), (low, 0.0), (low, low), (0.0, low))
    return _set(made, mask=(Mask(name="neighbours", polygon=corners),))


def _undeclared(rig: Rig, rng: Generator) -> Rig:
    """Nobody said what is on the golden pictures; what the float model saw has to do."""
    return replace(rig, declared=False, made_by="right")


def _without_reference(rig: Rig, rng: Generator) -> Rig:
    return replace(rig, reference=False)


def _file(rig: Rig, rng: Generator) -> Rig:
    """A clip instead of a camera, of one picture that never changes."""
    made = draw.with_camera(rig)
    planes = decoded(made.live[0].pixels)
    count = 60
    return replace(
        made, live=(made.live[0],) * 6, shown=(planes,) * 6,
        facts={"transport": "", "seconds": 6.0, "fps": 10.0, "fingerprints": (1,) * count},
    )  # fmt: skip


def _glimpse(rig: Rig, rng: Generator) -> Rig | None:
    """Of the moments that were watched, one has something in it."""
    if rig.name == "classify":
        return None
    made = draw.with_camera(rig)
    size = draw.style_of(made).size
    nothing = [empty(rng, f"live{k}", size) for k in range(5)]
    return replace(made, live=(*nothing[:2], made.live[0], *nothing[2:]))


_TOO_SMALL = ("wrong-stream-profile",)
KINDS: Mapping[str, Health] = MappingProxyType({
    kind.name: kind
    for kind in (
        Health("anything", _anything), Health("empty scene", _empty_scene), Health("still and empty", _still_and_empty),
        Health("night, empty", _night_and_empty), Health("dusk, seen", _night_but_seen), Health("foliage", _foliage),
        Health("below the pixel limit", _far_things, _TOO_SMALL), Health("quiet zone", _quiet_zone),
        Health("filters that let through", _busy_zone), Health("own threshold", _own_threshold),
        Health("low scores", _low_scores), Health("int8", _int8), Health("other runtime", _other_runtime),
        Health("nms in the graph", _nms_in_graph),
        Health("bgr", _bgr), Health("0..255", _bytes), Health("glitch", _glitch), Health("long gop", _long_gop),
        Health("stretch ties with letterbox", _tie), Health("workstation", _workstation),
        Health("no live frames", _without_frames), Health("masked corner", _masked_corner),
        Health("nothing declared", _undeclared), Health("no reference", _without_reference), Health("file", _file),
        Health("a glimpse", _glimpse),
    )
})  # fmt: skip


# what needs no pictures of blobs
OF_NETWORKS = (
    "anything", "empty scene", "still and empty", "night, empty", "foliage", "filters that let through", "int8",
    "other runtime", "glitch", "long gop", "workstation", "no live frames", "nothing declared", "no reference", "file",
    "a glimpse",
)  # fmt: skip


def _set(rig: Rig, **changes: Any) -> Rig:
    assert rig.camera is not None
    camera: Camera = msgspec.structs.replace(rig.camera, **changes)
    return replace(rig, camera=camera, right_camera=camera)


def _noisy(values: Any, rng: Generator, noise: float) -> Pixels:
    return np.asarray(np.clip(np.rint(values + rng.normal(0, noise, values.shape)), 0, 255), np.uint8)


def _leaves(pixels: Pixels, rng: Generator) -> Pixels:
    height, width = pixels.shape[:2]
    made = pixels.copy()
    for _ in range(int(rng.integers(150, 400))):
        tone = rng.uniform(0.35, 0.75)
        colour = [float(value) for value in np.array([95, 115, 75]) * tone * rng.uniform(0.8, 1.2)]
        at = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(2, 9)), int(rng.integers(1, 4)))
        cv2.ellipse(made, at, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return _noisy(made, rng, 2.0)


def _tiny(scene: Scene, rng: Generator) -> Scene:
    """The same things, two source pixels high at most."""
    around = empty(rng, scene.name, (scene.pixels.shape[1], scene.pixels.shape[0])).pixels.copy()
    for blob in scene.blobs:
        x, y = (blob.box[0] + blob.box[2]) // 2, (blob.box[1] + blob.box[3]) // 2
        around[y : y + 2, x : x + 1] = scene.pixels[y, x]
    return Scene(scene.name, around)


__all__ = ["KINDS", "OF_NETWORKS", "Health", "rig_of", "rig_of_network"]
