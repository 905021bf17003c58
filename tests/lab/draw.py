"""Healthy rigs by seed: every head, several input conventions, sizes, layouts, and pictures of things to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.random import Generator

from camagent.config import Camera, Filter, Zone
from camagent.heads import HEADS, task_of
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest, Resize, Thresholds
from tests.lab.rig import Deployment, Rig
from tests.lab.scene import COLOURS, SIZES, Format, Scene, scene
from tests.lab.spec import ModelSpec, Op, Shape, Wanted

FAMILIES: tuple[str, ...] = ("fastestdet", "ultraface", "yolov5", "yolov8", "semantic", "classify")
NETWORKS = ((192, 192), (256, 192), (224, 160), (256, 224), (160, 192))  # width, height
_OPENABLE = ("fastestdet", "ultraface", "yolov5")
Triple = tuple[float, float, float]
T = TypeVar("T")
_COLORS: tuple[Literal["rgb", "bgr"], ...] = ("rgb", "bgr")
_RESIZES: tuple[Resize, ...] = ("letterbox", "letterbox", "stretch", "crop")

# (scale, mean, std) of trainings in the wild, in RGB order
CONVENTIONS: tuple[tuple[float, Triple, Triple], ...] = (
    (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (0.00392157, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (1.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    (1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    (1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # two that the self-test has never heard of: CIFAR's, and CLIP's
    (1 / 255, (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    (1 / 255, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
)


@dataclass(frozen=True, slots=True)
class Style:
    """What pictures of one place look like: their size, the things on them, and how many."""

    size: tuple[int, int]
    classes: tuple[str, ...]
    shape: Shape
    single: bool = False  # one thing per picture, as classifiers want it
    strangers: bool = True  # now and then something that the model may not know
    line: float | None = None


def healthy(seed: int, family: str | None = None) -> Rig:
    """A rig with nothing wrong. The same seed gives the same rig."""
    rng = np.random.default_rng((seed, 1))
    name = family or FAMILIES[int(rng.integers(len(FAMILIES)))]
    assert name in HEADS
    classes = _classes(rng, name)
    source = _one(rng, SIZES)
    right = _deployment(rng, name, classes, source, seed)
    style = Style(source, classes, right.spec.shape, single=name == "classify")
    scenes = _golden(rng, style)
    held_back = tuple(_picture(rng, f"held{k}", style) for k in range(2))
    camera: Camera | None = None
    live: tuple[Scene, ...] = ()
    if rng.random() < 0.8:
        camera = Camera(name="front", url="rtsp://127.0.0.1:8554/front", bundle=right.manifest.name)
        live = walk(rng, style)
    return Rig(
        seed=seed, name=name, right=right, deployed=right, scenes=scenes, held_back=held_back, live=live, right_camera=camera,
        camera=camera, made_by="right" if rng.random() < 0.5 else "deployed", reference=bool(rng.random() < 0.9),
    )  # fmt: skip


def with_camera(rig: Rig) -> Rig:
    """The rig, on a camera that sees something, if it has none yet."""
    if rig.camera is not None:
        return rig
    rng = np.random.default_rng((rig.seed, 2))
    camera = Camera(name="front", url="rtsp://127.0.0.1:8554/front", bundle=rig.right.manifest.name)
    return replace(rig, camera=camera, right_camera=camera, live=rig.live or walk(rng, style_of(rig)))


def style_of(rig: Rig) -> Style:
    """How the rig's own pictures look."""
    size = (rig.scenes[0].pixels.shape[1], rig.scenes[0].pixels.shape[0])
    return Style(size, rig.right.spec.classes, rig.right.spec.shape, single=rig.name == "classify")


def walk(rng: Generator, style: Style, count: int = 6) -> tuple[Scene, ...]:
    """Some moments before one camera."""
    return tuple(_picture(rng, f"live{k}", style) for k in range(count))


