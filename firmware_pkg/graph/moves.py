"""Operators that only move numbers: what a chain of them does as a whole, and the shortest way to do it.

A chain is followed as strides over the numbers that go in, the way NumPy describes a view: a Transpose permutes the (size,
stride) pairs, a Reshape splits and joins them. What comes out is one Reshape, one Transpose and one Reshape, or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from firmware_pkg.graph.network import Network, Node, Shape

RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
MOVES = RESHAPES | {"Transpose"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The shortest way: numbers as `factors`, then their axes in the order `perm`, then `shape`."""

    factors: Shape
    perm: tuple[int, ...]
    shape: Shape

    @property
    def transposes(self) -> bool:
        """Whether numbers change their order at all."""
        return self.perm != tuple(range(len(self.perm)))


def permutation(network: Network, node: Node) -> tuple[int, ...]:
    """A Transpose's axes. Raises KeyError where neither they nor the operand's shape are known."""
    given = node.attributes.get("perm")
    return tuple(given) if given is not None else tuple(reversed(range(len(network.shapes[node.source]))))


def plan(network: Network, chain: list[Node]) -> Plan | None:
    """What movers in a row do, first to last; None where a shape is open or no single Transpose can do it."""
    start = network.shape(chain[0].source)
    shapes = [network.shape(node.output) for node in chain]
    if start is None or 0 in start or any(shape is None for shape in shapes):
        return None
    view = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), start, _strides(start), writeable=False)
    for node, shape in zip(chain, shapes, strict=True):
        if node.type == "Transpose":
            view = view.transpose(permutation(network, node))
            continue
        assert shape is not None
        try:
            view = np.reshape(view, shape, copy=False)
        except ValueError:  # numbers would have to be copied: no stride describes them
            return None
    return _shortest(start, view.shape, view.strides)


def _strides(shape: Shape) -> Shape:
    made, step = [], 1
    for side in reversed(shape):
        made.append(step)
        step *= side
    return tuple(reversed(made))


def _shortest(start: Shape, shape: Shape, strides: tuple[int, ...]) -> Plan:
    joined: list[tuple[int, int]] = []  # (stride, size)
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if joined and joined[-1][0] == stride * size:
            joined[-1] = (stride, joined[-1][1] * size)
        else:
            joined.append((stride, size))
    order = sorted(range(len(joined)), key=lambda axis: -joined[axis][0])
    factors = tuple(joined[axis][1] for axis in order)
    perm = tuple(order.index(axis) for axis in range(len(joined)))
    return _as_it_lies(start, Plan(factors, perm, shape))


def _as_it_lies(start: Shape, found: Plan) -> Plan:
    """The same with sides of 1 put where they save a Reshape before the Transpose, or else the one behind it."""
    real = [axis for axis, side in enumerate(start) if side != 1]
    moved = tuple(found.factors[axis] for axis in found.perm)
    ones_fit = tuple(side for side in found.shape if side != 1) == moved
    if tuple(start[axis] for axis in real) == found.factors:
        ones = [axis for axis, side in enumerate(start) if side == 1]
        if ones_fit and len(start) == len(found.shape):
            return Plan(start, _placed(found.shape, ones, [real[axis] for axis in found.perm]), found.shape)
        return Plan(start, (*ones, *(real[axis] for axis in found.perm)), found.shape)
    if ones_fit:
        count = len(found.shape) - len(moved)
        perm = _placed(found.shape, list(range(count)), [count + axis for axis in found.perm])
        return Plan((1,) * count + found.factors, perm, found.shape)
    return found


def _placed(shape: Shape, ones: list[int], others: list[int]) -> tuple[int, ...]:
    """Axes in the result's order: those of side 1 where it has such sides."""
    left, right = iter(ones), iter(others)
    return tuple(next(left) if side == 1 else next(right) for side in shape)


def emit(network: Network, source: str, way: Plan) -> str:
    """Writes a plan: the result's name, `source` itself where nothing is to be done."""
    if not way.transposes:
        return network.reshape(source, way.shape)
    name = network.reshape(source, way.factors)
    turned = tuple(way.factors[axis] for axis in way.perm)
    name = network.add("Transpose", [name], turned, perm=list(way.perm))
    return network.reshape(name, way.shape)


def cost(network: Network, source: str, way: Plan) -> tuple[int, int]:
    """(Transposes, Reshapes) that `emit` would write."""
    if not way.transposes:
        return 0, int(network.shape(source) != way.shape)
    turned = tuple(way.factors[axis] for axis in way.perm)
    return 1, int(network.shape(source) != way.factors) + int(turned != way.shape)


def chain_before(network: Network, last: Node) -> list[Node]:
    """The movers that end in `last`, first to last."""
    chain = [last]
    while (node := network.maker(chain[0].source)) is not None and node.type in MOVES and network.constant(node.source) is None:
        chain.insert(0, node)
    return chain


def tidy(network: Network) -> int:
    """Shortens every chain of movers; returns how many were."""
    shortened = 0
    while (found := next(_shorter(network), None)) is not None:
        last, source, way = found
        network.replace(last.output, emit(network, source, way))
        network.prune()
        shortened += 1
    return shortened


def _shorter(network: Network) -> Iterator[tuple[Node, str, Plan]]:
    """(last mover, where its chain begins, a plan that is shorter)."""
    for last in network.nodes:
        if last.type not in MOVES or network.constant(last.source) is not None:
            continue
        taker = network.only_taker(last.output)
        if taker is not None and taker.type in MOVES:  # the chain goes on
            continue
        chain = chain_before(network, last)
        for first in range(len(chain)):
            part = chain[first:]
            way = plan(network, part)
            if way is not None and _cost_for(network, last, part[0].source, way) < _spent(network, part):
                yield last, part[0].source, way
                break


def _cost_for(network: Network, last: Node, source: str, way: Plan) -> tuple[int, int]:
    """As `cost`; an output that is the value of another name still needs an Identity."""
    found = cost(network, source, way)
    renames = network.maker(source) is not None and not network.pinned(source)
    return (0, 1) if found == (0, 0) and network.pinned(last.output) and not renames else found


def _spent(network: Network, chain: list[Node]) -> tuple[int, int]:
    """(Transposes, others) at the chain's end that nothing else needs."""
    own = [chain[-1]]
    for node in reversed(chain[:-1]):
        if network.only_taker(node.output) is None:
            break
        own.append(node)
    transposes = sum(node.type == "Transpose" for node in own)
    return transposes, len(own) - transposes


__all__ = ["MOVES", "Plan", "chain_before", "cost", "emit", "plan", "tidy"]
