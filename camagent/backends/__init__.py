"""Backends run a model. One file each, found by entry point `camagent.backends`; a stranger's is used like ours.

A vendor's runtime is imported inside its own file, when it is opened, so a runtime that is absent costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camagent.errors import BackendError
from camagent.frame import TensorSpec


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What the configuration says about running models."""

    intra_op_threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    extra: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """A loaded model. One instance belongs to one thread."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """In the model's order."""
        ...

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """In the model's order."""
        ...

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """The manifest's input (shape, dtype, layout, colour and scale as declared) to outputs in the model's order.

        Raises BackendError when the runtime fails; the instance may be used again.
        """
        ...

    def close(self) -> None:
        """Frees the model. May be called twice."""
        ...


BackendFactory = Callable[[bytes, BackendOptions], Backend]

_opening = Lock()  # loading peaks in memory, and a runtime's first start is not made for several threads


def installed() -> frozenset[str]:
    """Names of the backends that this machine has, ours and strangers'."""
    return frozenset(point.name for point in entry_points(group="camagent.backends"))


def open_backend(name: str, model: bytes, options: BackendOptions) -> Backend:
    """Opens `model` (the verified bytes, never a path), one at a time. Raises BackendError, also for a name nobody provides."""
    known = {point.name: point for point in entry_points(group="camagent.backends")}
    if name not in known:
        raise BackendError(
            f"there is no backend {name!r}",
            evidence={"wanted": name, "installed": ", ".join(sorted(known)) or "none"},
            fix="name an installed backend in the bundle's artifact, or install the package that brings this one",
        )
    with _opening:
        try:
            factory: BackendFactory = known[name].load()
        except (ImportError, OSError) as exc:
            raise BackendError(
                f"backend {name!r} cannot be loaded", evidence={"cause": repr(exc)}, fix="install the runtime that it needs"
            ) from exc
        return factory(model, options)
