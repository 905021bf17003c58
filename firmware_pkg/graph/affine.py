"""Operators that do the same to every pixel and mix its channels linearly, as one matrix and one vector.

Products of weights are formed in float64, so that folding adds no more than the one rounding of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from firmware_pkg.graph import moves
from firmware_pkg.graph.network import Array, Network, Node, Shape

Float64 = NDArray[np.float64]
_EPSILON = 1e-5  # BatchNormalization's default


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """channels -> weight @ channels + shift; weight (D, C), shift (D,)."""

    weight: Float64
    shift: Float64

    def columns(self, part: slice) -> Affine:
        """What some of the channels contribute, without the shift."""
        return Affine(self.weight[:, part], np.zeros(len(self.shift)))

    def after(self, first: Affine) -> Affine:
        """`first`, then this."""
        return Affine(self.weight @ first.weight, self.weight @ first.shift + self.shift)


@dataclass(frozen=True, slots=True)
class Planes:
    """A value with `channels` numbers for every pixel of a grid, channel by channel or pixel by pixel, in whatever shape."""

    name: str
    channels: int
    height: int
    width: int
    by_pixel: bool = False

    @property
    def pixels(self) -> int:
        """Of the grid."""
        return self.height * self.width

    @property
    def shape(self) -> Shape:
        """As an operator on pictures wants it."""
        return 1, self.channels, self.height, self.width


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """Where pixels come from, all that is done to them, and how many multiplications of the old graph that replaces."""

    planes: Planes
    affine: Affine
    replaces: int = 0


class Step(NamedTuple):
    """One operator as `affine` of what `source` holds; `work` in multiplications per pixel."""

    affine: Affine
    source: str
    work: int


def before(network: Network, planes: Planes, mix: Affine) -> Folded:
    """Follows pixels to where they come from, through layouts and linear operators that nothing else needs."""
    best = Folded(planes, mix)
    here, total, replaced, ours = planes, mix, 0, True
    while (node := network.maker(here.name)) is not None and network.constant(here.name) is None:
        ours = ours and network.only_taker(here.name) is not None
        source = _moved(network, node, here)
        if source is not None:
            here = source
            if not _is_picture(network, best.planes) and _is_picture(network, here):
                best = Folded(here, total, replaced)
            continue
        step = step_of(network, node, here) if ours else None
        if step is None:
            break
        made, middle = total.weight.shape
        taken = step.affine.weight.shape[1]
        if made * taken > made * middle + middle * taken:  # a bottleneck is cheaper as it is
            break
        total, replaced = total.after(step.affine), replaced + step.work * here.pixels
        here = Planes(step.source, taken, here.height, here.width, here.by_pixel)
        best = Folded(here, total, replaced)
    return best


def behind(network: Network, name: str, mix: Affine) -> tuple[Affine, str]:
    """`mix` with the per-channel arithmetic behind it that nothing else needs, and the name of the last result."""
    shape = network.shapes[name]
    while (node := network.only_taker(name)) is not None and node.type in _PER_CHANNEL:
        here = Planes(node.output, shape[1], shape[2], shape[3])
        step = step_of(network, node, here)
        if step is None or step.source != name:
            break
        mix, name = step.affine.after(mix), node.output
    return mix, name


def picture(network: Network, planes: Planes) -> str:
    """The value as 1 x C x H x W."""
    if _is_picture(network, planes):
        return planes.name
    if planes.by_pixel:
        return moves.emit(network, planes.name, moves.Plan((planes.pixels, planes.channels), (1, 0), planes.shape))
    return network.reshape(planes.name, planes.shape)


def of_conv(network: Network, node: Node) -> Affine | None:
    """A 1x1 convolution with constant weights; None for anything else."""
    get = node.attributes.get
    weight = network.constant(node.operand(1))
    bias = network.constant(node.operand(2)) if node.operand(2) else None
    if node.type != "Conv" or weight is None or weight.shape[2:] != (1, 1) or (node.operand(2) and bias is None):
        return None
    plain = get("group", 1) == 1 and set(get("strides") or [1]) == {1} and set(get("pads") or [0]) == {0}
    if not plain or network.types.get(node.output) != TensorProto.FLOAT:
        return None
    return Affine(weight[:, :, 0, 0].astype(np.float64), _vector(bias, weight.shape[0]))


def _is_picture(network: Network, planes: Planes) -> bool:
    return not planes.by_pixel and network.shape(planes.name) == planes.shape


def _vector(value: Array | None, size: int) -> Float64:
    return np.zeros(size) if value is None else np.broadcast_to(value.astype(np.float64).reshape(-1), size)


def _moved(network: Network, node: Node, here: Planes) -> Planes | None:
    """What a mover made these pixels of, in its layout; None where it is none, or mixes rows with channels."""
    if node.type not in moves.MOVES or (way := moves.plan(network, [node])) is None:
        return None
    by_pixel = here.by_pixel
    if way.transposes:
        leaving = [way.factors[axis] for axis in way.perm if way.factors[axis] != 1]
        if leaving != ([here.pixels, here.channels] if by_pixel else [here.channels, here.pixels]):
            return None
        by_pixel = not by_pixel
    return Planes(node.source, here.channels, here.height, here.width, by_pixel)


def step_of(network: Network, node: Node, here: Planes) -> Step | None:
    """A linear operator whose result is `here`; None for any other."""
    reader = _READERS.get(node.type)
    if reader is None or len(node.outputs) != 1 or network.types.get(node.output) != TensorProto.FLOAT:
        return None
    return reader(network, node, here)


def _conv(network: Network, node: Node, here: Planes) -> Step | None:
    affine = of_conv(network, node)
    if affine is None or not _is_picture(network, here):
        return None
    return Step(affine, node.source, affine.weight.size)


def _normalisation(network: Network, node: Node, here: Planes) -> Step | None:
    constants = [network.constant(name) for name in node.inputs[1:5]]
    if (
        here.by_pixel
        or len(constants) != 4
        or node.attributes.get("training_mode", 0)
        or not _channels_second(network, node, here)
    ):
        return None
    vectors = [value.astype(np.float64) for value in constants if value is not None]
    if len(vectors) != 4:
        return None
    scale, shift, mean, variance = vectors
    gain = scale / np.sqrt(variance + node.attributes.get("epsilon", _EPSILON))
    return Step(Affine(np.diag(gain), shift - gain * mean), node.source, here.channels)


def _channels_second(network: Network, node: Node, here: Planes) -> bool:
    shape = network.shape(node.output)
    return shape is not None and len(shape) > 2 and shape[:2] == (1, here.channels)


def _product(network: Network, node: Node, here: Planes) -> Step | None:
    """A MatMul over the channels, or a Gemm."""
    weight, shape = network.constant(node.operand(1)), network.shape(node.output)
    if not here.by_pixel or weight is None or weight.ndim != 2 or shape is None or shape[-1] != here.channels:
        return None
    get = node.attributes.get
    bias = None
    if node.type == "Gemm":
        if get("transA", 0) or get("alpha", 1.0) != 1 or get("beta", 1.0) != 1:
            return None
        weight = weight.T if get("transB", 0) else weight
        bias = network.constant(node.operand(2)) if node.operand(2) else None
        if node.operand(2) and (bias is None or bias.size not in {1, here.channels} or bias.size != bias.shape[-1]):
            return None
    return Step(Affine(weight.T.astype(np.float64), _vector(bias, here.channels)), node.source, weight.size)


def _arithmetic(network: Network, node: Node, here: Planes) -> Step | None:
    """Add, Sub, Mul or Div with a number, or one per channel."""
    constants = [network.constant(name) for name in node.inputs]
    index = next((index for index, value in enumerate(constants) if value is not None), None)
    if index is None or len(constants) != 2 or (index == 0 and node.type in {"Sub", "Div"}):
        return None
    source, value = node.inputs[1 - index], constants[index]
    shape = network.shape(node.output)
    if value is None or shape is None or network.shape(source) != shape or not _per_channel(value, shape, here):
        return None
    vector = _vector(value, here.channels)
    one, zero = np.ones(here.channels), np.zeros(here.channels)
    gain = {"Mul": vector, "Div": 1 / vector}.get(node.type, one) if node.type in {"Mul", "Div"} else one
    shift = {"Add": vector, "Sub": -vector}.get(node.type, zero)
    return Step(Affine(np.diag(gain), shift), source, here.channels)


def _per_channel(value: Array, shape: Shape, here: Planes) -> bool:
    if value.size == 1:
        return value.ndim <= len(shape)
    aligned = (1,) * (len(shape) - value.ndim) + value.shape
    axis = len(shape) - 1 if here.by_pixel else 1
    return value.size == here.channels and len(aligned) == len(shape) > axis and aligned[axis] == shape[axis] == here.channels


_READERS: dict[str, Callable[[Network, Node, Planes], Step | None]] = {
    "Conv": _conv, "BatchNormalization": _normalisation, "MatMul": _product, "Gemm": _product,
    "Add": _arithmetic, "Sub": _arithmetic, "Mul": _arithmetic, "Div": _arithmetic,
}  # fmt: skip
_PER_CHANNEL = frozenset({"BatchNormalization", "Add", "Sub", "Mul", "Div"})
