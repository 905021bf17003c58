"""Faults between picture and tensor."""

from __future__ import annotations

import msgspec
from numpy.random import Generator

from firmware_pkg.manifest import InputSpec
from tests.lab.inject.base import (
    exported_otherwise,
    fault,
    is_plain,
    is_raw,
    normalising,
    one,
    pick,
    retrained,
    told_wrong,
    true_too,
    with_tail,
)
from tests.lab.rig import Rig
from tests.lab.spec import Op

# a graph that normalises by itself, and a network that was trained on 0..255, are one thing from outside
_WANTS_BYTES = ("scale-doubled", "scale-not-wanted", "preprocess-also-in-graph")
_OTHER = {"rgb": "bgr", "bgr": "rgb"}
_ONE = (1.0, 1.0, 1.0)
_ZERO = (0.0, 0.0, 0.0)


@fault("channel-order-swapped", "manifest")
def _order(rig: Rig, rng: Generator) -> Rig | None:
    return told_wrong(rig, color=_OTHER[rig.right.manifest.input.color])


@fault("channel-order-swapped", "model")
def _order_in_model(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    cure = rig.deployed.with_input(color=_OTHER[spec.color], mean=spec.mean[::-1], std=spec.std[::-1])
    return exported_otherwise(rig, cure=cure, intake=(Op("reverse-channels"),))


@fault("scale-missing", "manifest")
def _no_scale(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if spec.scale > 0.1:
        return None
    made = told_wrong(rig, scale=1.0)
    if is_plain(spec):
        return made
    other = {"mean": _times(spec.mean, 255.0), "std": _times(spec.std, 255.0)}  # the same line, written in the other unit
    return true_too(made, mean_std_wrong=made.deployed.with_input(**other))


@fault("scale-doubled", "model")
def _scaled_in_model_too(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if is_raw(spec):
        return None
    cure = rig.deployed.with_input(scale=1.0, mean=_ZERO, std=_ONE)
    made = exported_otherwise(rig, cure=cure, intake=(normalising(spec),))
    return true_too(made, *_WANTS_BYTES)


@fault("scale-doubled", "manifest")
def _scaled_twice(rig: Rig, rng: Generator) -> Rig | None:
    """A scale, and the same once more as a standard deviation."""
    spec = rig.right.manifest.input
    if spec.scale > 0.1:
        return None
    made = told_wrong(rig, std=tuple(value * one(rng, (255.0, 256.0)) for value in spec.std))
    return true_too(made, "mean-std-wrong")  # that is where it was written down


@fault("scale-not-wanted", "manifest")
def _scale_unwanted(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if not is_raw(spec) or spec.dtype == "uint8":
        return None
    return true_too(told_wrong(rig, scale=one(rng, (1 / 255, 1 / 256, 1 / 127.5))), *_WANTS_BYTES)


@fault("mean-std-wrong", "forgotten")
def _mean_forgotten(rig: Rig, rng: Generator) -> Rig | None:
    """Plain 0..1 where the training standardised."""
    return None if is_plain(rig.right.manifest.input) else told_wrong(rig, scale=1 / 255, mean=_ZERO, std=_ONE)


@fault("mean-std-wrong", "of others")
def _mean_of_others(rig: Rig, rng: Generator) -> Rig | None:
    """Standardised where the training was plain."""
    spec = rig.right.manifest.input
    if not is_plain(spec) or spec.scale > 0.1:
        return None
    mean = tuple(pick(rng, 0.35, 0.6) for _ in range(3))
    return told_wrong(rig, mean=mean, std=tuple(pick(rng, 0.2, 0.5) for _ in range(3)))


@fault("mean-std-wrong", "units")
def _mean_in_other_units(rig: Rig, rng: Generator) -> Rig | None:
    """Mean and deviation of 0..255 on pixels that were scaled to 0..1, or of 0..1 on pixels that were not."""
    spec = rig.right.manifest.input
    if is_plain(spec):
        return None
    factor = 255.0 if spec.scale < 0.1 else 1 / 255
    made = told_wrong(rig, mean=_times(spec.mean, factor), std=_times(spec.std, factor))
    rescaled = made.deployed.with_input(scale=spec.scale * factor)  # the same line, written in the other unit
    if factor < 1:
        return true_too(made, scale_missing=rescaled)
    return true_too(made, scale_doubled=rescaled, scale_not_wanted=rescaled)


@fault("preprocess-also-in-graph", "arithmetic")
def _graph_normalises(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if is_plain(spec):
        return None
    cure = rig.deployed.with_input(scale=1.0, mean=_ZERO, std=_ONE)
    made = exported_otherwise(rig, cure=cure, intake=(normalising(spec),))
    return true_too(made, *_WANTS_BYTES)


@fault("preprocess-also-in-graph", "bytes")
def _graph_takes_bytes(rig: Rig, rng: Generator) -> Rig | None:
    """The graph begins with Cast and Transpose: it declares bytes, pixel by pixel."""
    spec = rig.right.manifest.input
    if spec.dtype == "uint8" or spec.layout == "nhwc":
        return None
    wanted = msgspec.structs.replace(rig.right.spec.wanted, dtype="uint8", layout="nhwc", scale=1.0, mean=_ZERO, std=_ONE)
    cure = rig.deployed.with_input(dtype="uint8", layout="nhwc", scale=1.0, mean=_ZERO, std=_ONE)
    intake = (normalising(spec),) if rig.right.spec.engine == "onnx" else ()  # the blob detector goes by `wanted`
    made = exported_otherwise(rig, cure=cure, wanted=wanted, intake=intake)
    return true_too(made, "layout-nchw-nhwc", "dtype-mismatch")  # both are wrong as well, and have to be mended


@fault("layout-nchw-nhwc", "refused")
def _layout(rig: Rig, rng: Generator) -> Rig | None:
    return told_wrong(rig, layout="nhwc" if rig.right.manifest.input.layout == "nchw" else "nchw")


@fault("layout-nchw-nhwc", "same bytes")
def _layout_same_bytes(rig: Rig, rng: Generator) -> Rig | None:
    """A runtime that takes any buffer of the right length."""
    return _layout(retrained(rig, casts=True), rng)


@fault("noncontiguous-input")
def _pointer_read(rig: Rig, rng: Generator) -> Rig | None:
    return exported_otherwise(rig, intake=(Op("pointer-read"),))


@fault("dtype-mismatch", "refused")
def _dtype(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if not is_raw(spec):
        return None
    return told_wrong(rig, dtype="uint8" if spec.dtype == "float32" else "float32")


@fault("dtype-mismatch", "truncated")
def _dtype_truncated(rig: Rig, rng: Generator) -> Rig | None:
    """The runtime makes bytes of 0..1."""
    spec = rig.right.manifest.input
    if not is_plain(spec) or spec.scale > 0.1:
        return None
    return exported_otherwise(rig, cure=rig.deployed.with_input(scale=1.0), intake=(Op("truncate"), normalising(spec)))


@fault("input-size-mismatch", "refused")
def _size(rig: Rig, rng: Generator) -> Rig | None:
    if not rig.right.spec.fixed:
        return None
    spec = rig.right.manifest.input
    return told_wrong(rig, width=spec.width + 32 * int(rng.integers(1, 9)), height=spec.height + 32 * int(rng.integers(0, 9)))


@fault("input-size-mismatch", "taken")
def _size_taken(rig: Rig, rng: Generator) -> Rig | None:
    """The graph has free dimensions and runs at any size; things are too small for it then."""
    if rig.name == "ultraface":
        return None
    made = retrained(rig, fixed=False, smallest=pick(rng, 5.0, 10.0))
    return told_wrong(made, width=one(rng, (32, 64)), height=one(rng, (32, 64)))


@fault("hw-swapped", "refused")
def _exchanged(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if spec.width == spec.height or not rig.right.spec.fixed:
        return None
    return told_wrong(rig, width=spec.height, height=spec.width)


@fault("hw-swapped", "taken")
def _exchanged_taken(rig: Rig, rng: Generator) -> Rig | None:
    """Free dimensions, and a stretch: everything is squeezed."""
    spec = rig.right.manifest.input
    if spec.width == spec.height or spec.resize != "stretch":
        return None
    made = _exchanged_in(retrained(rig, fixed=False, leeway=pick(rng, 0.12, 0.4)))
    return true_too(made, letterbox_vs_stretch=made.deployed.with_input(resize="letterbox"))


@fault("hw-swapped", "same bytes")
def _exchanged_same_bytes(rig: Rig, rng: Generator) -> Rig | None:
    """A runtime that takes any buffer of the right length reads rows at the wrong length."""
    spec = rig.right.manifest.input
    return None if spec.width == spec.height else _exchanged_in(retrained(rig, casts=True, open_outputs=True))


@fault("letterbox-vs-stretch", "manifest")
def _resize(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    choices = [mode for mode in ("letterbox", "stretch", "crop") if mode != spec.resize]
    return told_wrong(retrained(rig, leeway=pick(rng, 0.08, 0.5)), resize=one(rng, choices))


@fault("pad-placement-wrong", "manifest")
def _placement(rig: Rig, rng: Generator) -> Rig | None:
    spec = rig.right.manifest.input
    if spec.resize != "letterbox":
        return None
    return told_wrong(rig, placement="center" if spec.placement == "top-left" else "top-left")


@fault("pad-placement-wrong", "undone twice")
def _placement_undone(rig: Rig, rng: Generator) -> Rig | None:
    """The export takes the padding off its boxes by itself, and so does the agent."""
    spec, size = rig.right.manifest.input, rig.scenes[0].pixels.shape
    if spec.resize != "letterbox" or rig.name not in ("yolov5", "yolov8"):
        return None
    scale = min(spec.width / size[1], spec.height / size[0])
    x, y = (spec.width - size[1] * scale) / 2, (spec.height - size[0] * scale) / 2
    return with_tail(rig, Op("move-boxes", {"x": -x, "y": -y})) if max(x, y) >= 8 else None


@fault("aux-input-wrong")
def _second_input(rig: Rig, rng: Generator) -> Rig | None:
    return exported_otherwise(rig, extra_inputs=1)


def _exchanged_in(rig: Rig) -> Rig:
    spec: InputSpec = rig.right.manifest.input
    return told_wrong(rig, width=spec.height, height=spec.width)


def _times(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in values)
