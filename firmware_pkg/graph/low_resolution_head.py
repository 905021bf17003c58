"""low-resolution-head: per-pixel linear layers go before bilinear upsampling.

Interpolation takes weighted means of pixels, a 1x1 convolution of channels: either may come first. And the convolution of a
concatenation is the sum of convolutions of its parts. So where levels of a pyramid are brought to one size, concatenated and
mixed by a 1x1 convolution, every level is mixed on its own grid and only the results are brought to one size and added. What
is linear before (a 1x1 Conv, a MatMul over channels, BatchNormalization) and behind it goes into the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from firmware_pkg.graph import affine
from firmware_pkg.graph.affine import Float64, Folded, Planes
from firmware_pkg.graph.cancel_transposes import pointwise
from firmware_pkg.graph.network import Array, Network, Node, Shape
from firmware_pkg.graph.passes import Change, Wishes

_OLDEST = 11  # Resize with a coordinate mode
# weighted means whose weights do not depend on the values and sum to one
_COORDINATES = frozenset({"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"})
_PER_RESIZED = 6  # multiplications that one interpolated value is worth


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One operand of the concatenation, or the only one: where its pixels come from and which columns mix them."""

    planes: Planes
    resize: Node | None
    columns: slice  # of the mixing weights


def apply(network: Network, wishes: Wishes) -> Change:
    """Rewrites every 1x1 convolution behind upsampling for which that is less work, and every BatchNormalization there."""
    del wishes
    if network.opset < _OLDEST:
        return Change(notes=(f"needs opset {_OLDEST}; the model has {network.opset}",))
    places, done = 0, set[str]()
    while True:
        node = next((node for node in network.nodes if node.type in _ROOTS and node.output not in done), None)
        if node is None:
            return Change(places)
        done.add(node.output)
        if _ROOTS[node.type](network, node):
            network.prune()
            places += 1


def _normalised_before(network: Network, normalisation: Node) -> bool:
    """Conv -> Resize -> BatchNormalization: the last goes into the first, of whatever kernel."""
    resize = network.makes_for_one(normalisation.source, {"Resize"})
    if resize is None or not commutes(network, resize):
        return False
    conv = network.makes_for_one(resize.source, {"Conv"})
    _, channels, height, width = network.shapes[resize.output]
    step = affine.step_of(network, normalisation, Planes(normalisation.output, channels, height, width))
    if conv is None or step is None:
        return False
    weight = network.constant(conv.operand(1))
    bias = network.constant(conv.operand(2)) if conv.operand(2) else np.zeros(channels)
    if weight is None or bias is None:
        return False
    gain = np.diag(step.affine.weight)
    scaled = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
    shifted = (bias * gain + step.affine.shift).astype(weight.dtype)
    conv.inputs = [conv.source, network.keep(scaled, f"{conv.output}_weight"), network.keep(shifted, f"{conv.output}_bias")]
    network.replace(normalisation.output, resize.output)
    return True


def _rewrite(network: Network, conv: Node) -> bool:
    """False, and nothing is changed, where it does not fit or would be more work."""
    mix, shape = affine.of_conv(network, conv), network.shape(conv.output)
    if mix is None or shape is None or len(shape) != 4 or shape[0] != 1:
        return False
    parts = _parts(network, conv.source)
    if not any(part.resize for part in parts):
        return False
    now = shape[2] * shape[3] * mix.weight.size + _interpolation(parts, [part.planes.channels for part in parts], shape)
    mix, result = affine.behind(network, conv.output, mix)
    folded = [affine.before(network, part.planes, mix.columns(part.columns)) for part in parts]
    now += sum(one.replaces for one in folded)
    if _work(parts, folded, shape) >= now:
        return False
    bias = mix.shift + sum((one.affine.shift for one in folded), np.zeros(len(mix.shift)))
    network.replace(result, _sum(network, parts, folded, bias, shape))
    return True


def _parts(network: Network, source: str) -> list[_Part]:
    """The operands of the Concat that makes `source`, or `source` itself; none where their shapes are not known."""
    concat = network.makes_for_one(source, {"Concat"})
    joins = concat is not None and concat.attributes.get("axis") in {1, -3}
    names = concat.inputs if concat is not None and joins else [source]
    parts, first = list[_Part](), 0
    for name in names:
        shape = network.shape(name)
        if shape is None or len(shape) != 4 or shape[0] != 1:
            return []
        resize = network.makes_for_one(name, {"Resize"}) if names.count(name) == 1 else None
        if resize is not None and not commutes(network, resize):
            resize = None
        inner = resize.source if resize is not None else name
        _, channels, height, width = network.shapes[inner]
        parts.append(_Part(Planes(inner, channels, height, width), resize, slice(first, first + channels)))
        first += channels
    return parts


