"""How a graph that gives a class per pixel ends: planes -> Resize -> activation -> ArgMax or threshold -> output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import TensorProto

from firmware_pkg.graph.low_resolution_head import commutes
from firmware_pkg.graph.network import Network, Node, Shape

_WRAPPERS = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"})
ACTIVATIONS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_COMPARES = frozenset({"Greater", "GreaterOrEqual"})
_CHANNELS_LAST = [0, 2, 3, 1]
_SOFTMAX_OF_ONE_AXIS = 13  # the opset; before it, Softmax took all axes behind `axis` for one


@dataclass(frozen=True, slots=True, eq=False)
class Ending:
    """The parts that there are, from the output backwards; `source` is what the first of them reads."""

    output: str  # the graph's, or whatever the choice is for
    choice: Node | None  # ArgMax, Greater, GreaterOrEqual
    threshold: float | None  # of a Greater
    activation: Node | None
    transpose: Node | None
    resize: Node | None
    source: str
    axis: int  # of the channels, in what the choice or the activation reads

    @property
    def by_pixel(self) -> bool:
        """Whether the channels are the last axis there."""
        return self.transpose is not None


def of_output(network: Network, output: str) -> Ending | None:
    """The ending before an output; None where no part of one is there, or the planes' shapes are not known."""
    name = output
    while (node := _own(network, name, _WRAPPERS, first=name == output)) is not None and _wraps(network, node):
        name = node.source
    return _parsed(network, output, name, first=name == output)


def of_choice(network: Network, choice: Node) -> Ending | None:
    """The ending up to an ArgMax or a comparison within a graph."""
    return _parsed(network, choice.output, choice.output, first=True)


def _parsed(network: Network, output: str, name: str, *, first: bool) -> Ending | None:
    """From `name` backwards. `first`: it is the output itself, so its maker may have no other taker to mind."""
    choice, threshold, axis = _own(network, name, {"ArgMax", *_COMPARES}, first=first), None, None
    if choice is not None:
        threshold = _threshold(network, choice)
        axis = _axis_of(network, choice, 0) if choice.type == "ArgMax" else None
        if choice.attributes.get("select_last_index", 0) or (choice.type != "ArgMax" and threshold is None):
            return None
        name, first = choice.source, False
    activation, axis, below = _activated(network, name, axis, first=first)
    name, first = below, first and activation is None
    transpose = _own(network, name, {"Transpose"}, first=first)
    if transpose is not None and transpose.attributes.get("perm") == _CHANNELS_LAST:
        name, first = transpose.source, False
    else:
        transpose = None
    resize = _own(network, name, {"Resize"}, first=first)
    if resize is not None and not commutes(network, resize):
        resize = None
    source = resize.source if resize is not None else name
    channels_at = 3 if transpose is not None else 1
    if not _is_planes(network, source) or axis not in {None, channels_at}:
        return None
    return Ending(output, choice, threshold, activation, transpose, resize, source, channels_at)


def _activated(network: Network, name: str, axis: int | None, *, first: bool) -> tuple[Node | None, int | None, str]:
    """(activation, the axis of the channels, what lies before it) of the value `name`; without one, what was given."""
    activation = _own(network, name, ACTIVATIONS, first=first)
    if activation is not None:
        own = axis if activation.type == "Sigmoid" else _softmax_axis(network, activation)
        if activation.type == "Sigmoid" or (own is not None and axis in {None, own}):
            return activation, own, activation.source
        return None, axis, name
    behind = _own(
        network, name, {"Transpose"}, first=first
    )  # before opset 13 exporters moved the axis to the end for a Softmax
    inner = _own(network, behind.source, ACTIVATIONS - {"Sigmoid"}, first=False) if behind is not None else None
    ahead = _own(network, inner.source, {"Transpose"}, first=False) if inner is not None else None
    if behind is None or inner is None or ahead is None:
        return None, axis, name
    there, back = ahead.attributes.get("perm"), behind.attributes.get("perm")
    own = _softmax_axis(network, inner)
    if not there or not back or own is None or [there[at] for at in back] != list(range(len(back))):
        return None, axis, name
    return (inner, there[own], ahead.source) if axis in {None, there[own]} else (None, axis, name)


def _softmax_axis(network: Network, softmax: Node) -> int | None:
    """The one axis that it works on; None where it takes several for one."""
    own, shape = _axis_of(network, softmax, -1), network.shape(softmax.source)
    last = shape is not None and own == len(shape) - 1
    return own if last or network.opset >= _SOFTMAX_OF_ONE_AXIS else None


def _is_planes(network: Network, name: str) -> bool:
    shape = network.shape(name)
    is_float = network.types.get(name) == TensorProto.FLOAT
    return shape is not None and len(shape) == 4 and shape[0] == 1 and is_float and network.constant(name) is None


def _own(network: Network, name: str, kinds: Sequence[str] | frozenset[str] | set[str], *, first: bool) -> Node | None:
    """The maker of a value, of one of these types; but for the output itself, one that nothing else takes from."""
    node = network.maker(name)
    if node is None or node.type not in kinds or len(node.outputs) != 1:
        return None
    return node if first or network.only_taker(name) is not None else None


def _wraps(network: Network, node: Node) -> bool:
    """Whether a node gives the same numbers, at most with other sides of 1 or another type."""
    before, after = network.shape(node.source), network.shape(node.output)
    return before is not None and after is not None and _real(before) == _real(after)


def _real(shape: Shape) -> list[int]:
    return [side for side in shape if side != 1]


def _axis_of(network: Network, node: Node, default: int) -> int | None:
    shape = network.shape(node.source)
    return None if shape is None else int(node.attributes.get("axis", default)) % len(shape)


def _threshold(network: Network, node: Node) -> float | None:
    value = network.constant(node.operand(1))
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def logit(probability: float) -> float:
    """The value whose sigmoid is `probability`, which lies between 0 and 1."""
    return math.log(probability / (1 - probability))


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), for values of any size."""
    return 0.5 * math.tanh(0.5 * value) + 0.5
