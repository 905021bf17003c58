"""Faults that `camagent demo --break` can put in, by the self-test's names of them. Pure: a fault changes a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

# what the bundle is built with: recipes/od_seg was trained so
OPTIONS: Mapping[str, str] = MappingProxyType({"--color": "rgb", "--scale": "0.00392157", "--min-score": "0.4"})
ABSENT = "rtsp://127.0.0.1:9/stream1"  # the discard port of a machine on which nobody listens

Stream: TypeAlias = Literal["street", "dark"]
Place: TypeAlias = Literal["store", "file", "unsigned"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a demo is made of."""

    options: Mapping[str, str] = field(default_factory=lambda: OPTIONS)  # of `bundle create`
    camera: Mapping[str, Any] = field(default_factory=dict)  # keys of [[camera]]
    mqtt: Mapping[str, Any] = field(default_factory=dict)  # keys of [mqtt]
    stream: Stream = "street"
    bundle: Place = "store"
    anonymous: bool = True  # whether the broker lets in who gives no name


@dataclass(frozen=True, slots=True)
class Fault:
    """A plan with one thing wrong."""

    words: str
    plan: Plan


def _built(**options: str) -> Plan:
    """A bundle that contradicts its model: the store would refuse it by its golden pictures, so it is used as a file."""
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    return Plan(options={**OPTIONS, **given}, bundle="file")


def _camera(**keys: Any) -> Plan:
    return Plan(camera=keys)


FAULTS: Mapping[str, Fault] = MappingProxyType({
    "stream-unreachable": Fault("the camera's url leads nowhere", _camera(url=ABSENT)),
    "lens-dark-or-covered": Fault("somebody hung a cap over the lens", Plan(stream="dark")),
    "scale-doubled": Fault("the bundle divides by 255 twice", _built(scale="0.0000154")),
    "scale-missing": Fault("the bundle forgets that the model wants 0 to 1", _built(scale="1")),
    "mean-std-wrong": Fault("the bundle has another model's mean and std", _built(mean="0.9,0.9,0.9", std="0.1,0.1,0.1")),
    "threshold-too-high": Fault("min_score is 0.99", _camera(filter={"min_score": 0.99})),
    "class-filter-excludes": Fault("only boats are wanted", _camera(filter={"labels": ["boat"]})),
    "min-area-filter": Fault("min_area is larger than any car", _camera(filter={"min_area": 900_000})),
    "mask-or-motion-gate": Fault(
        "a privacy mask covers the whole street", _camera(mask=[{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}])
    ),
    "mqtt-unreachable": Fault("mqtt.url leads nowhere", Plan(mqtt={"url": "mqtt://127.0.0.1:9"})),
    "mqtt-auth-refused": Fault("the broker wants a name, and none is configured", Plan(anonymous=False)),
    "no-bundle": Fault("the configuration names a bundle that nobody has installed", _camera(bundle="streets")),
    "bundle-refused": Fault("nobody has signed the bundle", Plan(bundle="unsigned")),
})  # fmt: skip


__all__ = ["ABSENT", "FAULTS", "OPTIONS", "Fault", "Place", "Plan", "Stream"]
