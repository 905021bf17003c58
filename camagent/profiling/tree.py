"""Operators in their blocks as a tree, each as wide as its time: what the picture and the trace draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from camagent.profiling.blocks import Path
from camagent.profiling.summary import Operator


@dataclass(slots=True)
class _Growing:
    name: str
    us: float = 0.0
    blocks: dict[str, _Growing] = field(default_factory=dict)
    children: list[_Growing | Operator] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Box:
    """A block or an operator in the drawing: `start` and `us` in microseconds, `depth` in rows below the whole (0)."""

    name: str
    start: float
    us: float
    depth: int
    operator: Operator | None = None


def boxes(name: str, operators: Sequence[Operator]) -> tuple[Box, ...]:
    """The whole, its blocks and their operators, outer ones first; end to end in the order of execution."""
    root = _Growing(name)
    for one in operators:
        _put(root, one.block, one)
    return tuple(_laid(root, 0.0, 0))


def _put(root: _Growing, path: Path, one: Operator) -> None:
    block = root
    block.us += one.us
    for step in path:
        if step not in block.blocks:
            block.blocks[step] = _Growing(step)
            block.children.append(block.blocks[step])
        block = block.blocks[step]
        block.us += one.us
    block.children.append(one)


def _laid(block: _Growing, start: float, depth: int) -> Iterator[Box]:
    """A block that holds nothing but another one is drawn as one with it: a/b/c."""
    names = [block.name]
    while depth and len(block.children) == 1 and isinstance(block.children[0], _Growing):
        block = block.children[0]
        names.append(block.name)
    yield Box("/".join(names), start, block.us, depth)
    for child in block.children:
        if isinstance(child, Operator):
            yield Box(child.label, start, child.us, depth + 1, child)
        else:
            yield from _laid(child, start, depth + 1)
        start += child.us
