"""The tensor of the day the bundle was built tells how it was made: colour order, scale, mean, deviation and placement.

No inference: the picture is prepared in every geometry, plain, and each channel of the stored tensor is held against it. Where
they lie on a straight line, its slope and offset are the contract of that day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.pipeline import prepare
from camagent.selftest import axis_input
from camagent.selftest.axis_head import Further, Variant, replaced
from camagent.selftest.known import Known
from firmware_pkg.manifest import InputSpec, Manifest, Triple

_STRAIGHT = 0.995  # correlation of a channel with the channel it was made from; decoders and scalers differ a little
_SAME = 0.02  # of the stored tensor's range: closer than this is the contract in force


def variants(manifest: Manifest, known: Sequence[Known]) -> Iterator[Variant]:
    """The contract that made the stored tensor, where it is another one than the one in force."""
    picture = next((one for one in known if one.reference is not None and one.expect), None)
    if picture is None or picture.reference is None:
        return
    stored = np.asarray(picture.reference.input, np.float32)
    spec = manifest.input
    if stored.ndim != 4 or _alike(prepare(picture.frame, spec).tensor, stored):
        return
    for made in _geometries(spec, stored):
        fitted = _fit(made, stored, picture)
        if fitted is not None:
            yield _variant(manifest, fitted)
            return


def _alike(now: NDArray[Any], stored: NDArray[np.float32]) -> bool:
    if now.shape != stored.shape:
        return False
    span = float(np.ptp(stored)) or 1.0
    return float(np.abs(np.asarray(now, np.float32) - stored).mean()) <= _SAME * span


def _geometries(spec: InputSpec, stored: NDArray[np.float32]) -> Iterator[InputSpec]:
    """Plain RGB in the stored tensor's shape, fitted in every way; the way that is in force first."""
    planar = stored.shape[1] == 3
    height, width = stored.shape[2:] if planar else stored.shape[1:3]
    plain = msgspec.structs.replace(
        spec, width=int(width), height=int(height), layout="nchw" if planar else "nhwc", dtype="float32", color="rgb",
        scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    )  # fmt: skip
    ways = [(spec.resize, spec.placement)]
    ways += [("letterbox", "center"), ("letterbox", "top-left"), ("stretch", "center"), ("crop", "center")]
    for resize, placement in dict.fromkeys(ways):
        yield msgspec.structs.replace(plain, resize=resize, placement=placement)


def _fit(plain: InputSpec, stored: NDArray[np.float32], picture: Known) -> InputSpec | None:
    pixels = np.asarray(prepare(picture.frame, plain).tensor, np.float32)
    axis = 1 if plain.layout == "nchw" else 3
    channels = [np.take(pixels, index, axis).reshape(-1) for index in range(3)]
    wanted = [np.take(stored, index, axis).reshape(-1) for index in range(3)]
    for color, order in (("rgb", (0, 1, 2)), ("bgr", (2, 1, 0))):
        pairs = [(channels[source], target) for source, target in zip(order, wanted, strict=True)]
        if all(np.ptp(one) and np.ptp(two) and np.corrcoef(one, two)[0, 1] >= _STRAIGHT for one, two in pairs):
            lines = [np.polyfit(one, two, 1) for one, two in pairs]
            slopes, offsets = zip(*((float(slope), float(offset)) for slope, offset in lines), strict=True)
            made: InputSpec = msgspec.structs.replace(plain, color=color, **_numbers(slopes, offsets))
            return made
    return None


def _numbers(slopes: Sequence[float], offsets: Sequence[float]) -> dict[str, Any]:
    """Slope and offset per channel as scale, mean and std; one scale for all, the rest in std."""
    scale = float(np.mean(slopes))
    std = tuple(round(scale / slope, 3) for slope in slopes)
    mean = tuple(-offset * deviation for offset, deviation in zip(offsets, std, strict=True))
    tiny = 0.01 * 255 * abs(scale)
    clean: Triple = tuple(0.0 if abs(value) < tiny else round(value, 4) for value in mean)  # type: ignore[assignment]
    return {"scale": float(f"{scale:.6g}"), "mean": clean, "std": std}


def _variant(manifest: Manifest, fitted: InputSpec) -> Variant:
    """What differs, as causes; numbers that already agree are left as they are written."""
    spec = manifest.input
    if _close(spec, fitted):
        fitted = msgspec.structs.replace(fitted, scale=spec.scale, mean=spec.mean, std=spec.std)
    fitted = msgspec.structs.replace(fitted, dtype=spec.dtype, pad_value=spec.pad_value)
    found: list[Further] = []
    if fitted.layout != spec.layout:
        found.append(Further("layout-nchw-nhwc", f"input.layout: {spec.layout} -> {fitted.layout}"))
    if (fitted.width, fitted.height) != (spec.width, spec.height):
        sizes = f"input size: {spec.width}x{spec.height} -> {fitted.width}x{fitted.height}"
        turned = (fitted.width, fitted.height) == (spec.height, spec.width)
        found.append(Further("hw-swapped" if turned else "input-size-mismatch", sizes))
    if fitted.color != spec.color:
        found.append(Further("channel-order-swapped", f"input.color: {spec.color} -> {fitted.color}"))
    others: tuple[str, ...] = ()
    if not _close(spec, fitted):
        cause, others = axis_input.norm_cause(spec, fitted.scale, fitted.mean, fitted.std)
        found.append(Further(cause, axis_input.norm_words(spec, fitted)))
    if fitted.resize != spec.resize:
        found.append(Further("letterbox-vs-stretch", f"input.resize: {spec.resize} -> {fitted.resize}"))
    elif fitted.placement != spec.placement:
        found.append(Further("pad-placement-wrong", f"input.placement: {spec.placement} -> {fitted.placement}"))
    first = found[0] if found else Further("mean-std-wrong", "input as in the stored tensor")
    words = "; ".join(one.words for one in found) or first.words
    made = replaced(manifest, input=fitted)
    return Variant("V:as-stored", first.cause, made, words, others if len(found) <= 1 else (), tuple(found[1:]), measured=True)


def _close(spec: InputSpec, fitted: InputSpec) -> bool:
    """The same straight line, within a hundredth of its span."""
    for index in range(3):
        ends = [[(value * one.scale - one.mean[index]) / one.std[index] for value in (0.0, 255.0)] for one in (spec, fitted)]
        span = abs(ends[1][1] - ends[1][0])
        if any(abs(a - b) > 0.015 * span for a, b in zip(*ends, strict=True)):
            return False
    return True
