"""How a live picture may be wrong although the model is right: each way undone on stored frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.selftest.looked import Place
from camagent.selftest.statistics import PictureFacts

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
_LOW, _SPAN = 16, 219  # limited range, ITU-R BT.601-7
_SLACK, _COLOURED = 3, 3.0  # levels
_TINTED = 35.0  # levels of mean chroma: a whole picture so tinted has another illness than its range
_SMALL = 0.07  # of the picture's height: what is higher is large enough for any network
_ZOOMS = (2.0, 3.0, 4.5)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture as it may be right. `highest`: what is found on it is no higher than this share of it."""

    pixels: Pixels
    highest: float = 1.0

    def may_be(self, place: Place | None) -> bool:
        """Whether a thing found there is as small as it must be."""
        return self.highest >= 1 or place is None or place[3] - place[1] <= self.highest


Change = Callable[[Pixels, Place | None], list[View]]  # the place: where something is nearly seen


@dataclass(frozen=True, slots=True)
class Undo:
    """One assumption about the picture, undone: the axis, its cause, and the views that come of one picture."""

    axis: str
    cause: str
    change: Change
    fix: str
    fits: Callable[[PictureFacts], bool] = lambda facts: True  # noqa: ARG005  whether the pixels allow it at all


def _turned(quarters: int) -> Change:
    return lambda pixels, _: [View(np.ascontiguousarray(np.rot90(pixels, quarters)))]


def _chroma_exchanged(pixels: Pixels, _: Place | None) -> list[View]:
    """NV12 read as NV21, or the other way round: U and V exchanged, luma as it was."""
    yuv = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    exchanged = np.ascontiguousarray(yuv[:, :, [0, 2, 1]])
    return [View(np.asarray(cv2.cvtColor(exchanged, cv2.COLOR_YCrCb2RGB), np.uint8))]


def _stretched_range(pixels: Pixels, _: Place | None) -> list[View]:
    """Limited range that was shown as full: 16..235 -> 0..255, by one component or, once more, by two."""
    once = (pixels.astype(np.float32) - _LOW) * (255 / _SPAN)
    return [_bytes(once), _bytes((once - _LOW) * (255 / _SPAN))]


def _squeezed_range(pixels: Pixels, _: Place | None) -> list[View]:
    """Full range that was taken for limited, by one component or by two: 0..255 -> 16..235; what was clipped stays clipped."""
    once = pixels.astype(np.float32) * (_SPAN / 255) + _LOW
    return [_bytes(once), _bytes(once * (_SPAN / 255) + _LOW)]


def _bytes(values: NDArray[np.float32]) -> View:
    return View(np.asarray(np.clip(np.rint(values), 0, 255), np.uint8))


def _closer(pixels: Pixels, place: Place | None) -> list[View]:
    """What is too small for the network's input, larger: around the place, or all four quarters where there is none."""
    if place is not None:
        x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        return [_window(pixels, x, y, zoom) for zoom in _ZOOMS]
    return [_window(pixels, x, y, 2.0) for y in (0.25, 0.75) for x in (0.25, 0.75)]


def _window(pixels: Pixels, x: float, y: float, zoom: float) -> View:
    """A part of the picture, so many times smaller, around (x, y), 0..1, and wholly inside."""
    height, width = (max(2, int(side / zoom)) for side in pixels.shape[:2])
    left = int(np.clip(x * pixels.shape[1] - width / 2, 0, pixels.shape[1] - width))
    top = int(np.clip(y * pixels.shape[0] - height / 2, 0, pixels.shape[0] - height))
    return View(np.ascontiguousarray(pixels[top : top + height, left : left + width]), _SMALL * zoom)


UNDO = (
    Undo("V:rotate-90", "orientation-wrong", _turned(1), "the picture is turned: rotate it by 90 degrees to the left"),
    Undo("V:rotate-270", "orientation-wrong", _turned(3), "the picture is turned: rotate it by 90 degrees to the right"),
    Undo("V:rotate-180", "orientation-wrong", _turned(2), "the picture stands on its head: rotate it by 180 degrees"),
    Undo(
        "V:nv12-nv21", "chroma-order-wrong", _chroma_exchanged, "U and V are exchanged",
        fits=lambda facts: _COLOURED < facts.chroma < _TINTED,
    ),
    Undo(
        "V:range-full", "colour-range-or-matrix", _stretched_range, "limited range is shown as full range",
        fits=lambda facts: facts.luma_low >= _LOW - _SLACK and facts.luma_high <= _LOW + _SPAN + _SLACK
        and facts.chroma < _TINTED,
    ),
    Undo(
        "V:range-limited", "colour-range-or-matrix", _squeezed_range, "full range is taken for limited range",
        fits=lambda facts: facts.chroma < _TINTED,
    ),
    Undo("V:closer", "wrong-stream-profile", _closer, "objects are too small for the network's input"),
)  # fmt: skip


def ways(facts: PictureFacts) -> list[Undo]:
    """Those that the pixels allow."""
    return [undo for undo in UNDO if undo.fits(facts)]
