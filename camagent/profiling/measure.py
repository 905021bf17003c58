"""Runs a model until its times are known, and hands out the runtime's own recording of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable
from camagent.frame import TensorSpec
from camagent.profiling import read_onnxruntime
from camagent.profiling.recording import Recording

Feeds = Mapping[str, NDArray[np.generic]]
WARM_UP = 2  # the first inference allocates, the second still fills caches
FEWEST, MOST = 5, 50
ENOUGH_S = 4.0  # a run count that nobody named ends here, without the profiler and with it
CALLS = 100_000  # of operators in one recording: 100 MB of the runtime's JSON
GUESSED_SIDE = 640


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
    """The model without the profiler, for the time of an inference, then with it, for that of the operators.

    The runtime's file lies in a folder of its own that is gone afterwards. `tell` hears of each inference: how many are done,
    and of how many. Raises BackendError; FileUnusable without room.
    """
    plain = _run(open_in(None), feeds, plan, lambda done: tell(done, 2 * plan.most))
    again = Plan(len(plain), plan.operators)
    try:
        with tempfile.TemporaryDirectory(prefix="camagent-profile-") as folder:
            profiler = open_in(Path(folder))
            try:
                _run(profiler, feeds, again, lambda done: tell(len(plain) + done, 2 * len(plain)))
            finally:
                written = profiler.end()
            text = written.read_text("utf-8", "replace")
    except OSError as exc:
        raise FileUnusable.of(exc) from exc
    return replace(read_onnxruntime.read(text, warm_up=WARM_UP), plain=plain)


def _run(profiler: Profiler, feeds: Feeds, plan: Plan, tell: Callable[[int], None]) -> tuple[float, ...]:
    """Microseconds of each inference."""
    for _ in range(WARM_UP):
        profiler.run(feeds)
    times, started = list[float](), perf_counter()
    for done in range(1, plan.most + 1):
        before = perf_counter()
        profiler.run(feeds)
        after = perf_counter()
        times.append((after - before) * 1e6)
        tell(done)
        if plan.runs is None and done >= FEWEST and after - started > ENOUGH_S:
            break
    return tuple(times)


def made_up(inputs: Sequence[TensorSpec], size: tuple[int, int] | None, picture: NDArray[np.generic] | None) -> Feeds:
    """Values for every input: the picture, else noise for what looks like one, ones for the rest.

    Args:
        inputs: as the model declares them; open sides become 1, those of a picture `size` (width, height) or 640.
        size: of a picture whose sides are open.
        picture: the first input's tensor.
    """
    noise = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.generic]] = {}
    for index, spec in enumerate(inputs):
        if index == 0 and picture is not None:
            feeds[spec.name] = picture
            continue
        shape, dtype = _closed(spec, size), "float32" if "tensor" in spec.dtype else spec.dtype
        if len(shape) != 4:
            feeds[spec.name] = np.ones(shape, dtype)
        elif np.dtype(dtype).kind == "f":
            feeds[spec.name] = noise.random(shape, np.float32).astype(dtype)
        else:
            feeds[spec.name] = noise.integers(0, 127, shape).astype(dtype)
    return feeds


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
