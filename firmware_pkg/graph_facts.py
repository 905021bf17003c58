"""What an ONNX graph says of itself, read from its protobuf fields without any runtime or the onnx package.

Field numbers are those of onnx.proto. Only the structure is read, and constants of a few values; weights are passed over.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.model_file import Value, text, values, walk

Shape = tuple[int | None, ...]  # None: the exporter left it open
Nodes = Mapping[str, "Node"]

_ELEMENTS = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 16: "bfloat16",
}  # fmt: skip
_PACKED = {"float32": "f", "uint8": "B", "int8": "b", "int32": "i", "int64": "q", "float16": "e", "float64": "d"}
_FEW = 64  # values of a constant that are kept: means, deviations, factors
_DEEP = 8  # subgraphs within subgraphs
_LONG = 64  # nodes that are looked at behind an input or before an output
_EPSILON = 1e-5  # BatchNormalization's default

# change where numbers lie or what type they have, not which they are
MOVES = frozenset({
    "Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
_SIMPLE = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Exp", "Clip", "Resize", "Upsample", "Tile", "Expand"})
_NORMALISES = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
ACTIVATIONS = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax", "ArgMax", "TopK"})
_SUPPRESSIONS = ("NonMaxSuppression", "NMS", "DetectionOutput")
_OPERATOR, _GRAPH, _OPSET, _PRODUCER, _PRODUCER_VERSION = 4, 7, 8, 2, 3


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the file declares it. `scale` and `zero_point`: of 8-bit numbers that the graph makes or takes."""

    name: str
    shape: Shape
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator with the names of its operands and results."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """An operator behind the input, and its constant operands: `Div 255`."""

    type: str
    constants: tuple[float, ...] = ()
    gain: float = 1.0  # what it multiplies a picture's values with, the mean over the channels

    def __str__(self) -> str:
        return " ".join([self.type, "/".join(f"{value:.6g}" for value in self.constants)]).strip()


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """A graph from outside. `begins`: operators behind the first input, up to and with the first that is no arithmetic."""

    producer: str
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: Mapping[str, int]  # how often each type occurs, subgraphs too
    begins: tuple[Step, ...]
    endings: Mapping[str, tuple[str, ...]]  # per output: activations and 8-bit steps since the last layer

    @property
    def normalisation(self) -> tuple[Step, ...]:
        """The arithmetic at the graph's beginning: what it does to a picture by itself."""
        arithmetic = takewhile(lambda step: step.type in _NORMALISES or step.type in MOVES, self.begins)
        return tuple(step for step in arithmetic if step.type in _NORMALISES and step.constants)

    @property
    def gain(self) -> float:
        """What the graph's beginning multiplies a picture's values with; 1 where it does nothing of that kind."""
        product = 1.0
        for step in self.normalisation:
            product *= step.gain
        return product

    @property
    def suppression(self) -> str:
        """The operator that removes overlapping boxes in the graph; empty where there is none."""
        return next((name for name in self.operators if any(part in name for part in _SUPPRESSIONS)), "")


def read_graph(model: bytes) -> GraphFacts:
    """The facts of an ONNX model. Raises ManifestInvalid for bytes that are none."""
    try:
        return _facts(model)
    except (ValueError, OverflowError, struct.error) as exc:
        raise ManifestInvalid(
            f"the model is not ONNX: {exc}",
            evidence={"begins with": model[:8].hex(" ") or "nothing", "expected": "an ONNX model that has a graph"},
            fix="give an .onnx file as the exporter wrote it",
        ) from exc


def _facts(model: bytes) -> GraphFacts:
    producer, version, opset, graph = "", "", 0, None
    for number, value in walk(model):
        if number == _PRODUCER:
            producer = text(value)
        elif number == _PRODUCER_VERSION:
            version = text(value)
        elif number == _OPSET and not any(map(text, values(value, 1))):  # the domain of ONNX itself
            opset = next((int(found) for found in values(value, 2) if isinstance(found, int)), opset)
        elif number == _GRAPH:
            graph = value
    if graph is None:
        raise ValueError("it has no graph")
    constants = _constants(graph)
    nodes = [_node(value) for value in values(graph, 1)]
    inputs = tuple(found for found in map(_declared, values(graph, 11)) if found.name not in constants)
    outputs = tuple(map(_declared, values(graph, 12)))
    makers = {name: node for node in nodes for name in node.outputs}
    return GraphFacts(
        producer=f"{producer} {version}".strip(), opset=opset, operators=Counter(_types(graph, 0)),
        inputs=tuple(_quantised(one, [node for node in nodes if one.name in node.inputs], constants) for one in inputs),
        outputs=tuple(_quantised(one, [makers[one.name]] if one.name in makers else [], constants) for one in outputs),
        begins=tuple(_begins(inputs[0].name, nodes, constants)) if inputs else (),
        endings={one.name: tuple(dict.fromkeys(_ending(one.name, nodes, makers, constants))) for one in outputs},
    )  # fmt: skip


def _node(value: Value) -> Node:
    kind, inputs, outputs = "", list[str](), list[str]()
    for number, found in walk(value):
        if number == 1:
            inputs.append(text(found))
        elif number == 2:
            outputs.append(text(found))
        elif number == _OPERATOR:
            kind = text(found)
    return Node(kind, tuple(inputs), tuple(outputs))


