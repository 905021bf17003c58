"""Two faults at once, from different layers, the realistic pairs first."""

from __future__ import annotations

from numpy.random import Generator

from camagent.errors import CodedError
from tests.lab import draw
from tests.lab.inject.base import FAULTS, Fault, one, rng_of
from tests.lab.referee import DEFECTS, harmless
from tests.lab.rig import Rig, settled

LAYERS = ("system", "source", "decode", "preprocess", "backend", "head", "filter")  # upstream first
REALISTIC = (
    ("letterbox-vs-stretch", "channel-order-swapped"), ("scale-doubled", "threshold-too-high"),
    ("scale-missing", "threshold-too-high"), ("int8-concat-collapse", "class-filter-excludes"),
    ("head-family-mismatch", "label-offset"), ("packet-loss-smear", "threshold-too-high"),
    ("channel-order-swapped", "threshold-too-high"), ("channel-order-swapped", "min-area-filter"),
    ("mean-std-wrong", "sigmoid-missing"), ("scale-doubled", "box-scale-wrong"), ("layout-nchw-nhwc", "sigmoid-twice"),
    ("orientation-wrong", "class-filter-excludes"), ("stream-frozen", "min-area-filter"), ("scale-missing", "box-format-wrong"),
    ("lens-dark-or-covered", "channel-order-swapped"), ("int8-head-compressed", "min-area-filter"),
    ("box-scale-wrong", "min-area-filter"), ("stream-unreachable", "scale-missing"),
    ("wrong-stream-profile", "threshold-too-high"),
)  # fmt: skip
_REALISTIC = 0.65  # of all pairs
_TRIES = 400


def pair(index: int, seed: int) -> tuple[Fault, Fault, Rig]:
    """The pair number `index`: upstream fault, downstream fault, and a rig that has both, either of which does harm alone."""
    rng = rng_of(seed, f"pair{index}")
    wanted = REALISTIC[index % len(REALISTIC)] if rng.random() < _REALISTIC else None
    for attempt in range(_TRIES):
        first, second = _drawn(rng, wanted)
        if first.cause == second.cause or LAYERS.index(first.layer) > LAYERS.index(second.layer):
            continue
        rig = draw.healthy(int(rng.integers(1 << 30)))
        made = _both(rig, first, second, attempt)
        if made is not None:
            return first, second, made
    raise AssertionError(f"no pair {index} in seed {seed}: {wanted}")


def _drawn(rng: Generator, wanted: tuple[str, str] | None) -> tuple[Fault, Fault]:
    if wanted is None:
        first, second = (one(rng, list(FAULTS.values())) for _ in range(2))
        return (first, second) if first.layer != second.layer else (first, first)
    first, second = (one(rng, [fault for fault in FAULTS.values() if fault.cause == cause]) for cause in wanted)
    return first, second


def _both(rig: Rig, first: Fault, second: Fault, attempt: int) -> Rig | None:
    try:
        one_alone, other_alone = (fault.inject(rig, rng_of(attempt, fault.name)) for fault in (first, second))
        made = None if one_alone is None else second.inject(one_alone, rng_of(attempt, second.name))
        if one_alone is None or other_alone is None or made is None or harmless(one_alone) or harmless(other_alone):
            return None
    except (*DEFECTS, CodedError, AssertionError):  # the two cannot be put into one rig
        return None
    return settled(made)
