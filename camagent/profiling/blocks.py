"""Which part of the model an operator belongs to, from node names such as /encoder/block.2/attn/MatMul.

Exporters write the module's path into the name (PyTorch's first exporter), into metadata (its second), or nowhere; a runtime
makes nodes of its own beside them. Where no path is known, operators are grouped by the size of the map that they make.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from camagent.profiling.recording import Shape

Path = tuple[str, ...]
ROOT: Path = ()
TOP = "top level"  # operators that lie in no block, such as the argmax behind a network
MAPS = " maps"  # behind the sizes that stand for blocks where nothing else is known
NO_MAP: Path = ("before the first" + MAPS,)
_ENOUGH = 0.5  # share of the time in named blocks below which names are no help
_MOST = 12  # rows of a table
_LARGE = 0.2  # a block with more of the time is shown in its parts
_ADDED = re.compile(r"(?:_nchwc|_token_\d+|/\w+Fusion/?|_new_reshape)+$")  # ONNX Runtime, behind the node's own name


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one operator's place. `shape`: of a layer that makes a map; () for all others."""

    name: str
    us: float
    shape: Shape = ()


def paths(parts: Sequence[Part], known: Mapping[str, Path]) -> list[Path]:
    """Each operator's block. `parts`: in the order of execution; `known`: blocks that the model file tells, by node or tensor.

    A nameless operator (a layout change that the runtime put in) belongs to the block of the one before it.
    """
    found = [_path(part.name, known) for part in parts]
    total = sum(part.us for part in parts)
    named = sum(part.us for part, path in zip(parts, found, strict=True) if path is not None)
    if named < _ENOUGH * total or not any(found):
        return _by_size(parts)
    made: list[Path] = []
    last = next(path for path in found if path is not None)
    for path in found:
        last = last if path is None else path
        made.append(last)
    return made


def cut(times: Mapping[Path, float]) -> dict[Path, Path]:
    """Block -> the block that a table shows it in: about twelve, the heaviest of them in their parts."""
    total = sum(times.values())
    shown = dict.fromkeys(times, ROOT)
    asked: set[Path] = set()
    while True:
        weights: dict[Path, float] = defaultdict(float)
        for path, row in shown.items():
            weights[row] += times[path]
        heavy = max((row for row in weights if row not in asked), key=lambda row: weights[row], default=None)
        if heavy is None or (len(weights) > 1 and (weights[heavy] < _LARGE * total or len(weights) >= _MOST)):
            return shown
        asked.add(heavy)
        inside = [path for path, row in shown.items() if row == heavy]
        parts = _parts(heavy, inside)
        if len(weights) == 1 or len(weights) - 1 + len(set(parts.values())) <= 2 * _MOST:
            shown |= parts


def title(path: Path) -> str:
    """A block as it is shown: `/encoder/block.2`, `44x44 maps`."""
    if not path:
        return TOP
    return path[0] if path[0].endswith(MAPS) else "/" + "/".join(path)


def common(all_paths: Collection[Path]) -> Path:
    """The beginning that all blocks have in common."""
    least, most = min(all_paths, default=ROOT), max(all_paths, default=ROOT)  # every other one lies between these two
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False))
    return tuple(step for step, _ in alike)


def _parts(row: Path, inside: Sequence[Path]) -> dict[Path, Path]:
    """The blocks of one row by the next step behind what they have in common; the row's own operators stay with it."""
    depth = max(len(row), len(common(inside)))
    return {path: path[: depth + 1] for path in inside}


def _path(name: str, known: Mapping[str, Path]) -> Path | None:
    """None where nothing is known."""
    bare = _ADDED.sub("", name)
    for candidate in (name, bare):
        if candidate in known:
            return known[candidate]
    return tuple(part for part in bare.split("/") if part)[:-1] if "/" in bare else None


def _by_size(parts: Sequence[Part]) -> list[Path]:
    """By rows and columns of N x C x H x W, or of CANN's N x C/16 x H x W x 16."""
    made: list[Path] = []
    last = NO_MAP
    for part in parts:
        sides = part.shape[2:4] if len(part.shape) in (4, 5) else ()
        if len(sides) == 2 and min(sides) > 1:
            last = ("x".join(map(str, sides)) + MAPS,)
        made.append(last)
    return made
