"""How the picture may have to be prepared instead: one inference per picture and variant. One row per assumption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from camagent.pipeline import TensorSpec
from camagent.selftest.axis_head import Variant, replaced
from firmware_pkg.manifest import InputSpec, Manifest, Triple

Zero, One = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_BYTE = 1 / 255
_DOUBLED = ("scale-doubled", "scale-not-wanted", "preprocess-also-in-graph")
_LARGER, _LARGEST = (2, 4), 1280  # pixels of a side
_FAR = 20.0  # a gain that is wrong by more than this is a wrong scale, whatever mean and std are


@dataclass(frozen=True, slots=True)
class Convention:
    """A usual way to bring 0..255 into a network: (x * scale - mean) / std, per channel R, G, B."""

    name: str
    scale: float
    mean: Triple = Zero
    std: Triple = One


# What published training code does; model cards name them so.
CONVENTIONS = (
    Convention("0..1", _BYTE),
    Convention("0..255", 1.0),
    Convention("-1..1", _BYTE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Convention("ImageNet", _BYTE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Convention("Caffe", 1.0, (123.0, 117.0, 104.0)),
    Convention("standardised / 255", 1.0, (123.675, 116.28, 103.53), (58.395 * 255, 57.12 * 255, 57.375 * 255)),
)


def norms(manifest: Manifest) -> Iterator[Variant]:
    """Other scales, means and deviations."""
    spec = manifest.input
    if spec.dtype == "uint8":
        return
    for factor in (_BYTE, 255.0):  # the deployed mean and std may be right, and only the scale be wrong
        yield _norm(manifest, f"scale x {factor:.4g}", spec.scale * factor, spec.mean, spec.std)
    for convention in CONVENTIONS:
        mean, std = (_ordered(values, spec.color) for values in (convention.mean, convention.std))
        if not _alike(spec, convention.scale, mean, std):
            yield _norm(manifest, convention.name, convention.scale, mean, std)


def colors(manifest: Manifest) -> Iterator[Variant]:
    """The other colour order; mean and std stay with their channels."""
    spec = manifest.input
    other = "rgb" if spec.color == "bgr" else "bgr"
    made = replaced(manifest, input=_spec(spec, color=other))
    yield Variant("V:rgb-bgr", "channel-order-swapped", made, f"input.color: {spec.color} -> {other}")


def placements(manifest: Manifest) -> Iterator[Variant]:
    """Other ways to fit the picture into the network's input."""
    spec = manifest.input
    for resize in ("letterbox", "stretch", "crop"):
        if resize != spec.resize:
            made = replaced(manifest, input=_spec(spec, resize=resize))
            yield Variant(f"V:resize-{resize}", "letterbox-vs-stretch", made, f"input.resize: {spec.resize} -> {resize}")
    if spec.resize != "letterbox":
        return
    corner = "top-left" if spec.placement == "center" else "center"
    made = replaced(manifest, input=_spec(spec, placement=corner))
    yield Variant("V:pad-placement", "pad-placement-wrong", made, f"input.placement: {spec.placement} -> {corner}")


def shapes(manifest: Manifest, inputs: Sequence[TensorSpec]) -> Iterator[Variant]:
    """Layouts and sizes that the model's own input allows."""
    spec = manifest.input
    candidates: list[tuple[str, str, dict[str, object]]] = [
        ("V:layout", "layout-nchw-nhwc", {"layout": "nhwc" if spec.layout == "nchw" else "nchw"}),
        ("V:swap-hw", "hw-swapped", {"width": spec.height, "height": spec.width}),
    ]
    candidates += [
        ("V:dtype", "dtype-mismatch", {"dtype": "uint8" if spec.dtype == "float32" else "float32"}),
    ]
    candidates += [
        (f"V:size x{times}", "input-size-mismatch", {"width": spec.width * times, "height": spec.height * times})
        for times in _LARGER
        if max(spec.width, spec.height) * times <= _LARGEST  # a model with free sides runs at any size, and best at its own
    ]
    for axis, cause, changes in candidates:
        made = _spec(spec, **changes)
        if made != spec and allowed(made, inputs):
            words = ", ".join(f"input.{key}: {getattr(spec, key)} -> {value}" for key, value in changes.items())
            yield Variant(axis, cause, replaced(manifest, input=made), words, guessed=cause == "input-size-mismatch")