def permissive(camera: Camera, labels: Sequence[str]) -> Camera:
    """Filters that are set, and let everything through."""
    everywhere = Zone(name="all", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    return msgspec.structs.replace(camera, filter=Filter(labels=tuple(labels), min_area=20.0), zone=(everywhere,))


def _deployment(rng: Generator, name: str, classes: tuple[str, ...], source: tuple[int, int], seed: int) -> Deployment:
    width, height = _one(rng, NETWORKS)
    color = _one(rng, _COLORS)
    scale, mean, std = _one(rng, CONVENTIONS)
    if color == "bgr":
        mean, std = mean[::-1], std[::-1]
    layout: Literal["nchw", "nhwc"] = "nchw" if rng.random() < 0.75 else "nhwc"
    dtype: Literal["float32", "uint8"] = "uint8" if scale == 1.0 and mean[0] == 0 and rng.random() < 0.5 else "float32"
    resize = _one(rng, _RESIZES)
    spec = InputSpec(
        width=width, height=height, layout=layout, dtype=dtype, color=color, scale=scale, mean=mean, std=std, resize=resize,
        pad_value=_one(rng, (114, 114, 0, 128)), placement="center" if rng.random() < 0.7 else "top-left",
    )  # fmt: skip
    wanted = Wanted(width=width, height=height, layout=layout, dtype=dtype, color=color, scale=scale, mean=mean, std=std)
    prior = (width / source[0]) / (height / source[1]) if resize == "stretch" else 1.0
    least = float(rng.choice([0.3, 0.4, 0.5]))
    gain = float(rng.uniform(0.9, 0.99)) if rng.random() < 0.85 or name in ("classify", "semantic") else least + 0.25
    tail: tuple[Op, ...] = ()
    if name == "yolov8" and rng.random() < 0.3:
        tail += (Op("transpose"),)
    if name in ("yolov8", "yolov5", "ultraface") and rng.random() < 0.25:
        tail += (Op("int8-parts"),)
    model = ModelSpec(
        wanted=wanted, head=name, classes=classes, seed=seed, gain=gain, prior=prior, leeway=float(rng.uniform(0.3, 0.9)),
        fixed=bool(rng.random() < 0.8), tail=tail, open_outputs=bool(rng.random() < 0.1) and name in _OPENABLE,
        shape="bell" if rng.random() < 0.4 else "disc", spread=float(rng.uniform(0.025, 0.04)),
    )  # fmt: skip
    labels = labels_of(name, classes)
    manifest = Manifest(
        name=f"lab-{name}", version="1.0.0", created="2026-01-31T12:00:00Z", task=task_of(name),  # type: ignore[arg-type]
        input=spec, head=HeadSpec(name=name), thresholds=Thresholds(min_score=least), labels=labels,
        artifacts=(Artifact(path="model.bin", backend="analytic"),), files={"model.bin": 1},
    )  # fmt: skip
    return Deployment(manifest, model)


def labels_of(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The manifest's labels for a model that was trained on these colours."""
    if name == "semantic":
        return ("background", *classes)
    if name == "classify":
        return (*classes, "nothing")
    return ("thing",) if name == "ultraface" else tuple(classes)


def _classes(rng: Generator, name: str) -> tuple[str, ...]:
    count = 1 if name == "ultraface" and rng.random() < 0.6 else int(rng.integers(2, 5))
    first = _one(rng, ("red", "blue"))  # saturated ones, which an exchange of channels turns into each other
    rest = [colour for colour in COLOURS if colour != first]
    rng.shuffle(rest)
    return (first, *rest[: count - 1])


def _golden(rng: Generator, style: Style) -> tuple[Scene, ...]:
    return tuple(_picture(rng, f"picture{k}", style, every=k == 0) for k in range(int(rng.integers(1, 4))))


def _picture(rng: Generator, name: str, style: Style, *, every: bool = False) -> Scene:
    drawn = [_one(rng, style.classes) for _ in range(1 if style.single else int(rng.integers(1, 4)))]
    labels = list(style.classes) if every and not style.single else drawn
    if not style.single and style.strangers and rng.random() < 0.3:
        labels.append(_one(rng, tuple(COLOURS)))  # something that the model may not know
    format: Format = "jpeg" if rng.random() < 0.3 else "png"  # noqa: A001
    return scene(rng, name, style.size, labels, shape=style.shape, line=style.line, format=format)


def _one(rng: Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]
