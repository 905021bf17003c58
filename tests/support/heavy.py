"""Models that see what `blob_model` sees and take as long, or as much memory, as a test wants: real work, on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from camagent.backends import BackendOptions, open_backend
from tests.support.bundles import SIDE, blob_model

if TYPE_CHECKING:
    from onnx import NodeProto

CHANNELS = 48
_PROBE = 3  # rounds


@cache
def heavy_blobs(rounds: int) -> bytes:
    """`blob_model` with so many convolutions beside it."""
    from onnx import helper

    dice = np.random.default_rng(5)
    weights = {
        "first": dice.standard_normal((CHANNELS, 3, 3, 3), np.float32) / np.float32(9),
        "next": dice.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) / np.float32(60),
    }
    names = [f"work{index}" for index in range(rounds + 1)]
    nodes = [helper.make_node("Conv", ["image", "first"], [names[0]], pads=[1] * 4)]
    nodes += [helper.make_node("Conv", [before, "next"], [name], pads=[1] * 4) for before, name in pairwise(names)]
    return _beside(nodes, names[-1], weights)


@cache
def weighty_blobs(mib: int) -> bytes:
    """`blob_model` with so many MiB of weights beside it, which are used, and take no time to speak of."""
    from onnx import helper

    inputs = 3 * SIDE * SIDE
    weights = {"wide": np.full((inputs, mib * 2**20 // 4 // inputs), 0.5, np.float32)}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "wide"], ["many"]),
    ]
    return _beside(nodes, "many", weights)


def _beside(nodes: Sequence[NodeProto], result: str, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """What the nodes give is multiplied by nothing and added, so that no optimiser may leave them out."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(blob_model())
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(0)), "zero"))
    graph.node[-1].output[0] = "seen"
    graph.node.extend([
        *nodes,
        helper.make_node("ReduceMean", [result], ["mean"], keepdims=0),
        helper.make_node("Clip", ["mean", "low", "high"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "zero"], ["nothing"]),
        helper.make_node("Add", ["seen", "nothing"], ["grid"]),
    ])  # fmt: skip
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@cache
def rounds_for(call_s: float, threads: int = 1) -> int:
    """So many take about that long here and now; the fastest of several calls is what counts."""
    backend = open_backend("onnx", heavy_blobs(_PROBE), BackendOptions(threads))
    picture = np.zeros((1, 3, SIDE, SIDE), np.float32)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        backend.infer(picture)
        best = min(best, time.perf_counter() - began)
    backend.close()
    return max(1, round(call_s / best * _PROBE))