def commutes(network: Network, resize: Node) -> bool:
    """Whether a Resize enlarges planes by fixed weighted means that leave constants what they are."""
    get = resize.attributes.get
    before, after = network.shape(resize.source), network.shape(resize.output)
    if (
        before is None
        or after is None
        or len(before) != 4
        or before[:2] != after[:2]
        or network.constant(resize.source) is not None
    ):
        return False
    linear = get("mode", "nearest") == "linear" and get("coordinate_transformation_mode", "half_pixel") in _COORDINATES
    plain = not get("antialias", 0) and not get("exclude_outside", 0) and get("axes") is None
    stretched = get("keep_aspect_ratio_policy", "stretch") == "stretch"
    larger = after[2] >= before[2] and after[3] >= before[3]
    return linear and plain and stretched and larger and _target(network, resize, after[1]) is not None


def _target(network: Network, resize: Node, channels: int) -> tuple[str, Array] | None:
    """("scales" or "sizes", their values for this many channels), where they are constants."""
    scales = network.constant(resize.operand(2)) if resize.operand(2) else None
    if scales is not None and scales.size == 4:
        return "scales", scales
    sizes = network.constant(resize.operand(3)) if resize.operand(3) else None
    if sizes is None or sizes.size != 4:
        return None
    sizes = sizes.copy()
    sizes[1] = channels
    return "sizes", sizes


def _resized(network: Network, source: str, resize: Node, shape: Shape) -> str:
    """`source`, of other channels, enlarged as `resize` does; itself where that changes nothing."""
    if network.shapes[source][2:] == shape[2:]:
        return source
    target = _target(network, resize, shape[1])
    assert target is not None
    kind, values = target
    given = network.keep(values, f"{source}_{kind}")
    inputs = [source, "", given] if kind == "scales" else [source, "", "", given]
    if network.opset < 13:  # regions of interest could not be left out yet
        inputs[1] = network.keep(np.zeros(0, np.float32), f"{source}_roi")
        if kind == "sizes":
            inputs[2] = network.keep(np.zeros(0, np.float32), f"{source}_scales")
    return network.add("Resize", inputs, shape, **resize.attributes)


def _sum(network: Network, parts: Sequence[_Part], folded: Sequence[Folded], bias: Float64, shape: Shape) -> str:
    """Each part mixed on its own grid, enlarged, and added. The bias goes in once: a mean of equal numbers is that number."""
    total = ""
    for one, resize in _terms(network, parts, folded):
        source = affine.picture(network, one.planes)
        added = None if total else bias.astype(np.float32)
        made = pointwise(network, source, one.affine.weight.astype(np.float32), added, one.planes.shape)
        if resize is not None:
            made = _resized(network, made, resize, shape)
        total = network.add("Add", [total, made], shape) if total else made
    return total


def _terms(network: Network, parts: Sequence[_Part], folded: Sequence[Folded]) -> list[tuple[Folded, Node | None]]:
    """The summands, the smallest grid first; what lies on the large grid as it is stays one concatenation."""
    pairs = list(zip(parts, folded, strict=True))
    as_it_is = [one for part, one in pairs if part.resize is None and not one.replaces]
    terms = [(one, part.resize) for part, one in pairs if one not in as_it_is]
    if len(as_it_is) > 1:
        first = as_it_is[0].planes
        channels = sum(one.planes.channels for one in as_it_is)
        joined = network.add("Concat", [one.planes.name for one in as_it_is], (1, channels, first.height, first.width), axis=1)
        weight = np.concatenate([one.affine.weight for one in as_it_is], axis=1)
        planes = Planes(joined, channels, first.height, first.width)
        as_it_is = [Folded(planes, affine.Affine(weight, np.zeros(len(weight))))]
    terms += [(one, None) for one in as_it_is]
    return sorted(terms, key=lambda term: term[0].planes.pixels)


def _interpolation(parts: Sequence[_Part], channels: Sequence[int], shape: Shape) -> int:
    """What enlarging costs, in multiplications."""
    pixels = shape[2] * shape[3]
    enlarged = [count for part, count in zip(parts, channels, strict=True) if part.resize and part.planes.pixels != pixels]
    return sum(enlarged) * pixels * _PER_RESIZED


def _work(parts: Sequence[_Part], folded: Sequence[Folded], shape: Shape) -> int:
    """Multiplications of the rewritten form, interpolation and sums included."""
    products = sum(one.affine.weight.size * one.planes.pixels for one in folded)
    return products + _interpolation(parts, [shape[1]] * len(parts), shape) + (len(parts) - 1) * shape[1] * shape[2] * shape[3]


_ROOTS: Mapping[str, Callable[[Network, Node], bool]] = MappingProxyType(
    {"Conv": _rewrite, "BatchNormalization": _normalised_before}
)