def from_model(manifest: Manifest, inputs: Sequence[TensorSpec]) -> Variant | None:
    """The manifest's input brought into the shape and type that the model declares; None where it declares no picture."""
    if len(inputs) != 1:
        return None
    spec, model = manifest.input, inputs[0]
    shape = model.shape
    if len(shape) != 4 or model.dtype not in {"float32", "uint8"}:
        return None
    layout = "nhwc" if shape[3] == 3 and shape[1] != 3 else "nchw" if shape[1] == 3 else spec.layout
    rows, columns = (shape[1], shape[2]) if layout == "nhwc" else (shape[2], shape[3])
    made = _spec(spec, layout=layout, dtype=model.dtype, height=rows or spec.height, width=columns or spec.width)
    if made == spec:
        return None
    cause = _shape_cause(spec, made)
    words = ", ".join(
        f"input.{key}: {getattr(spec, key)} -> {getattr(made, key)}"
        for key in ("layout", "dtype", "width", "height")
        if getattr(spec, key) != getattr(made, key)
    )
    return Variant("V:from-model", cause, replaced(manifest, input=made), words)


def allowed(spec: InputSpec, inputs: Sequence[TensorSpec]) -> bool:
    """Whether the model's declared input takes this shape and type."""
    if len(inputs) != 1:
        return False
    wanted = (1, 3, spec.height, spec.width) if spec.layout == "nchw" else (1, spec.height, spec.width, 3)
    return inputs[0].takes(wanted, spec.dtype)


def layout_is_told(inputs: Sequence[TensorSpec]) -> bool:
    """Whether the model's declared input says which axis holds the channels."""
    shape = inputs[0].shape if inputs else ()
    return len(shape) == 4 and (shape[1] == 3) != (shape[3] == 3)


def _shape_cause(spec: InputSpec, made: InputSpec) -> str:
    if spec.layout != made.layout:
        return "layout-nchw-nhwc"
    if (spec.width, spec.height) == (made.height, made.width) and spec.width != spec.height:
        return "hw-swapped"
    if (spec.width, spec.height) != (made.width, made.height):
        return "input-size-mismatch"
    return "dtype-mismatch"


def _norm(manifest: Manifest, name: str, scale: float, mean: Triple, std: Triple) -> Variant:
    spec = manifest.input
    made = replaced(manifest, input=_spec(spec, scale=scale, mean=mean, std=std))
    cause, others = norm_cause(spec, scale, mean, std)
    return Variant(f"V:norm {name}", cause, made, norm_words(spec, made.input), others)


def norm_words(spec: InputSpec, made: InputSpec) -> str:
    """Both sides of a change of scale, mean and std."""
    return f"input.scale, mean, std: {_text(spec.scale, spec.mean, spec.std)} -> {_text(made.scale, made.mean, made.std)}"


def norm_cause(spec: InputSpec, scale: float, mean: Triple, std: Triple) -> tuple[str, tuple[str, ...]]:
    """Which cause a change of scale, mean and std stands for, and which others it would cure too."""
    ratio = (scale / std[0]) / (spec.scale / spec.std[0])
    only_scale = (mean, std) == (spec.mean, spec.std)
    plain = (spec.mean, spec.std) == (Zero, One)
    if ratio < 1 / _FAR:
        return "scale-missing", () if only_scale and plain else ("mean-std-wrong",)
    if ratio > _FAR:
        if only_scale or (mean, std) == (Zero, One):
            return _DOUBLED[0], _DOUBLED[1:] if plain else ("mean-std-wrong", _DOUBLED[1])
        return "mean-std-wrong", _DOUBLED[:2]
    return "mean-std-wrong", ()


def _text(scale: float, mean: Triple, std: Triple) -> str:
    numbers = (scale, *(mean if any(mean) else ()), *(std if std != One else ()))
    return "/".join(f"{value:.6g}" for value in numbers)


def _ordered(values: Triple, color: str) -> Triple:
    return values if color == "rgb" else (values[2], values[1], values[0])


def _alike(spec: InputSpec, scale: float, mean: Triple, std: Triple) -> bool:
    """Within a hundredth of the deployed numbers, on the tensor's own scale."""
    ours = [(255 * spec.scale - m) / s for m, s in zip(spec.mean, spec.std, strict=True)]
    ours += [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
    theirs = [(255 * scale - m) / s for m, s in zip(mean, std, strict=True)] + [-m / s for m, s in zip(mean, std, strict=True)]
    span = max(abs(a - b) for a, b in zip(ours[:3], ours[3:], strict=True))
    return all(abs(a - b) <= 0.01 * span for a, b in zip(ours, theirs, strict=True))


def _spec(spec: InputSpec, **changes: object) -> InputSpec:
    made: InputSpec = msgspec.structs.replace(spec, **changes)
    return made
