"""Two faults at once, from different layers, the realistic pairs first."""

from __future__ import annotations

from camagent.errors import CodedError
from tests.lab import draw
from tests.lab.inject.base import FAULTS, Fault, one, rng_of
from tests.lab.rig import Rig, settled

LAYERS = ("system", "source", "decode", "preprocess", "backend", "head", "filter")  # upstream first
_TRIES = 300


def pair(index: int, seed: int) -> tuple[Fault, Fault, Rig]:
    """The pair number `index`: upstream fault, downstream fault, and a rig that has both."""
    rng = rng_of(seed, f"pair{index}")
    for attempt in range(_TRIES):
        first, second = (one(rng, list(FAULTS.values())) for _ in range(2))
        if LAYERS.index(first.layer) >= LAYERS.index(second.layer):
            continue
        rig = draw.healthy(int(rng.integers(1 << 30)))
        try:
            with_one = first.inject(rig, rng_of(attempt, first.name))
            with_both = None if with_one is None else second.inject(with_one, rng_of(attempt, second.name))
        except (CodedError, AssertionError):
            continue
        if with_both is not None:
            return first, second, settled(with_both)
    raise AssertionError(f"no pair {index} in seed {seed}")
