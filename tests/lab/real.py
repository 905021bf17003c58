"""Rigs of three small networks that nobody here made, with pictures and clips of ../shared/data. Skipped where these are not.

The networks run inside the analytic backend, so that whatever an export or a runtime can do wrong can be done to them as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import av
import cv2
import msgspec
import numpy as np
from numpy.random import Generator

from camagent.config import Camera
from camagent.heads import task_of
from camagent.labels import COCO80
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest, Thresholds
from tests.lab.inject.base import ABOUT_BLOBS
from tests.lab.rig import Deployment, Rig, look, scene_frame
from tests.lab.scene import Pixels, Scene
from tests.lab.spec import ModelSpec, Wanted
from tests.support.data import SHARED

_LONGEST = 640  # pixels of a picture's longer side
_CLIP = "video/one-by-one-person-detection.mp4"
_EVERY, _MOMENTS = 60, 24  # frames of the clip, and how many are looked at


@dataclass(frozen=True, slots=True)
class Network:
    """One model file and its card."""

    file: str
    head: str
    input: InputSpec
    labels: tuple[str, ...]
    min_scores: tuple[float, ...]
    golden: tuple[str, ...]  # pictures with things that it knows
    live: tuple[str, ...] = ()  # pictures for the camera; none: the clip


NETWORKS = MappingProxyType({
    "FastestDet": Network(
        "models/FastestDet.onnx", "fastestdet", InputSpec(width=352, height=352, color="bgr", scale=1 / 255, resize="stretch"),
        COCO80, (0.5, 0.55, 0.65), ("bus", "street", "coco_0", "coco_1", "coco_2", "coco_4"),
    ),
    "UltraFace": Network(
        "models/ultraface-RFB-320.onnx", "ultraface",
        InputSpec(width=320, height=240, color="rgb", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), resize="stretch"),
        ("face",), (0.6, 0.7), ("faces", "portrait"), ("faces", "portrait"),
    ),
    "SINet": Network(
        "models/SINet.onnx", "semantic",
        InputSpec(width=320, height=320, color="bgr", mean=(102.890434, 111.25247, 126.91212),
                  std=(16047.8946, 16019.4519, 16920.704775), resize="stretch"),
        ("background", "person"), (0.5,), ("portrait",), ("portrait",),
    ),
})  # fmt: skip


def missing() -> str:
    """Why these rigs cannot be built here; "" where they can."""
    names = [network.file for network in NETWORKS.values()] + [_CLIP]
    names += [f"images/{name}.jpg" for network in NETWORKS.values() for name in network.golden]
    absent = [name for name in names if not (SHARED / name).is_file()]
    return f"not here: {', '.join(absent)}" if absent else ""


def healthy(seed: int, name: str) -> Rig:
    """A rig with nothing wrong: pictures cut and exposed a little otherwise every time."""
    rng = np.random.default_rng((seed, 3, *name.encode()))
    network = NETWORKS[name]
    right = _deployment(network, float(rng.choice(network.min_scores)))
    names = [str(one) for one in rng.permutation(network.golden)]
    shown = names[: min(len(names), int(rng.integers(1, 4)))]
    rest = [one for one in names if one not in shown] or names
    scenes = tuple(_taken(rng, f"picture{k}", _picture(one)) for k, one in enumerate(shown))
    held_back = tuple(_taken(rng, f"held{k}", _picture(rest[k % len(rest)])) for k in range(2))
    camera: Camera | None = None
    live = walk(rng, network)
    if rng.random() < 0.8:
        camera = Camera(name="front", url="rtsp://127.0.0.1:8554/front", bundle=right.manifest.name)
    return Rig(
        seed=seed, name=network.head, right=right, deployed=right, scenes=scenes, held_back=held_back, live=live,
        right_camera=camera, camera=camera, made_by="right" if rng.random() < 0.5 else "deployed",
        reference=bool(rng.random() < 0.9),
    )  # fmt: skip


def walk(rng: Generator, network: Network) -> tuple[Scene, ...]:
    """Six moments before one camera, something on every one of them."""
    if network.live:
        return tuple(_taken(rng, f"live{k}", _picture(str(rng.choice(network.live)))) for k in range(6))
    moments = rng.permutation(len(_moments()))[:6]
    return tuple(Scene(f"live{k}", _moments()[int(index)], format="jpeg") for k, index in enumerate(moments))


def possible(before: Rig, after: Rig) -> bool:
    """Whether what was done to a rig can be done to a real network; what only the blob detector has, cannot."""
    pairs = ((before.right.spec, after.right.spec), (before.right.spec, after.deployed.spec))
    return all(getattr(one, name) == getattr(two, name) for one, two in pairs for name in ABOUT_BLOBS)


def _deployment(network: Network, least: float) -> Deployment:
    spec = network.input
    wanted = Wanted(width=spec.width, height=spec.height, layout=spec.layout, dtype=spec.dtype, color=spec.color)
    model = ModelSpec(wanted=wanted, head=network.head, engine="onnx", path=str(SHARED / network.file))
    manifest = Manifest(
        name=f"real-{network.head}", version="1.0.0", created="2026-01-31T12:00:00Z", task=task_of(network.head),  # type: ignore[arg-type]
        input=msgspec.structs.replace(spec), head=HeadSpec(name=network.head), thresholds=Thresholds(min_score=least),
        labels=network.labels, artifacts=(Artifact(path="model.bin", backend="analytic"),), files={"model.bin": 1},
    )  # fmt: skip
    return Deployment(manifest, model)


def _taken(rng: Generator, name: str, pixels: Pixels) -> Scene:
    """The picture from a little nearer, a little to the side, a little darker or brighter."""
    height, width = pixels.shape[:2]
    share = rng.uniform(0.86, 1.0)
    inner = (int(width * share), int(height * share))
    x, y = int(rng.integers(0, width - inner[0] + 1)), int(rng.integers(0, height - inner[1] + 1))
    cut = pixels[y : y + inner[1], x : x + inner[0]].astype(np.float32) * rng.uniform(0.9, 1.08)
    return Scene(name, np.ascontiguousarray(np.clip(cut, 0, 255).astype(np.uint8)), format="jpeg")


@cache
def _picture(name: str) -> Pixels:
    coded = cv2.imread(str(SHARED / "images" / f"{name}.jpg"))
    assert coded is not None, name
    scale = min(1.0, _LONGEST / max(coded.shape[:2]))
    small = cv2.resize(coded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, :, ::-1], np.uint8)


@cache
def _moments() -> Sequence[Pixels]:
    """Frames of the clip on which the network sees somebody, spread over it."""
    kept: list[Pixels] = []
    network = NETWORKS["FastestDet"]
    right = _deployment(network, max(network.min_scores))
    with av.open(str(SHARED / _CLIP)) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index % _EVERY == 0 and _sees(right, pixels := np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)):
                kept.append(pixels)
            if len(kept) >= _MOMENTS:
                break
    assert kept
    return tuple(kept)


def _sees(right: Deployment, pixels: Pixels) -> bool:
    return bool(look(right, None, [scene_frame(Scene("moment", pixels, format="jpeg"))])[0])
