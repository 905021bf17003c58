"""How a live picture may be wrong although the model is right: each way undone on stored frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.selftest.statistics import PictureFacts

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
_LOW, _SPAN = 16, 219  # limited range, ITU-R BT.601-7
_SLACK, _CLIPPED, _COLOURED = 3, 2, 3.0  # levels
_SMALL = 0.14  # of a quarter's height: what is higher is large enough in the whole picture, too


@dataclass(frozen=True, slots=True)
class Undo:
    """One assumption about the picture, undone: the axis, its cause, and the pictures that come of one."""

    axis: str
    cause: str
    change: Callable[[Pixels], list[Pixels]]
    fix: str
    highest: float = 1.0  # of what is found then: no higher than this share of the changed picture
    fits: Callable[[PictureFacts], bool] = lambda facts: True  # noqa: ARG005  whether the pixels allow it at all


def _turned(quarters: int) -> Callable[[Pixels], list[Pixels]]:
    return lambda pixels: [np.ascontiguousarray(np.rot90(pixels, quarters))]


def _chroma_exchanged(pixels: Pixels) -> list[Pixels]:
    """NV12 read as NV21, or the other way round: U and V exchanged, luma as it was."""
    yuv = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    return [np.asarray(cv2.cvtColor(np.ascontiguousarray(yuv[:, :, [0, 2, 1]]), cv2.COLOR_YCrCb2RGB), np.uint8)]


def _stretched_range(pixels: Pixels) -> list[Pixels]:
    """Limited range that was shown as full: 16..235 -> 0..255."""
    return [np.clip((pixels.astype(np.float32) - _LOW) * (255 / _SPAN), 0, 255).astype(np.uint8)]


def _squeezed_range(pixels: Pixels) -> list[Pixels]:
    """Full range that was taken for limited: 0..255 -> 16..235; what was clipped stays clipped."""
    return [(pixels.astype(np.float32) * (_SPAN / 255) + _LOW).astype(np.uint8)]


def _tiles(pixels: Pixels) -> list[Pixels]:
    """Quarters of the picture: objects that are too small for the network's input get twice as large."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    return [
        np.ascontiguousarray(pixels[y : y + height, x : x + width])
        for y in (0, pixels.shape[0] - height)
        for x in (0, pixels.shape[1] - width)
    ]


UNDO = (
    Undo("V:rotate-90", "orientation-wrong", _turned(1), "the picture is turned: rotate it by 90 degrees to the left"),
    Undo("V:rotate-270", "orientation-wrong", _turned(3), "the picture is turned: rotate it by 90 degrees to the right"),
    Undo("V:rotate-180", "orientation-wrong", _turned(2), "the picture stands on its head: rotate it by 180 degrees"),
    Undo(
        "V:nv12-nv21", "chroma-order-wrong", _chroma_exchanged, "U and V are exchanged",
        fits=lambda facts: facts.chroma > _COLOURED,
    ),
    Undo(
        "V:range-full", "colour-range-or-matrix", _stretched_range, "limited range is shown as full range",
        fits=lambda facts: facts.luma_low >= _LOW - _SLACK and facts.luma_high <= _LOW + _SPAN + _SLACK,
    ),
    Undo(
        "V:range-limited", "colour-range-or-matrix", _squeezed_range, "full range is taken for limited range",
        fits=lambda facts: facts.luma_low <= _CLIPPED or facts.luma_high >= 255 - _CLIPPED,
    ),
    Undo("V:tile", "wrong-stream-profile", _tiles, "objects are too small for the network's input", highest=_SMALL),
)  # fmt: skip


def ways(facts: PictureFacts) -> list[Undo]:
    """Those that the pixels allow."""
    return [undo for undo in UNDO if undo.fits(facts)]
