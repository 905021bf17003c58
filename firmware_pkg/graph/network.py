"""An ONNX graph that passes rewrite: nodes by what they make and take, shapes, constants.

A `Network` is read from a model and written back as another one; the model that it came from is not touched. Names of inputs
and outputs stay unless a pass says otherwise. Values that a subgraph (If, Loop) reads are pinned like outputs: passes leave
them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper, shape_inference

Shape = tuple[int, ...]
Array = NDArray[Any]
_OWN = frozenset({"", "ai.onnx"})


@dataclass(eq=False, slots=True)
class Node:
    """One operator. `attributes` are Python values: int, float, str, lists, and protobuf messages for what is left.

    `type` is ONNX's own name; operators of other domains have theirs before it, so that no pass takes one for another.
    """

    type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    reads: frozenset[str] = frozenset()  # what its subgraphs take from this graph
    written: Mapping[str, AttributeProto] = field(default_factory=dict)  # as the file had them

    @property
    def output(self) -> str:
        """Its first result."""
        return self.outputs[0]

    @property
    def source(self) -> str:
        """Its first operand; empty where it has none."""
        return self.inputs[0] if self.inputs else ""

    def operand(self, index: int) -> str:
        """An operand's name; empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Network:
    """A graph under work. Passes change `nodes`, `outputs` and constants through the methods here."""

    def __init__(self, model: ModelProto) -> None:
        """Reads a model; shapes are those that ONNX's inference finds. Raises ValueError where the graph contradicts itself."""
        self.take(model)

    def take(self, model: ModelProto) -> None:
        """Becomes another model. Raises as the constructor."""
        self._model = model
        graph = model.graph
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in _OWN), default=1)
        self.nodes = [_read_node(proto) for proto in graph.node]
        self._constants: dict[str, Array] = {}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self._tensors]
        self.outputs = [value.name for value in graph.output]
        self._declared: dict[str, onnx.ValueInfoProto] = {value.name: value for value in graph.output}
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}  # TensorProto.DataType
        self._infer()
        self._taken = {name for node in self.nodes for name in (*node.inputs, *node.outputs)} | set(self._tensors)
        self._taken |= set(self.inputs) | set(self.outputs)
        self._index: tuple[dict[str, Node], dict[str, list[Node]], frozenset[str]] | None = None

    def _infer(self) -> None:
        try:
            inferred = shape_inference.infer_shapes(self._model, data_prop=True).graph
        except (shape_inference.InferenceError, RuntimeError) as exc:
            raise ValueError(f"shapes cannot be inferred: {exc}") from exc
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            kind = value.type.tensor_type
            self.types[value.name] = kind.elem_type
            if kind.HasField("shape") and all(side.HasField("dim_value") for side in kind.shape.dim):
                self.shapes[value.name] = tuple(side.dim_value for side in kind.shape.dim)
        for name, tensor in self._tensors.items():
            self.shapes[name], self.types[name] = tuple(tensor.dims), tensor.data_type

    # -- looking ------------------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[dict[str, Node], dict[str, list[Node]], frozenset[str]]:
        if self._index is None:
            makers = {name: node for node in self.nodes for name in node.outputs if name}
            takers: dict[str, list[Node]] = defaultdict(list)
            for node in self.nodes:
                for name in dict.fromkeys(node.inputs):
                    takers[name].append(node)
            pinned = frozenset(self.outputs).union(*(node.reads for node in self.nodes))
            self._index = makers, takers, pinned
        return self._index

    def changed(self) -> None:
        """To be called when nodes, operands or outputs were changed other than by a method here."""
        self._index = None

    def maker(self, name: str) -> Node | None:
        """The node that makes a value; None for inputs and constants."""
        return self._look()[0].get(name)

    def takers(self, name: str) -> list[Node]:
        """The nodes that take a value."""
        return list(self._look()[1].get(name, ()))

    def pinned(self, name: str) -> bool:
        """Whether a value is an output or is read by a subgraph: it must stay what it is."""
        return name in self._look()[2]

    def only_taker(self, name: str) -> Node | None:
        """The one node that takes a value; None for several, none, or a pinned value."""
        found = self.takers(name)
        return found[0] if len(found) == 1 and not self.pinned(name) else None

    def makes_for_one(self, name: str, kinds: Iterable[str]) -> Node | None:
        """The node of one of these types that makes a value for one taker alone."""
        node = self.maker(name)
        return node if node is not None and node.type in kinds and self.only_taker(name) is not None else None

    def shape(self, name: str) -> Shape | None:
        """A value's shape, where it is fixed."""
        return self.shapes.get(name)

    def constant(self, name: str) -> Array | None:
        """The value of an initializer or a Constant, also through Identity; None for anything else."""
        if name in self._constants:
            return self._constants[name]
        found = self._value(name)
        if found is not None:
            self._constants[name] = found
        return found

    def _value(self, name: str) -> Array | None:
        if name in self._tensors:
            return numpy_helper.to_array(self._tensors[name])
        node = self.maker(name)
        if node is None or node.domain not in _OWN:
            return None
        if node.type == "Identity":
            return self.constant(node.source)
        if node.type != "Constant":
            return None
        return next((_constant_of(key, value) for key, value in node.attributes.items()), None)

    def counts(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(node.type for node in self.nodes)

    # -- changing -----------------------------------------------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        name, number = hint, 0
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._taken.add(name)
        return name

    def keep(self, value: Array, hint: str) -> str:
        """A new constant's name."""
        name = self.fresh(hint)
        self._constants[name] = value
        self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        self.shapes[name], self.types[name] = value.shape, self._tensors[name].data_type
        return name

    def add(
        self, kind: str, inputs: Sequence[str], shape: Shape | None, *, like: str = "", output: str = "", **attributes: Any
    ) -> str:
        """A new node's result: of this shape, and of `like`'s element type (default: the first operand's)."""
        name = output or self.fresh(f"{next(filter(None, inputs), kind)}_{kind.lower()}")
        self.nodes.append(Node(kind, list(inputs), [name], attributes, name=name))
        if shape is not None:
            self.shapes[name] = shape
        self.types[name] = self.types.get(like or next(filter(None, inputs), ""), TensorProto.FLOAT)
        self.changed()
        return name

    def remove(self, node: Node) -> None:
        """Takes a node out; what it made has to have another maker, or no taker."""
        self.nodes.remove(node)
        self.changed()

    def replace(self, old: str, new: str) -> None:
        """Every taker of `old` takes `new`. An output keeps its name: `new`'s maker gets it, or an Identity where it cannot."""
        maker = self.maker(new)
        own = self.maker(old)
        if own is not None and self.pinned(old):
            own.outputs = [self.fresh(f"{old}_before") if name == old else name for name in own.outputs]
            self.changed()
            if maker is None or self.pinned(new):
                self.add("Identity", [new], self.shape(new), output=old)
                self.changed()
                return
            maker.outputs = [old if name == new else name for name in maker.outputs]
            self._rename(new, old)
        else:
            self._rename(old, new)
        self.changed()

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            if old in node.inputs:
                node.inputs = [new if name == old else name for name in node.inputs]

    def end_with(self, index: int, source: str, name: str) -> None:
        """Output number `index` is from now on the value `source`, under a name that is new."""
        maker = self.maker(source)
        self.outputs[index] = name
        self.shapes.update({name: self.shapes[source]} if source in self.shapes else {})
        self.types[name] = self.types[source]
        self.changed()
        if maker is None or self.pinned(source):
            self.add("Identity", [source], self.shape(source), output=name)
        else:
            maker.outputs = [name if other == source else other for other in maker.outputs]
            self._rename(source, name)
        self.changed()
        self.prune()

    def reshape(self, name: str, shape: Shape, *, output: str = "") -> str:
        """A value in another shape with the same numbers; the value itself where it has that shape already."""
        if self.shape(name) == shape and not output:
            return name
        if (value := self.constant(name)) is not None and not output:
            return self.keep(value.reshape(shape), f"{name}_reshaped")
        return self.add("Reshape", [name, self.keep(np.array(shape, np.int64), f"{name}_shape")], shape, output=output)

    # -- writing ------------------------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Takes out what no output needs, and puts nodes behind what they take."""
        makers = self._look()[0]
        needed: list[Node] = []
        seen: set[int] = set()
        waiting: list[tuple[Node, bool]] = [(makers[name], False) for name in reversed(self.outputs) if name in makers]
        while waiting:
            node, done = waiting.pop()
            if done:
                needed.append(node)
                continue
            if id(node) in seen:
                continue
            seen.add(id(node))
            waiting.append((node, True))
            operands = [makers[name] for name in (*node.inputs, *sorted(node.reads)) if name in makers]
            waiting += [(other, False) for other in reversed(operands) if id(other) not in seen]
        self.nodes = needed
        self.changed()

    def model(self) -> ModelProto:
        """The graph as a model of its own, without what no output needs."""
        self.prune()
        made = ModelProto()
        made.CopyFrom(self._model)
        graph = made.graph
        used = {name for node in self.nodes for name in (*node.inputs, *node.reads)} | set(self.outputs)
        kept_inputs = [value for value in graph.input if value.name in self.inputs]
        for part in (graph.node, graph.initializer, graph.value_info, graph.output, graph.input):
            del part[:]
        graph.input.extend(kept_inputs)
        graph.node.extend(_written(node) for node in self.nodes)
        graph.initializer.extend(tensor for name, tensor in self._tensors.items() if name in used)
        graph.output.extend(self._output(name) for name in self.outputs)
        return made

    def _output(self, name: str) -> onnx.ValueInfoProto:
        shape = self.shape(name)
        if name in self._declared and shape is None:
            declared: onnx.ValueInfoProto = self._declared[name]
            return declared
        made: onnx.ValueInfoProto = helper.make_tensor_value_info(name, self.types[name], shape)
        return made


def _read_node(proto: onnx.NodeProto) -> Node:
    written = {attribute.name: attribute for attribute in proto.attribute}
    reads = frozenset(name for attribute in proto.attribute for graph in _graphs(attribute) for name in _free(graph))
    kind = proto.op_type if proto.domain in _OWN else f"{proto.domain}.{proto.op_type}"
    attributes = {name: _read_attribute(attribute) for name, attribute in written.items()}
    return Node(kind, list(proto.input), list(proto.output), attributes, proto.name, proto.domain, reads, written)


def _read_attribute(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if attribute.type in {AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS} else value


def _graphs(attribute: AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.type == AttributeProto.GRAPH else []), *attribute.graphs]


def _free(graph: onnx.GraphProto) -> set[str]:
    """Names that a subgraph takes from outside."""
    own = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    own |= {name for node in graph.node for name in node.output}
    taken = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                taken |= _free(inner)
    return (taken - own) - {""}


def _constant_of(key: str, value: Any) -> Array | None:
    if key == "value":
        return numpy_helper.to_array(value)
    if key in {"value_float", "value_floats"}:
        return np.array(value, np.float32)
    return np.array(value, np.int64) if key in {"value_int", "value_ints"} else None


def _written(node: Node) -> onnx.NodeProto:
    kind = node.type if node.domain in _OWN else node.type.removeprefix(f"{node.domain}.")
    made = onnx.NodeProto(op_type=kind, input=node.inputs, output=node.outputs)
    if node.name:
        made.name = node.name
    if node.domain:
        made.domain = node.domain
    for name, value in node.attributes.items():
        old = node.written.get(name)
        if old is not None and _read_attribute(old) == value:
            made.attribute.append(old)
        else:
            made.attribute.append(helper.make_attribute(name, value))
    return made
