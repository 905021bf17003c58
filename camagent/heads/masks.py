"""Masks as COCO run lengths: column by column, alternating runs of 0 and 1, packed into a short string.

pycocotools is the yardstick (the tests compare byte for byte) but no dependency of the camera: compiled code for 40 lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.frame import ClassMap, IntArray

_GROUP = 5  # bits per character
_MORE = 0x20  # this value goes on in the next character
_FIRST_CHAR = 48  # "0"
_GROUP_LIMITS = np.array([1 << (_GROUP * groups - 1) for groups in range(1, 12)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as pycocotools writes it."""

    size: tuple[int, int]  # height, width
    counts: str


def encode(mask: NDArray[np.bool_ | np.uint8]) -> Rle:
    """A mask (height, width), anything but 0 is in it, as run lengths."""
    height, width = mask.shape
    flat = mask.T.ravel() != 0
    return _pack(np.flatnonzero(np.diff(flat, prepend=False)), height, width)


def encode_class(class_map: ClassMap, class_id: int) -> Rle:
    """The mask of one class in source pixels, without ever building it.

    Source rows and columns that fall into the same row or column of the grid are equal, so the flips between 0 and 1 are
    found once per distinct grid column, and repeated for each source column that shows it.
    """
    height, width = len(class_map.rows), len(class_map.columns)
    tops, lefts = _run_starts(class_map.rows), _run_starts(class_map.columns)
    ids = class_map.ids[class_map.rows[tops]][:, class_map.columns[lefts]]
    blocks = np.ascontiguousarray(class_id == ids.T)  # (distinct columns, distinct rows)

    flips = np.ones(blocks.shape, np.bool_)  # the first of each column stands for its upper edge, and is judged below
    np.not_equal(blocks[:, 1:], blocks[:, :-1], out=flips[:, 1:])
    positions = tops[np.flatnonzero(flips) % len(tops)]
    per_block = np.count_nonzero(flips, axis=1)
    first_of_block = np.cumsum(per_block) - per_block

    block = np.repeat(np.arange(len(lefts)), np.diff(lefts, append=width))  # (width,): what each source column shows
    per_column = per_block[block]
    first = np.cumsum(per_column) - per_column
    index = np.arange(per_column.sum()) + np.repeat(first_of_block[block] - first, per_column)
    where = positions[index] + np.repeat(np.arange(width) * height, per_column)

    bottom = blocks[block, -1]
    real = np.ones(len(where), np.bool_)
    real[first] = blocks[block, 0] != np.concatenate([[False], bottom[:-1]])  # the column before runs into this one
    return _pack(where[real], height, width)


def encode_window(mask: NDArray[np.bool_], left: int, top: int, height: int, width: int) -> Rle:
    """A mask that covers a window of a picture (height, width) and is empty around it, without ever building the whole."""
    rows, columns = mask.shape
    if not mask.size:
        return _pack(np.zeros(0, np.intp), height, width)
    flat = np.zeros(columns * (rows + 1) + 1, np.bool_)  # column by column, with nothing above each and below the last
    flat[:-1].reshape(columns, rows + 1)[:, 1:] = cv2.transpose(mask.view(np.uint8))
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows + 1)
    where = (left + column) * height + top + row
    joined = where[1:] == where[:-1]  # a run to the lower edge goes on at the upper edge of the next column
    real = np.ones(len(where), np.bool_)
    real[1:] &= ~joined
    real[:-1] &= ~joined
    return _pack(where[real & (where < height * width)], height, width)


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Run lengths to the mask (height, width). Raises ValueError when the string is malformed or does not fill the size."""
    height, width = rle.size
    runs = _unpack(rle.counts)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"the runs do not fill a mask of {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def _run_starts(index: IntArray) -> NDArray[np.intp]:
    """Where `index` (non-negative) takes another value than just before; position 0 always."""
    return np.flatnonzero(np.diff(index, prepend=-1))


def _pack(flips: NDArray[np.intp], height: int, width: int) -> Rle:
    """Positions at which the column-major mask changes (it begins with 0) to the string.

    From the fourth run on each is written as the difference to the last but one; numbers are two's complement in groups of
    5 bits, lowest first, as few as keep the sign, bit 6 set where another follows (pycocotools: maskApi.c, rleToString).
    """
    values = np.diff(flips, prepend=0, append=height * width).astype(np.int64)
    values[3:] -= values[1:-2]
    magnitude = values ^ (values >> 63)
    groups = 1 + np.searchsorted(_GROUP_LIMITS, magnitude, side="right")
    ends = np.cumsum(groups)
    place = np.arange(ends[-1]) - np.repeat(ends - groups, groups)
    chars = (np.repeat(values, groups) >> (_GROUP * place)) & (_MORE - 1) | _MORE
    chars[ends - 1] &= ~_MORE
    return Rle((height, width), (chars + _FIRST_CHAR).astype(np.uint8).tobytes().decode("ascii"))


def _unpack(counts: str) -> IntArray:
    """The string to run lengths; the inverse of `_pack`."""
    chars = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHAR
    if not chars.size or chars.min() < 0 or chars.max() >= 2 * _MORE or chars[-1] & _MORE:
        raise ValueError("these are no COCO run lengths")
    ends = np.flatnonzero(chars < _MORE)
    groups = np.diff(ends, prepend=-1)
    if groups.max() > len(_GROUP_LIMITS):
        raise ValueError("a run length is too large")
    starts = ends - groups + 1
    place = np.arange(len(chars)) - np.repeat(starts, groups)
    values = np.add.reduceat((chars & (_MORE - 1)) << (_GROUP * place), starts)
    values -= np.where(chars[ends] & (_MORE >> 1), np.int64(1) << (_GROUP * groups), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
