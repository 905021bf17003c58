"""Runs a model until its times are known, and hands out the runtime's own recording of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable, UsageError, printable
from camagent.frame import TensorSpec
from camagent.profiling import read_onnxruntime
from camagent.profiling.recording import Recording

Feeds = Mapping[str, NDArray[np.generic]]
WARM_UP = 2  # the first inference allocates, the second still fills caches
FEWEST, MOST = 5, 50
ENOUGH_S = 8.0  # a run count that nobody named ends here
CALLS = 100_000  # of operators in one recording: 100 MB of the runtime's JSON
GUESSED_SIDE = 640  # pixels, where the model leaves its size open and nobody says it
_VALUES = 1 << 28  # of one input
_TYPES = frozenset({
    "float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool",
})  # fmt: skip


class Profiler(Protocol):
    """A session that writes down what it does; see `backends.onnx.OnnxProfiler`."""

    def run(self, feeds: Feeds) -> None: ...  # noqa: D102
    def end(self) -> Path: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Plan:
    """How often the model runs: `runs`, or as often as seems sensible where it is None."""

    runs: int | None
    operators: int  # of the graph, about

    @property
    def most(self) -> int:
        """Inferences at most."""
        return self.runs or max(FEWEST, min(MOST, CALLS // max(1, self.operators)))


def measure(
    open_in: Callable[[Path | None], Profiler], feeds: Feeds, plan: Plan, tell: Callable[[int, int], None]
) -> Recording:
    """The model without the profiler, for the time of an inference, and with it, for that of the operators.

    The two run in turns, so that whatever else the machine does falls on both. The runtime's file lies in a folder of its own
    that is gone afterwards. `tell` hears of each turn: how many are done, and of how many.

    Raises:
        BackendError: the model cannot be loaded, or fails.
        FileUnusable: no room for the runtime's file.
    """
    bare = open_in(None)
    try:
        with tempfile.TemporaryDirectory(prefix="camagent-profile-") as folder:
            profiler = open_in(Path(folder))
            try:
                plain = tuple(_turns(bare, profiler, feeds, plan, tell))
            finally:
                written = profiler.end()
            text = written.read_text("utf-8", "replace")
    except OSError as exc:
        raise FileUnusable.of(exc) from exc
    return replace(read_onnxruntime.read(text, warm_up=WARM_UP), plain=plain)


def _turns(bare: Profiler, profiler: Profiler, feeds: Feeds, plan: Plan, tell: Callable[[int, int], None]) -> Iterator[float]:
    """Microseconds of each inference without the profiler."""
    for _ in range(WARM_UP):
        bare.run(feeds)
        profiler.run(feeds)
    started = perf_counter()
    for done in range(1, plan.most + 1):
        before = perf_counter()
        bare.run(feeds)
        after = perf_counter()
        profiler.run(feeds)
        tell(done, plan.most)
        yield (after - before) * 1e6
        if plan.runs is None and done >= FEWEST and perf_counter() - started > ENOUGH_S:
            return


def made_up(inputs: Sequence[TensorSpec], size: tuple[int, int] | None, picture: NDArray[np.generic] | None) -> Feeds:
    """Values for every input: the picture, else noise for what looks like one, ones for the rest.

    Args:
        inputs: as the model declares them; open sides become 1, those of a picture `size` (width, height) or 640.
        size: of a picture whose sides are open.
        picture: the first input's tensor.

    Raises:
        UsageError: an input that is too large, or of a type that nothing can be made up for.
    """
    noise = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.generic]] = {}
    for index, spec in enumerate(inputs):
        if index == 0 and picture is not None:
            feeds[spec.name] = picture
            continue
        shape, dtype = _closed(spec, size), spec.dtype
        _require_possible(spec, shape)
        if len(shape) != 4:
            feeds[spec.name] = np.ones(shape, dtype)
        elif np.dtype(dtype).kind == "f":
            feeds[spec.name] = noise.random(shape, np.float32).astype(dtype)
        else:
            feeds[spec.name] = noise.integers(0, 127, shape).astype(dtype)
    return feeds


def _require_possible(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if spec.dtype in _TYPES and prod(shape) <= _VALUES:
        return
    raise UsageError(
        f"nothing can be made up for the input {printable(spec.name)!r}",
        evidence={"input": f"{'x'.join(map(str, shape))} {printable(spec.dtype)}",
                  "possible": f"{_VALUES} values of {', '.join(sorted(_TYPES))}"},
        fix="give a smaller --size, or export the model with other inputs",
    )  # fmt: skip


def is_open(spec: TensorSpec) -> bool:
    """Whether a picture's sides are left open."""
    return len(spec.shape) == 4 and None in spec.shape[1:]


def _closed(spec: TensorSpec, size: tuple[int, int] | None) -> tuple[int, ...]:
    width, height = size or (GUESSED_SIDE, GUESSED_SIDE)
    by_pixel = len(spec.shape) == 4 and spec.shape[3] in (1, 3)
    usual = (1, height, width, 3) if by_pixel else (1, 3, height, width)
    return tuple(
        side if side is not None else usual[index] if len(spec.shape) == 4 else 1 for index, side in enumerate(spec.shape)
    )
