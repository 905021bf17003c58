"""What a fault is: a cause's id, the form it takes here, and a function that puts it into a healthy rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.random import Generator

from firmware_pkg.manifest import InputSpec
from tests.lab.rig import Deployment, Rig
from tests.lab.spec import Op

DETECTORS = ("fastestdet", "ultraface", "yolov5", "yolov8")  # families that give boxes
# of a ModelSpec: what a real network has not
ABOUT_BLOBS = ("gain", "prior", "leeway", "smallest", "shape", "upright", "spread", "classes", "head", "options", "fixed")
Inject = Callable[[Rig, Generator], Rig | None]  # None: this rig cannot have this fault


@dataclass(frozen=True, slots=True)
class Fault:
    """`cause` is the catalogue's id; `form` says how it comes about."""

    cause: str
    form: str
    layer: str
    inject: Inject

    @property
    def name(self) -> str:
        return f"{self.cause}/{self.form}"


FAULTS: dict[str, Fault] = {}


def fault(cause: str, form: str = "plain", layer: str = "") -> Callable[[Inject], Inject]:
    """Registers an injection; its layer is its file's name, unless another is told."""

    def register(inject: Inject) -> Inject:
        made = Fault(cause, form, layer or inject.__module__.rpartition(".")[2], inject)
        assert made.name not in FAULTS, made.name
        FAULTS[made.name] = made
        return inject

    return register


# the three kinds of wrong deployment


def told_wrong(rig: Rig, **changes: Any) -> Rig:
    """The manifest's input says something else than the model wants."""
    return replace(rig, deployed=rig.deployed.with_input(**changes))


def exported_otherwise(rig: Rig, *, cure: Deployment | None = None, **changes: Any) -> Rig:
    """The manifest stays, the model is another export (or runs otherwise) than it was written for."""
    deployed = rig.deployed.with_spec(**changes)
    return replace(rig, deployed=deployed, cure=None if cure is None else replace(cure, spec=deployed.spec))


def with_tail(rig: Rig, *ops: Op, cure: Deployment | None = None, **changes: Any) -> Rig:
    """The model, or its runtime, does this to its outputs too."""
    return exported_otherwise(rig, cure=cure, tail=(*rig.deployed.spec.tail, *ops), **changes)


def with_trouble(rig: Rig, name: str, **args: float) -> Rig:
    return exported_otherwise(rig, trouble=(*rig.deployed.spec.trouble, Op(name, args)))


def retrained(rig: Rig, **changes: Any) -> Rig:
    """Another model altogether, for the right contract and the deployed one alike; a real network stays as it is."""
    if rig.right.spec.engine == "onnx":
        changes = {name: value for name, value in changes.items() if name not in ABOUT_BLOBS}
    return replace(rig, right=rig.right.with_spec(**changes), deployed=rig.deployed.with_spec(**changes))


def with_params(rig: Rig, **params: Any) -> Deployment:
    """The deployed contract with other head.params: how a change of the manifest would mend it."""
    head = msgspec.structs.replace(rig.deployed.manifest.head, params={**rig.deployed.manifest.head.params, **params})
    return rig.deployed.with_manifest(head=head)


def true_too(rig: Rig | None, *names: str, **rivals: Deployment) -> Rig | None:
    """`names`: other names of the very same thing. `rivals`: names (with _ for -) that are true where that deployment works."""
    if rig is None:
        return None
    named = {name.replace("_", "-"): deployment for name, deployment in rivals.items()}
    return replace(rig, also=(*rig.also, *names), rivals={**rig.rivals, **named})


def is_raw(spec: InputSpec) -> bool:
    """Whether pixels go in as they are."""
    return spec.scale == 1.0 and set(spec.mean) == {0.0} and set(spec.std) == {1.0}


def is_plain(spec: InputSpec) -> bool:
    """Whether nothing but a scale stands between pixels and network."""
    return set(spec.mean) == {0.0} and set(spec.std) == {1.0}


def normalising(spec: InputSpec) -> Op:
    """The contract's arithmetic as nodes at the start of a graph."""
    args: dict[str, float] = {}
    for index in range(3):
        args[f"gain{index}"] = spec.scale / spec.std[index]
        args[f"bias{index}"] = -spec.mean[index] / spec.std[index]
    return Op("affine", args)


def pick(rng: Generator, low: float, high: float) -> float:
    """A strength."""
    return float(rng.uniform(low, high))


def one(rng: Generator, choices: Any) -> Any:
    """One of them."""
    return choices[int(rng.integers(len(choices)))]


def rng_of(seed: int, name: str) -> Generator:
    """Strengths of one fault in one seed."""
    return np.random.default_rng((seed, *name.encode()))
