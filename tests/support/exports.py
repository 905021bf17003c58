"""Real networks exported with another ending: nodes appended to their graph, as other exporters and quantisers append them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Ending:
    """Nodes and constants that are appended, and the outputs that the model then has: name -> shape."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    outputs: dict[str, Sequence[int]] = field(default_factory=dict)

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


Build = Callable[[Ending, Sequence[str]], None]


def export(model: Path, build: Build, target: Path) -> Path:
    """The model with another ending."""
    made = onnx.load(str(model))
    ending = Ending()
    build(ending, [output.name for output in made.graph.output])
    made.graph.node.extend(ending.nodes)
    made.graph.initializer.extend(ending.constants)
    del made.graph.output[:]
    made.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ending.outputs.items()
    )
    onnx.save(made, str(target))
    return target


def prepended(model: Path, operators: Sequence[tuple[str, Any]], target: Path) -> Path:
    """The model with arithmetic before its first layer, as exporters put normalisation into a graph: (`Div`, 255)."""
    made = onnx.load(str(model))
    source, nodes = made.graph.input[0].name, list[Any]()
    name = source
    for index, (kind, constant) in enumerate(operators):
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), f"before constant {index}"))
        nodes.append(helper.make_node(kind, [name, f"before constant {index}"], [f"before {index}"]))
        name = f"before {index}"
    for node in made.graph.node:
        node.input[:] = [name if operand == source else operand for operand in node.input]
    rest = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*nodes, *rest])
    onnx.save(made, str(target))
    return target


Part = Callable[[Ending, str], str]


def _on_parts(**changes: Part) -> Build:
    """FastestDet's objectness, boxes and classes changed one by one."""

    def build(ending: Ending, outputs: Sequence[str]) -> None:
        axis = ending.constant("axis", np.array([1], np.int64))
        parts = []
        for name, start, stop in (("objectness", 0, 1), ("boxes", 1, 5), ("classes", 5, 85)):
            first, last = (
                ending.constant(f"{name}{index}", np.array([at], np.int64)) for index, at in enumerate((start, stop))
            )
            part = ending.add("Slice", [outputs[0], first, last, axis], name)
            parts.append(changes[name](ending, part) if name in changes else part)
        ending.outputs[ending.add("Concat", parts, "final", axis=1)] = (1, 85, 22, 22)

    return build


def _sigmoid(ending: Ending, part: str) -> str:
    return ending.add("Sigmoid", [part], f"{part} squashed")


def _log(ending: Ending, part: str) -> str:
    small = ending.constant(f"{part} small", np.float32(1e-7))
    return ending.add("Log", [ending.add("Add", [part, small], f"{part} raised")], f"{part} log")


def _logit(ending: Ending, part: str) -> str:
    one = ending.constant(f"{part} one", np.float32(1 + 1e-6))
    rest = ending.add("Sub", [one, part], f"{part} rest")
    small = ending.constant(f"{part} least", np.float32(1e-6))
    odds = ending.add("Div", [ending.add("Add", [part, small], f"{part} up"), rest], f"{part} odds")
    return ending.add("Log", [odds], f"{part} logit")


def _times(factor: float) -> Part:
    def times(ending: Ending, part: str) -> str:
        return ending.add("Mul", [part, ending.constant(f"{part} factor", np.float32(factor))], f"{part} times")

    return times


def _not_a_number(ending: Ending, part: str) -> str:
    minus = ending.constant(f"{part} minus", np.float32(-1))
    return ending.add("Add", [part, ending.add("Log", [minus], f"{part} nan")], f"{part} gone")


def _constant(ending: Ending, outputs: Sequence[str]) -> None:
    zero = ending.constant("zero", np.float32(0))
    ending.outputs[ending.add("Mul", [outputs[0], zero], "final")] = (1, 85, 22, 22)


def _one_scale(ending: Ending, outputs: Sequence[str]) -> None:
    """int8 with the one scale that boxes of a 640 pixel network would ask for."""
    step = ending.constant("step", np.float32(2.6))
    low, high = (ending.constant(name, np.float32(value)) for name, value in (("low", -128), ("high", 127)))
    whole = ending.add("Round", [ending.add("Div", [outputs[0], step], "divided")], "whole")
    kept = ending.add("Clip", [whole, low, high], "kept")
    ending.outputs[ending.add("Mul", [kept, step], "final")] = (1, 85, 22, 22)


def _on_scores(change: Part) -> Build:
    def build(ending: Ending, outputs: Sequence[str]) -> None:
        ending.outputs[change(ending, outputs[0])] = (1, 4420, 2)
        ending.outputs[outputs[1]] = (1, 4420, 4)

    return build


def _on_boxes(matrix: Any) -> Build:
    """Boxes (x1 y1 x2 y2) times a matrix."""

    def build(ending: Ending, outputs: Sequence[str]) -> None:
        ending.outputs[outputs[0]] = (1, 4420, 2)
        ending.outputs[ending.add("MatMul", [outputs[1], ending.constant("matrix", np.array(matrix, np.float32))], "moved")] = (
            1,
            4420,
            4,
        )

    return build


def _background_wins(ending: Ending, outputs: Sequence[str]) -> None:
    raised = ending.constant("raised", np.array([50, -50], np.float32).reshape(1, 2, 1, 1))
    ending.outputs[ending.add("Add", [outputs[0], raised], "final")] = (1, 2, 320, 320)


EXPORTS: Mapping[str, Mapping[str, Build]] = MappingProxyType({
    "fastestdet": {
        "no softmax": _on_parts(classes=_log), "objectness as logits": _on_parts(objectness=_logit),
        "objectness squashed twice": _on_parts(objectness=_sigmoid),
        "scores are zero": _on_parts(objectness=_times(0), classes=_times(0)), "constant": _constant,
        "not a number": _on_parts(classes=_not_a_number), "one int8 scale": _one_scale,
    },
    "ultraface": {
        "logits": _on_scores(_log), "boxes in pixels": _on_boxes(np.diag([320, 240, 320, 240])),
        "boxes as centre and size": _on_boxes([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]]),
    },
    "sinet": {"background wins": _background_wins},
})  # fmt: skip
