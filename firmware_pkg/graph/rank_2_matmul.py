"""rank-2-matmul: what works on 1 x N x C row by row works on N x C.

Compilers for NPUs take a batch of one for a batch: a BatchMatMul with its own layout instead of a matrix product. All operators
that are connected and work on rows become rank 2 together, so that a Reshape is left only where such a region begins and ends.
"""

from __future__ import annotations

from firmware_pkg.graph import moves
from firmware_pkg.graph.network import Network, Node, Shape
from firmware_pkg.graph.passes import Change, Wishes

_UNARY = frozenset({
    "Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish",
    "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Tanh",
})  # fmt: skip
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})
_OLDEST = 13  # Softmax works on one axis, not on all behind it


def apply(network: Network, wishes: Wishes) -> Change:
    """Flattens every region of row-wise operators that has a MatMul of a batch of one."""
    del wishes
    if network.opset < _OLDEST:
        return Change(notes=(f"needs opset {_OLDEST}; the model has {network.opset}",))
    flat = _Flat(network)
    regions = flat.regions()
    for region in regions:
        flat.flatten(region)
    if regions:
        network.prune()
        moves.tidy(network)
    return Change(sum(node.type == "MatMul" for region in regions for node in region))


class _Flat:
    """Which values have a rank 2 form, and what it is called."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._rows: dict[str, str] = {}

    def rows(self, name: str) -> Shape | None:
        """(N, C) of a value 1 x .. x 1 x N x C of rank 3 or more."""
        shape = self._network.shape(name)
        if shape is None or len(shape) < 3 or 0 in shape or any(side != 1 for side in shape[:-2]):
            return None
        return shape[-2], shape[-1]

    def regions(self) -> list[list[Node]]:
        """Connected operators that all have a rank 2 form, in the graph's order; those without a MatMul are left out."""
        fitting = [node for node in self._network.nodes if self._fits(node)]
        group = {id(node): {id(node)} for node in fitting}
        for node in fitting:
            for name in node.inputs:
                maker = self._network.maker(name)
                if maker is not None and id(maker) in group and group[id(maker)] is not group[id(node)]:
                    merged = group[id(maker)] | group[id(node)]
                    for member in merged:
                        group[member] = merged
        found: dict[int, list[Node]] = {}
        for node in fitting:
            found.setdefault(min(group[id(node)]), []).append(node)
        return [region for region in found.values() if any(node.type == "MatMul" for node in region)]

    def _fits(self, node: Node) -> bool:
        if (
            len(node.outputs) != 1
            or (rows := self.rows(node.output)) is None
            or self._network.constant(node.output) is not None
        ):
            return False
        rank = len(self._network.shapes[node.output])
        if node.type == "MatMul":
            return all(self.rows(name) is not None or self._matrix(name) for name in node.inputs)
        if node.type in _UNARY:
            return self.rows(node.source) == rows
        if node.type in _BINARY:
            return all(self.rows(name) == rows or self._row_constant(name, rows) for name in node.inputs)
        if node.type == "Softmax":
            return node.attributes.get("axis", -1) in {-1, rank - 1}
        if node.type == "LayerNormalization":
            return node.attributes.get("axis", -1) in {-1, rank - 1} and self.rows(node.source) == rows
        return False

    def _matrix(self, name: str) -> bool:
        shape = self._network.shape(name)
        return shape is not None and len(shape) == 2

    def _row_constant(self, name: str, rows: Shape) -> bool:
        value = self._network.constant(name)
        return value is not None and (value.size == 1 or value.size == value.shape[-1] == rows[1])

    def flatten(self, region: list[Node]) -> None:
        """Rewrites one region; what others take of it keeps its name and shape."""
        network = self._network
        own = {id(node) for node in region}
        for node in region:
            rows = self.rows(node.output)
            assert rows is not None
            old = node.output
            outside = network.pinned(old) or any(id(taker) not in own for taker in network.takers(old))
            attributes = dict(node.attributes) | ({"axis": -1} if "axis" in node.attributes else {})
            inputs = [self._flat(name, node) for name in node.inputs]
            made = network.add(node.type, inputs, rows, like=old, **attributes)
            network.types[made] = network.types.get(old, 1)
            self._rows[old] = made
            network.remove(node)
            if outside:
                network.reshape(made, network.shapes[old], output=old)

    def _flat(self, name: str, node: Node) -> str:
        network = self._network
        if name in self._rows:
            return self._rows[name]
        if not name:
            return name
        value = network.constant(name)
        if value is not None and node.type != "MatMul":
            return name if value.ndim <= 2 else network.keep(value.reshape(value.shape[-2:]), f"{name}_rows")
        rows = self.rows(name)
        if rows is None:
            return name
        self._rows[name] = network.reshape(name, rows)
        return self._rows[name]
