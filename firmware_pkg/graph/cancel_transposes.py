"""cancel-transposes: chains of Transpose and Reshape become as short as they can be, and many vanish.

A MatMul over the channels between two changes of layout is a 1x1 convolution: as one it needs neither, and where a layout has
to be changed all the same, the smaller side is moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_pkg.graph import moves
from firmware_pkg.graph.network import Array, Network, Node, Shape
from firmware_pkg.graph.passes import Change, Wishes

_UNARY = frozenset({
    "Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
    "Log", "Mish", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sin", "Cos", "Softplus", "Sqrt", "Tanh", "Round", "Sign",
})  # fmt: skip
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})


def apply(network: Network, wishes: Wishes) -> Change:
    """Shortens chains, then turns MatMuls between layouts into convolutions, until nothing changes any more."""
    del wishes
    places = moves.tidy(network)
    while _rewrite_one(network):
        places += 1 + moves.tidy(network)
    return Change(places)


def _rewrite_one(network: Network) -> bool:
    for node in network.nodes:
        linear = linear_of(network, node) if node.type == "MatMul" else None
        if linear is not None and (_into_planes(network, linear) or _out_of_planes(network, linear)):
            network.prune()
            return True
    return False


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """`source @ weight + bias` over the last axis of 1 x N x C. `result`: with the bias where there is one."""

    source: str
    weight: Array  # (C, D)
    bias: Array | None  # (D,)
    result: str
    sizes: Shape  # N, C, D


def linear_of(network: Network, node: Node) -> Linear | None:
    """A MatMul with constant weights over a batch of one, and the Add of a constant behind it."""
    shape, weight = network.shape(node.source), network.constant(node.operand(1))
    if shape is None or weight is None or weight.ndim != 2 or len(shape) < 2 or int(np.prod(shape[:-2])) != 1:
        return None
    if weight.dtype != np.float32 or network.constant(node.source) is not None:
        return None
    taker = network.only_taker(node.output)
    result, bias = node.output, None
    if taker is not None and taker.type == "Add":
        other = next((name for name in taker.inputs if name != node.output), "")
        value = network.constant(other)
        if value is not None and value.size == weight.shape[1] == value.shape[-1]:
            result, bias = taker.output, value.reshape(-1)
    return Linear(node.source, weight, bias, result, (shape[-2], *weight.shape))


def _into_planes(network: Network, linear: Linear) -> bool:
    """Tokens -> MatMul -> planes: the planes are made first where that moves less."""
    cells, channels, made = linear.sizes
    chain = _movers_behind(network, linear.result)
    if not chain or channels > made:
        return False
    target = network.shape(chain[-1].output)
    if target is None or not _is_planes(network, chain, (cells, made), target):
        return False
    planes = (1, channels, *target[2:])
    source = moves.emit(network, linear.source, moves.Plan((cells, channels), (1, 0), planes))
    network.replace(chain[-1].output, pointwise(network, source, linear.weight.T, linear.bias, planes))
    return True


def _movers_behind(network: Network, name: str) -> list[Node]:
    chain = list[Node]()
    while (taker := network.only_taker(name)) is not None and taker.type in moves.MOVES:
        chain.append(taker)
        name = taker.output
    return chain


def _is_planes(network: Network, chain: list[Node], tokens: Shape, target: Shape) -> bool:
    """Whether movers make 1 x D x H x W of N x D."""
    way = moves.plan(network, chain)
    if way is None or len(target) != 4 or target[0] != 1 or target[1] != tokens[1]:
        return False
    return way.transposes and _real(way) == list(reversed(tokens))


def _real(way: moves.Plan) -> list[int]:
    """The sides that count, in the order in which they leave."""
    return [way.factors[axis] for axis in way.perm if way.factors[axis] != 1]


def _out_of_planes(network: Network, linear: Linear) -> bool:
    """Planes -> tokens -> elementwise -> MatMul: elementwise and product go first where that moves less."""
    cells, channels, made = linear.sizes
    if made > channels:
        return False
    lift = _Lift(network, cells, channels)
    source = lift.planes(linear.source)
    if source is None:
        return False
    planes = network.shapes[source]
    done = pointwise(network, source, linear.weight.T, linear.bias, planes)
    shape = network.shapes[linear.result]
    network.replace(linear.result, moves.emit(network, done, moves.Plan((made, cells), (1, 0), shape)))
    return True


class _Lift:
    """Finds the planes that tokens were made of, through elementwise operators, which are then done on the planes."""

    def __init__(self, network: Network, cells: int, channels: int) -> None:
        self._network, self._tokens = network, (cells, channels)
        self._shape: Shape | None = None
        self._made: dict[str, str] = {}

    def planes(self, name: str) -> str | None:
        """The planes' name; None, and nothing is changed, where there are none or others need what lies between."""
        inside: list[Node] = []
        if not self._possible(name, inside, 0):
            return None
        own = {id(node) for node in inside}
        for node in inside:
            others = [taker for taker in self._network.takers(node.output) if id(taker) not in own]
            if self._network.pinned(node.output) or len(others) != (node.output == name):
                return None
        return self._lifted(name)

    def _possible(self, name: str, inside: list[Node], depth: int) -> bool:
        node = self._network.maker(name)
        if node is None or depth > 32:
            return False
        if any(node is other for other in inside):
            return True
        if (source := self._source(node)) is not None:
            shape = self._network.shapes[source]
            self._shape = self._shape or shape
            inside.append(node)  # a mover that others need would be there twice
            return shape == self._shape
        if node.type not in _UNARY | _BINARY or self._network.shape(name) is None:
            return False
        inside.append(node)
        operands = [other for other in node.inputs if other and not self._fits_all(other)]
        return bool(operands) and all(self._possible(other, inside, depth + 1) for other in dict.fromkeys(operands))

    def _fits_all(self, name: str) -> bool:
        """One number, or one per channel."""
        value = self._network.constant(name)
        return value is not None and (value.size == 1 or value.size == value.shape[-1] == self._tokens[1])

    def _source(self, node: Node) -> str | None:
        """Planes 1 x C x H x W that movers make these tokens of."""
        if node.type not in moves.MOVES:
            return None
        chain = moves.chain_before(self._network, node)
        cells, channels = self._tokens
        for first in range(len(chain)):
            shape = self._network.shape(chain[first].source)
            if shape is None or len(shape) != 4 or shape[:2] != (1, channels) or shape[2] * shape[3] != cells:
                continue
            way = moves.plan(self._network, chain[first:])
            if way is not None and way.transposes and _real(way) == [cells, channels]:
                return chain[first].source
        return None

    def _lifted(self, name: str) -> str:
        if name in self._made:
            return self._made[name]
        network, node = self._network, self._network.maker(name)
        assert node is not None
        if (source := self._source(node)) is not None:
            return source
        inputs = [
            self._constant(other) if self._fits_all(other) else self._lifted(other) if other else "" for other in node.inputs
        ]
        made = network.add(node.type, inputs, self._shape, like=node.output, **node.attributes)
        network.types[made] = network.types.get(node.output, 1)
        self._made[name] = made
        return made

    def _constant(self, name: str) -> str:
        value = self._network.constant(name)
        assert value is not None
        return name if value.size == 1 and value.ndim <= 1 else self._network.keep(value.reshape(-1, 1, 1), f"{name}_planes")


def pointwise(network: Network, source: str, weight: Array, bias: Array | None, planes: Shape) -> str:
    """A 1x1 convolution of 1 x C x H x W: weight (D, C), bias (D,)."""
    kernel = network.keep(np.ascontiguousarray(weight)[:, :, None, None], f"{source}_weight")
    inputs = [source, kernel, *([network.keep(bias, f"{source}_bias")] if bias is not None else [])]
    shape = (planes[0], weight.shape[0], *planes[2:])
    return network.add("Conv", inputs, shape, kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1], group=1)