def _types(graph: Value, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        return
    for node in values(graph, 1):
        for number, found in walk(node):
            if number == _OPERATOR:
                yield text(found)
            elif number == 5:
                for kind, inner in walk(found):
                    if kind in (6, 11):
                        yield from _types(inner, depth + 1)


def _declared(value: Value) -> Tensor:
    name, dtype, shape = "", "unknown", Shape()
    for number, found in walk(value):
        if number == 1:
            name = text(found)
        elif number == 2:
            for tensor in values(found, 1):
                dtype = next((_ELEMENTS.get(int(one), "unknown") for one in values(tensor, 1) if isinstance(one, int)), dtype)
                shape = tuple(_side(dim) for sides in values(tensor, 2) for dim in values(sides, 1))
    return Tensor(name, shape, dtype)


def _side(dimension: Value) -> int | None:
    return next((found for found in values(dimension, 1) if isinstance(found, int) and found > 0), None)


def _constants(graph: Value) -> dict[str, tuple[float, ...]]:
    """Initializers and Constant nodes by name; those of many values are empty."""
    found = {name: numbers for name, numbers in map(_tensor, values(graph, 5)) if name}
    for node in values(graph, 1):
        parts = list(walk(node))
        if any(number == _OPERATOR and text(value) == "Constant" for number, value in parts):
            tensors = [one for number, value in parts if number == 5 for one in values(value, 5)]
            for name in (text(value) for number, value in parts if number == 2):
                found[name] = _tensor(tensors[0])[1] if tensors else ()
    return found


def _tensor(value: Value) -> tuple[str, tuple[float, ...]]:
    name, kind, count, raw, packed = "", "", 1, memoryview(b""), memoryview(b"")
    for number, found in walk(value):
        if number == 1:
            for side in [found] if isinstance(found, int) else _varints(found):
                count *= side
        elif number == 2 and isinstance(found, int):
            kind = _ELEMENTS.get(found, "")
        elif number == 8:
            name = text(found)
        elif number == 9 and isinstance(found, memoryview):
            raw = found
        elif number == 4 and isinstance(found, memoryview):
            packed = found
    if kind not in _PACKED or not 0 < count <= _FEW:
        return name, ()
    data, code = (raw, _PACKED[kind]) if raw else (packed, "f")
    size = struct.calcsize(code)
    return name, tuple(map(float, struct.unpack(f"<{count}{code}", data))) if len(data) == count * size else ()


def _varints(data: memoryview) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value, shift = value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            yield value
            value = shift = 0


def _begins(name: str, nodes: list[Node], constants: Mapping[str, tuple[float, ...]]) -> Iterator[Step]:
    for _ in range(_LONG):
        takers = [node for node in nodes if name in node.inputs]
        if len(takers) != 1 or not takers[0].outputs:
            yield from (Step(node.type) for node in takers[:1])
            return
        node = takers[0]
        yield _step(node, name, constants)
        if node.type not in MOVES and node.type not in _NORMALISES:
            return
        name = node.outputs[0]


def _step(node: Node, name: str, constants: Mapping[str, tuple[float, ...]]) -> Step:
    operands = [constants.get(other, ()) for other in node.inputs if other != name]
    if node.type == "BatchNormalization" and len(operands) == 4 and all(operands):
        scale, _, mean, variance = operands
        gains = [a / (b + _EPSILON) ** 0.5 for a, b in zip(scale, variance, strict=True) if b + _EPSILON > 0]
        return Step(node.type, mean, _average(gains))
    if node.type not in _NORMALISES or len(operands) != 1 or not operands[0]:
        return Step(node.type)
    numbers = operands[0]
    if len(set(numbers)) == 1:
        numbers = numbers[:1]
    gain = 1.0
    if node.type == "Mul":
        gain = _average(numbers)
    elif node.type == "Div" and all(numbers) and node.inputs[0] == name:
        gain = _average([1 / number for number in numbers])
    return Step(node.type, numbers, gain)


def _average(numbers: Iterable[float]) -> float:
    sizes = [abs(number) for number in numbers]
    return sum(sizes) / len(sizes) if sizes else 1.0


def _ending(
    name: str, nodes: list[Node], makers: Nodes, constants: Mapping[str, tuple[float, ...]]
) -> Iterator[str]:  # fmt: skip
    """Activations and 8-bit steps between the last layer and an output, the last first. A SiLU is part of a layer."""
    waiting, seen = [name], set[str]()
    while waiting and len(seen) < _LONG:
        name = waiting.pop(0)
        node = makers.get(name)
        if node is None or name in seen or name in constants:
            continue
        seen.add(name)
        if node.type in ACTIVATIONS and not _is_silu(node, nodes):
            yield node.type
        if node.type in ("QuantizeLinear", "DequantizeLinear") or any(part in node.type for part in _SUPPRESSIONS):
            yield node.type
        if node.type in MOVES or node.type in _SIMPLE or node.type in ACTIVATIONS:
            waiting += node.inputs[:1] if node.type in ("Gather", "Slice", "Reshape", "Resize", "TopK") else node.inputs


def _is_silu(node: Node, nodes: list[Node]) -> bool:
    """Whether a sigmoid only weighs its own operand."""
    takers = [other for other in nodes if other.type == "Mul" and set(node.outputs) & set(other.inputs)]
    return node.type == "Sigmoid" and any(set(node.inputs) & set(other.inputs) for other in takers)


def _quantised(tensor: Tensor, beside: list[Node], constants: Mapping[str, tuple[float, ...]]) -> Tensor:
    for node in beside:
        if node.type in ("QuantizeLinear", "DequantizeLinear") and len(node.inputs) > 1:
            scale = constants.get(node.inputs[1], ())
            zero = constants.get(node.inputs[2], (0.0,)) if len(node.inputs) > 2 else (0.0,)
            if len(scale) == len(zero) == 1:
                return Tensor(tensor.name, tensor.shape, tensor.dtype, scale[0], int(zero[0]))
    return tensor
