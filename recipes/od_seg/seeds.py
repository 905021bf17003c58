"""Which seeds draw what: splits never share a street."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import cv2

from recipes.od_seg.scene import SIZE, Sample, scene
from recipes.od_seg.targets import fitted

T = TypeVar("T")
SPLITS = {"train": 0, "val": 10_000_000, "test": 20_000_000, "demo": 30_000_000}  # the first seed of each


def seeds_of(split: str, count: int, seed: int = 0) -> range:
    """`count` seeds of a split; another `seed` gives others, below a hundred of 100,000."""
    first = SPLITS[split] + seed * 100_000
    return range(first, first + count)


def drawn(seeds: Sequence[int], work: Callable[[int], T], processes: int | None = None) -> Iterator[T]:
    """`work` on every seed, in order, on all processors; in this process where there is one seed or one processor."""
    count = min(processes or os.cpu_count() or 1, len(seeds))
    if count < 2:
        yield from map(work, seeds)
        return
    # started anew, not forked: a fork inherits locks that threads of OpenCV or ONNX Runtime hold (tried: it hangs)
    context = get_context("spawn")
    with ProcessPoolExecutor(count, context, cv2.setNumThreads, (1,)) as pool:  # one thread each is fastest
        yield from pool.map(work, seeds, chunksize=max(1, min(16, len(seeds) // (count * 4))))


def fitted_scene(seed: int) -> Sample:
    """A drawn picture as the network gets it."""
    return fitted(scene(seed, SIZE))
