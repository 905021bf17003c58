"""Every cause of the catalogue that can be put into a rig, by name. One file per layer; a cause may have several forms."""

from __future__ import annotations

from tests.lab import draw, real
from tests.lab.inject import backend, decode, filters, head, live, preprocess
from tests.lab.inject.base import FAULTS, Fault, rng_of
from tests.lab.rig import Rig, settled

_TRIES = 400
_REAL_TRIES = 8


def faulty(fault: Fault, seed: int) -> Rig:
    """A rig that has this fault: drawn until one can have it. Strength and rig depend on nothing but name and seed."""
    start = int(rng_of(seed, fault.name).integers(1 << 30))
    for attempt in range(_TRIES):
        made = fault.inject(draw.healthy(start + attempt), rng_of(start + attempt, fault.name))
        if made is not None:
            return settled(made)
    raise AssertionError(f"no rig can have {fault.name}")


def faulty_network(fault: Fault, seed: int, network: str) -> Rig | None:
    """As `faulty`, with a network that nobody here made; None where it cannot have this fault."""
    start = int(rng_of(seed, fault.name).integers(1 << 30))
    for attempt in range(_REAL_TRIES):
        before = real.healthy(start + attempt, network)
        made = fault.inject(before, rng_of(start + attempt, fault.name))
        if made is not None:
            return settled(made) if real.possible(before, made) else None
    return None


__all__ = ["FAULTS", "Fault", "backend", "decode", "faulty", "faulty_network", "filters", "head", "live", "preprocess"]
