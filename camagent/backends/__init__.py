"""Backends run a model. One file each, found by entry point `camagent.backends`; a stranger's is used like ours.

A vendor's runtime is imported inside its own file, when it is opened, so a runtime that is absent costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from threading import Lock
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camagent.config import Config
from camagent.errors import BackendError, NpuHung
from camagent.frame import TensorSpec


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What the configuration says about running models."""

    intra_op_threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    device: str = ""  # the SoC, where the configuration names it
    extra: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Self:
        """As a configuration has them."""
        return cls(config.onnx.intra_op_threads, config.onnx.providers, config.agent.device)


class Backend(Protocol):
    """A loaded model. One instance belongs to one thread, unless its factory says otherwise (shared.py)."""

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


@runtime_checkable
class Cautious(Protocol):
    """A backend that has something to say of the versions it runs on."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences about what was found when the model was opened, and did not keep it from running."""
        ...


@runtime_checkable
class Parallel(Protocol):
    """A backend whose device works on several calls at the same time, from whichever cameras they come."""

    @property
    def calls_at_once(self) -> int:
        """How many; an NPU's cores."""
        ...


BackendFactory = Callable[[bytes, BackendOptions], Backend]

ON_CPU = frozenset({"onnx", "rknn-sim"})  # every other one speaks to a device that may hang
_barred: list[str] = []  # why no device may be spoken to any more in this process
_opening = Lock()  # loading peaks in memory, and a runtime's first start is not made for several threads


def installed() -> frozenset[str]:
    """Names of the backends that this machine has, ours and strangers'."""
    return frozenset(point.name for point in entry_points(group="camagent.backends"))


def on_device(name: str) -> bool:
    """Whether this backend speaks to an NPU or the like."""
    return name not in ON_CPU


def calls_at_once(backend: Backend) -> int:
    """Of the device that it speaks to: one where it does not say."""
    return backend.calls_at_once if isinstance(backend, Parallel) else 1


def bar_devices(why: str) -> None:
    """From now on every backend that speaks to a device is refused: another call would only hang."""
    _barred[:] = [why] if why else []


def open_backend(name: str, model: bytes, options: BackendOptions) -> Backend:
    """Opens `model` (the verified bytes, never a path), one at a time.

    Raises BackendError, also for a name that nobody provides; NpuHung after `bar_devices`.
    """
    with opener(name) as factory:
        return factory(model, options)


@contextmanager
def opener(name: str) -> Iterator[BackendFactory]:
    """What opens models of this backend; nobody else opens one meanwhile. Raises BackendError, NpuHung."""
    if _barred and on_device(name):
        raise NpuHung(
            f"the NPU has hung twice and is left alone until a reboot: {_barred[0]}",
            evidence={"backend": name}, fix="reboot the device; update its NPU driver if this happens again",
        )  # fmt: skip
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
        yield factory
