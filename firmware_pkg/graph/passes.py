"""What a pass is: a function that rewrites a `Network` and says what it did, so that it can be held to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from firmware_pkg.graph.network import Array, Network
from firmware_pkg.graph.registry import Wishes

Outputs: TypeAlias = Sequence[Array]
Restore: TypeAlias = Callable[[Outputs], Outputs]


def unchanged(outputs: Outputs) -> Outputs:
    """Outputs that are what they were."""
    return outputs


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """How the old and the new outputs are read as one class per pixel, and how the small grid lies in the large one."""

    large: Callable[[Outputs], Array]  # old outputs -> (H, W) whole numbers
    small: Callable[[Outputs], Array]  # new outputs -> (h, w)
    coordinates: str = "half_pixel"  # ONNX's coordinate_transformation_mode


@dataclass(frozen=True, slots=True)
class Change:
    """What a pass did to a network.

    `places`: how many it rewrote; 0: it does not fit. `settings`: what the manifest has to say from now on. `restore` makes of
    the new outputs what the old graph gave, as far as its readers can tell: the proof compares that. `maps`, where it is given,
    is compared instead: the grid became smaller, so pixels at the boundaries of classes may differ.
    """

    places: int = 0
    notes: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    restore: Restore = unchanged
    maps: ClassMaps | None = None


Pass: TypeAlias = Callable[[Network, Wishes], Change]


__all__ = ["Change", "ClassMaps", "Outputs", "Pass", "Restore", "Wishes", "unchanged"]
