"""split-heads: boxes and scores that one output holds come out as two.

Quantised to 8 bits, one tensor has one scale. Boxes reach to hundreds of pixels, so a step of that scale is larger than any
score, and all scores become 0. In outputs of their own both keep their precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firmware_pkg.graph.network import Network, Node
from firmware_pkg.graph.passes import Change, Outputs, Wishes

_ACTIVATIONS = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})
_CUTS = frozenset({"Split", "Slice", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Gather", "Concat"})
_DEEP = 64


@dataclass(frozen=True, slots=True)
class _Span:
    """Some of an output's channels, and whether they come from an activation and nothing but moves behind it."""

    size: int
    scores: bool


def apply(network: Network, wishes: Wishes) -> Change:
    """Splits each output of rank 3 that is joined of boxes and scores along one axis."""
    del wishes
    for index, output in enumerate(network.outputs):
        shape = network.shape(output)
        if shape is None or len(shape) != 3 or shape[0] != 1:
            continue
        for axis in (1, 2):
            sizes = _sizes(_spans(network, output, axis, 0))
            parts = _pieces(network, output, axis, sizes) if sizes else None
            if parts is not None:
                return _split(network, index, axis, parts)
    return Change()


def _split(network: Network, index: int, axis: int, parts: Sequence[str]) -> Change:
    output = network.outputs[index]
    names = [network.fresh(f"{output}_{kind}") for kind in ("boxes", "scores")]
    network.outputs[index : index + 1] = names
    network.changed()
    for part, name in zip(parts, names, strict=True):
        network.add("Identity", [part], network.shape(part), output=name)
    network.prune()

    def restore(outputs: Outputs) -> Outputs:
        return [*outputs[:index], np.concatenate(list(outputs[index : index + 2]), axis=axis), *outputs[index + 2 :]]

    note = f"outputs {names[0]} and {names[1]} take the place of {output}: the head has to read two"
    return Change(1, (note,), {}, restore)


def _sizes(spans: Sequence[_Span] | None) -> list[int] | None:
    """(boxes, scores) of spans that are boxes first and scores last."""
    if spans is None:
        return None
    first = next((index for index, span in enumerate(spans) if span.scores), len(spans))
    boxes, scores = spans[:first], spans[first:]
    if not boxes or not scores or not all(span.scores for span in scores):
        return None
    return [sum(span.size for span in part) for part in (boxes, scores)]


def _spans(network: Network, name: str, axis: int, depth: int) -> list[_Span] | None:
    """What a value is joined of along an axis; None where it cannot be followed."""
    node, shape = network.maker(name), network.shape(name)
    if node is None or shape is None or depth > _DEEP:
        return None
    inner = _through(network, node, axis)
    if inner is not None:
        return _spans(network, node.source, inner, depth + 1)
    if node.type != "Concat":
        return [_Span(shape[axis], _is_scores(network, name))]
    if node.attributes["axis"] % len(shape) != axis:  # levels of a pyramid: all are joined alike
        found = [_spans(network, operand, axis, depth + 1) for operand in node.inputs]
        return found[0] if all(spans is not None and spans == found[0] for spans in found) else None
    spans: list[_Span] = []
    for operand in node.inputs:
        size = (network.shape(operand) or ())[axis : axis + 1]
        if not size:
            return None
        spans += _spans(network, operand, axis, depth + 1) or [_Span(size[0], _is_scores(network, operand))]
    return spans


def _through(network: Network, node: Node, axis: int) -> int | None:
    """The operand's axis that a mover leaves whole as `axis` of its result; None for other operators, and where it is not."""
    before, after = network.shape(node.source), network.shape(node.output)
    if before is None or after is None:
        return None
    if node.type == "Identity":
        return axis
    if node.type == "Transpose":
        return int((node.attributes.get("perm") or list(reversed(range(len(before)))))[axis])
    if node.type != "Reshape":
        return None
    inner, outer = int(np.prod(after[axis + 1 :])), int(np.prod(after[:axis]))
    for index, side in enumerate(before):
        if side == after[axis] and int(np.prod(before[index + 1 :])) == inner and int(np.prod(before[:index])) == outer:
            return index
    return None


def _is_scores(network: Network, name: str) -> bool:
    """Whether a value is what a Sigmoid or Softmax gave, cut and moved but not calculated with."""
    for _ in range(_DEEP):
        node = network.maker(name)
        if node is None:
            return False
        if node.type in _ACTIVATIONS:
            return True
        if node.type not in _CUTS:
            return False
        name = node.source
    return False


def _pieces(network: Network, name: str, axis: int, sizes: Sequence[int]) -> list[str] | None:
    """A value's parts along an axis, made where its operands are still apart; None where a cut would go through one."""
    node, shape = network.maker(name), network.shape(name)
    assert node is not None
    assert shape is not None
    inner = _through(network, node, axis)
    if inner is not None:
        parts = _pieces(network, node.source, inner, sizes)
        return (
            None
            if parts is None
            else [_again(network, node, part, axis, size) for part, size in zip(parts, sizes, strict=True)]
        )
    if node.type != "Concat":
        return None
    if node.attributes["axis"] % len(shape) != axis:
        rows = [_pieces(network, operand, axis, sizes) for operand in node.inputs]
        if any(row is None for row in rows):
            return None
        return [_join(network, node, [row[at] for row in rows if row], axis, size) for at, size in enumerate(sizes)]
    return _cut(network, node, axis, sizes)


def _cut(network: Network, node: Node, axis: int, sizes: Sequence[int]) -> list[str] | None:
    """The operands of a Concat dealt out to the parts."""
    groups: list[list[str]] = [[] for _ in sizes]
    waiting, at, room = list(node.inputs), 0, sizes[0]
    while waiting:
        operand = waiting.pop(0)
        size = network.shapes[operand][axis]
        if room == 0:
            at, room = at + 1, sizes[at + 1]
        if size <= room:
            groups[at].append(operand)
            room -= size
            continue
        inner = _pieces(network, operand, axis, [room, size - room])
        if inner is None:
            return None
        waiting = [*inner, *waiting]
    return [_join(network, node, group, axis, size) for group, size in zip(groups, sizes, strict=True)]


def _join(network: Network, node: Node, operands: Sequence[str], axis: int, size: int) -> str:
    if len(operands) == 1:
        return operands[0]
    shape = list(network.shapes[node.output])
    shape[axis] = size
    return network.add("Concat", operands, tuple(shape), axis=node.attributes["axis"])


def _again(network: Network, node: Node, part: str, axis: int, size: int) -> str:
    """A mover once more, for a part of what it moved."""
    shape = list(network.shapes[node.output])
    shape[axis] = size
    if node.type == "Reshape":
        return network.reshape(part, tuple(shape))
    return network.add(node.type, [part], tuple(shape), **node.attributes)
