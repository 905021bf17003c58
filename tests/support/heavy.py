"""A model that sees what `blob_model` sees and takes as long as a test wants: real work, on this machine."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from camagent.backends import BackendOptions, open_backend
from tests.support.bundles import SIDE, blob_model

CHANNELS = 48
_PROBE = 3  # rounds


@cache
def heavy_blobs(rounds: int) -> bytes:
    """`blob_model` with so many convolutions beside it, whose answer is multiplied by nothing and added."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(blob_model())
    graph, dice = model.graph, np.random.default_rng(5)
    weights = {
        "first": dice.standard_normal((CHANNELS, 3, 3, 3)).astype(np.float32) / 9,
        "next": dice.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 60,
        "zero": np.float32(0),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    graph.node[-1].output[0] = "seen"
    work = [helper.make_node("Conv", ["image", "first"], ["work0"], pads=[1] * 4)]
    work += [helper.make_node("Conv", [f"work{one}", "next"], [f"work{one + 1}"], pads=[1] * 4) for one in range(rounds)]
    work += [
        helper.make_node("ReduceMean", [f"work{rounds}"], ["mean"], keepdims=0),
        helper.make_node("Clip", ["mean", "low", "high"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "zero"], ["nothing"]),
        helper.make_node("Add", ["seen", "nothing"], ["grid"]),
    ]
    graph.node.extend(work)
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
