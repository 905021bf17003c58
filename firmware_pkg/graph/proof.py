"""Whether a rewritten graph still says the same: outputs compared number by number, or class by class. No runtime in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from firmware_pkg.graph.network import Array
from firmware_pkg.graph.passes import Change, ClassMaps, Outputs

# of an output's largest value: what sums in another order may differ by
TOLERANCE: Mapping[str, float] = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-9}
SAME_IDS = 0.999  # share of whole numbers, or of pixels away from boundaries, that have to be identical
OFF_BOUNDARY = 0.1  # share of a map that has to lie off boundaries; where nearly all is boundary nothing is proved

Kind: TypeAlias = Literal["bit-equal", "tolerance", "ids", "class map", "shape"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`holds`, how it was compared, and the numbers; `words` is the sentence for people."""

    holds: bool
    kind: Kind
    words: str
    measured: Mapping[str, float] = field(default_factory=dict)


def judge(change: Change, before: Sequence[Outputs], after: Sequence[Outputs]) -> Verdict:
    """Compares the outputs of the old and the new graph for the same inputs, one entry per input, as `change` says."""
    if change.maps is not None:
        return _class_maps(change.maps, before, after)
    restored = [change.restore(outputs) for outputs in after]
    verdicts = [
        _arrays(old, new) for one, other in zip(before, restored, strict=True) for old, new in _pairs(one, other)
    ]  # fmt: skip
    return _worst(verdicts)


def _pairs(before: Outputs, after: Outputs) -> list[tuple[Array, Array]]:
    if len(before) != len(after):  # an output that is not there any more
        return [(np.zeros(len(before)), np.zeros((len(after), 1)))]
    return list(zip(before, after, strict=True))


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order: dict[Kind, int] = {"bit-equal": 0, "tolerance": 1, "ids": 2, "class map": 3, "shape": 4}
    return max(verdicts, key=lambda one: (not one.holds, order[one.kind], one.measured.get("error", 0.0)))


def _arrays(old: Array, new: Array) -> Verdict:
    if old.shape != new.shape:
        return Verdict(False, "shape", f"an output of shape {list(old.shape)} became {list(new.shape)}")  # noqa: FBT003
    if old.dtype == new.dtype and np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
        return Verdict(True, "bit-equal", "bit-equal")  # noqa: FBT003
    if old.dtype.kind != "f":
        same = float(np.mean(old == new))
        words = f"{same:.4%} of the whole numbers identical, needed {SAME_IDS:.1%}"
        return Verdict(same >= SAME_IDS, "ids", words, {"same": same, "error": 1 - same})
    return _floats(old, new)


def _floats(old: Array, new: Array) -> Verdict:
    tolerance = TOLERANCE.get(str(old.dtype), 1e-4)
    finite = np.isfinite(old)
    apart = old[~finite], new[~finite]
    size = float(np.abs(old[finite]).max(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.abs(old[finite].astype(np.float64) - new[finite]).max(initial=0.0))
    relative = error / size if size else error
    holds = np.array_equal(*apart, equal_nan=True) and relative <= tolerance  # a new NaN makes the error NaN, which is never <=
    words = f"largest error {relative:.1e} of the largest value {size:.4g}, tolerance {tolerance:.0e}"
    return Verdict(holds, "tolerance", words, {"error": relative, "largest": size, "tolerance": tolerance})


def _class_maps(maps: ClassMaps, before: Sequence[Outputs], after: Sequence[Outputs]) -> Verdict:
    pixels = boundary = off = on = 0
    for one, other in zip(before, after, strict=True):
        large, small = maps.large(one), maps.small(other)
        nearest, inside = enlarged(small, large.shape, maps.coordinates)
        inside |= small.shape == large.shape  # the very grid: then nothing is excused
        wrong = large != nearest
        pixels += large.size
        boundary += int(np.count_nonzero(~inside))
        off += int(np.count_nonzero(wrong & inside))
        on += int(np.count_nonzero(wrong & ~inside))
    inner = pixels - boundary
    same = 1 - off / inner if inner else 0.0
    words = (
        f"class map: {same:.4%} of {inner} pixels off the boundaries identical (needed {SAME_IDS:.1%}); "
        f"{boundary} ({boundary / pixels:.2%}) at boundaries, {on} of them differ"
    )
    if inner < OFF_BOUNDARY * pixels:
        words += f"; too many: {OFF_BOUNDARY:.0%} have to lie off boundaries"
    measured = {"pixels": pixels, "boundary": boundary, "differ_off_boundary": off, "differ_at_boundary": on, "same": same}
    return Verdict(same >= SAME_IDS and inner >= OFF_BOUNDARY * pixels, "class map", words, measured)


def enlarged(small: Array, shape: tuple[int, ...], coordinates: str) -> tuple[Array, NDArray[np.bool_]]:
    """A map enlarged by its nearest cell, and where the cells that a pixel would be interpolated from are all of one class.

    The coordinates are those of ONNX's Resize.
    """
    (rows, y), (columns, x) = (_neighbours(n, m, coordinates) for n, m in zip(small.shape, shape, strict=True))
    nearest = small[y[:, None], x]
    corners = [small[row[:, None], column] for row in rows for column in columns]
    inside: NDArray[np.bool_] = np.logical_and.reduce([corner == corners[0] for corner in corners])
    return nearest, inside


def _neighbours(cells: int, pixels: int, coordinates: str) -> tuple[tuple[Array, Array], Array]:
    """For every pixel the cells before and behind it, and the nearer one (the first, where both are equally near)."""
    at = np.arange(pixels)
    position = {
        "align_corners": at * ((cells - 1) / max(1, pixels - 1)),
        "asymmetric": at * (cells / pixels),
    }.get(coordinates, (at + 0.5) * (cells / pixels) - 0.5)
    position = np.clip(position, 0, cells - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, cells - 1)
    return (low, high), np.clip(np.ceil(position - 0.5).astype(np.int64), 0, cells - 1)
