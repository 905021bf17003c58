"""A model that several cameras run is opened once, where its backend allows that: one copy of the weights for all of them.

A backend says so by a method of its factory (`Shareable`); a stranger's that says nothing is opened for every camera. The same
bytes under the same options are the same model, whatever bundles they came out of: a new bundle that changes its thresholds
alone needs no second one beside the old.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camagent.backends import Backend, BackendOptions, Cautious, calls_at_once, opener
from camagent.errors import BackendError
from camagent.frame import TensorSpec


@runtime_checkable
class Shareable(Protocol):
    """A factory whose backends may be called from several threads at the same time."""

    def shareable(self, options: BackendOptions) -> bool:
        """Whether that holds for backends that are opened with these options."""
        ...


@dataclass(slots=True, eq=False)
class _Open:
    backend: Backend
    holders: int = 0


class Held:
    """One camera's hold on a model that others may hold too."""

    def __init__(self, key: Hashable, backend: Backend, let_go: Callable[[Hashable], None]) -> None:
        self._key, self._let_go = key, let_go
        self._backend: Backend | None = backend
        self.inputs: Sequence[TensorSpec] = backend.inputs
        self.outputs: Sequence[TensorSpec] = backend.outputs
        self.warnings: Sequence[str] = backend.warnings if isinstance(backend, Cautious) else ()
        self.calls_at_once = calls_at_once(backend)

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """Runs the model once; see `Backend.infer`."""
        if self._backend is None:
            raise BackendError("the model is closed", fix="open it again")
        return self._backend.infer(tensor)

    def close(self) -> None:
        """Lets go of the model; the last one frees it."""
        if self._backend is not None:
            self._backend = None
            self._let_go(self._key)


class Shelf:
    """The open models of one process. Any thread."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Open] = {}
        self._lock = threading.Lock()

    def hold(self, key: Hashable, make: Callable[[], Backend]) -> Held:
        """What is open under that key, or what `make` opens. One caller at a time."""
        with self._lock:
            known = self._open.get(key)
            if known is not None:
                known.holders += 1
                return Held(key, known.backend, self._release)
        made = _Open(make(), 1)  # without the lock: it takes its time, and others want to close theirs
        with self._lock:
            self._open[key] = made
        return Held(key, made.backend, self._release)

    def __len__(self) -> int:
        return len(self._open)

    def _release(self, key: Hashable) -> None:
        with self._lock:
            known = self._open[key]
            known.holders -= 1
            if known.holders:
                return
            del self._open[key]
        known.backend.close()


SHELF = Shelf()


def may_share(factory: object, options: BackendOptions) -> bool:
    """Whether it says so itself: a class that builds on another's word may keep what the other does not."""
    return isinstance(factory, Shareable) and "shareable" in vars(factory) and factory.shareable(options)


def hold_backend(name: str, model: bytes, options: BackendOptions) -> Backend:
    """As `open_backend`, and shared with whoever has opened the same bytes with the same options.

    Raises BackendError, NpuHung.
    """
    with opener(name) as factory:
        if not may_share(factory, options):
            return factory(model, options)
        extra = tuple(sorted(options.extra.items()))
        chosen = (options.intra_op_threads, options.providers, options.device, extra)
        key = (name, hashlib.sha256(model).digest(), chosen)
        return SHELF.hold(key, lambda: factory(model, options))
