"""Which module of the network a node came from, where the exporter left it in the node's metadata (PyTorch since 2.6 does)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.model_file import Value, text, values, walk

_GRAPH, _NODE, _OUTPUT, _NAME, _METADATA = 7, 1, 2, 3, 9  # onnx.proto
_SCOPES = "pkg.torch.onnx.name_scopes"  # "['', 'encoder', 'encoder.block.0', 'conv2d']": modules, then the call itself
_LONGEST = 4096
_QUOTED = re.compile(r"'([^']*)'")


def scopes(model: bytes) -> Mapping[str, tuple[str, ...]]:
    """Path of modules by node name and by name of each output: conv2d -> (encoder, block.0). Raises ManifestInvalid."""
    try:
        found: dict[str, tuple[str, ...]] = {}
        for graph in values(model, _GRAPH):
            for node in values(graph, _NODE):
                names, path = _node(node)
                if path is not None:
                    found |= dict.fromkeys(names, path)
    except ValueError as exc:
        raise ManifestInvalid(
            f"the model is not ONNX: {exc}", evidence={"expected": "an ONNX model"}, fix="give an .onnx file as it was exported"
        ) from exc
    return found


def _node(node: Value) -> tuple[list[str], tuple[str, ...] | None]:
    names, path = list[str](), None
    for number, value in walk(node):
        if number in (_OUTPUT, _NAME):
            names.append(text(value))
        elif number == _METADATA and next(map(text, values(value, 1)), "") == _SCOPES:
            said = next(map(text, values(value, 2)), "")[:_LONGEST]
            path = tuple(_steps(_QUOTED.findall(said)[:-1]))
    return [name for name in names if name], path


def _steps(modules: list[str]) -> Iterator[str]:
    """`encoder`, `encoder.block.0` -> `encoder`, `block.0`."""
    last = ""
    for module in modules:
        step = module.removeprefix(f"{last}.") if last else module
        if step and module != last:
            yield step
        last = module or last
