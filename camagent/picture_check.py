"""Is the picture worth looking at: does it stand still, is it black or one flat tone, do privacy masks cover it?

Measured on rows of the small picture that the network sees, never on a full one: whether it moves, five times in two seconds at
most (once a second could meet the same picture of a short loop each time); how bright it is, every 2.4 seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Letterbox, Prepared

MOVE_EVERY_S = 0.4
TONE_EVERY_S = 2.4
_EARLY_S = 0.01  # frames come when they come: one that is due now may be a little early
CELLS = 24  # the picture is averaged over CELLS x CELLS cells: sensor noise is gone then, what is in the picture stays
LEAST_CELLS = 8  # fewer tell nothing
EDGE = 0.08  # share of the height, at the top and at the bottom, where cameras write name and time
TONE_ROWS = 88  # rows of the network's input that are averaged: of more, every second, third ..
LOW, HIGH = 0.02, 0.98  # quantiles of the cells' luma: one lamp in the dark is enough to be something
FLAT_RANGE = 3.0  # levels of 255
BLACK_LEVEL, BLACK_RANGE = 16.0, 6.0  # shared reference/empty_detection_faults.md, lens-dark-or-covered: luma below ~15
MOST_SAMPLES = 16_000  # pixels compared: of a larger picture every second, third .. row
ANCHORS = 2
RIPPLE = 0.05  # mean absolute difference in levels; see Stillness
SAME_SCENE = 2.5  # levels: what one encoder makes of one picture is not further apart

_MASK_GRID = 96

Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tone:
    """The brightness of what can be seen: levels 0..255, averaged over cells, without masks, padding and written edges."""

    low: float
    median: float
    high: float

    @property
    def black(self) -> bool:
        """True where nothing is brighter than black."""
        return self.high < BLACK_LEVEL

    @property
    def dark(self) -> bool:
        """True for a picture that is black, or one flat tone. A dim scene has structure, and is neither."""
        span = self.high - self.low
        return span < FLAT_RANGE or (self.black and span < BLACK_RANGE)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the newest frames were like."""

    tone: Tone | None = None  # None: not looked at yet, or nothing to be seen beside masks
    dark_s: float = 0.0  # seconds that it has been black or flat without a break
    still_s: float = 0.0  # seconds that it has been the same picture
    still_frames: int = 0
    masked: float = 0.0  # share of the picture under privacy masks, 0..1


class Stillness:
    """How long the picture has been the same, told from frame to frame.

    Equal means equal but for `RIPPLE`: an encoder that is fed one picture for ever gives key frames and refinements of them
    that differ by hundredths of a level. A still scene is not a frozen one, for its sensor's noise comes anew with every key
    frame: measured with H.264, H.265, MPEG-4 and MJPEG, noise of one level (of 255) moves a picture by 0.8 to 1.5 levels from
    key frame to key frame, a picture that is fed for ever by 0.00 to 0.02 once the encoder has settled. Two anchors, because
    some encoders show two pictures in turn: the key frame, and what the frames after it make of it. Not more: a short loop
    of a still scene has few key frames, and is not frozen.
    """

    def __init__(self, longest_gap_s: float) -> None:
        """After a gap of that many seconds without a frame the count starts anew: nobody saw whether it moved."""
        self.since: float | None = None
        self.last: float | None = None
        self.frames = 0
        self._gap_s = longest_gap_s
        self._anchors: list[NDArray[np.uint8]] = []  # the one that was met last stands first

    def see(self, pixels: NDArray[np.uint8], now: float) -> None:
        """One frame (h, w, 3); `now` in monotonic seconds."""
        step = -(-pixels.shape[0] * pixels.shape[1] // MOST_SAMPLES)
        rows = pixels[::step]
        seen = self.last is not None and now - self.last <= self._gap_s
        if self._met(rows) and seen:
            self.frames += 1
        else:
            self.since, self.frames = now, 1
        self.last = now

    @property
    def seconds(self) -> float:
        """From the first frame that showed this picture to the newest."""
        return 0.0 if self.since is None or self.last is None else self.last - self.since

    def _met(self, rows: NDArray[np.uint8]) -> bool:
        """Whether this is one of the anchors; if not, it becomes one."""
        anchors = self._anchors
        if anchors and anchors[0].shape != rows.shape:
            anchors.clear()
        nearest = float("inf")
        for index, anchor in enumerate(anchors):
            distance = cv2.norm(rows, anchor, cv2.NORM_L1) / rows.size
            if distance <= RIPPLE:
                anchors.insert(0, anchors.pop(index))
                return True
            nearest = min(nearest, distance)
            if distance > SAME_SCENE + RIPPLE:  # the anchors are within SAME_SCENE of each other: it is not the second either
                break
        if nearest > SAME_SCENE:  # another scene: what is left of the old one must not be met again
            del anchors[1:]
        full = len(anchors) == (1 if nearest > SAME_SCENE else ANCHORS)
        spare = anchors.pop() if full else np.empty_like(rows)  # the buffer is used again
        np.copyto(spare, rows)
        anchors.insert(0, spare)
        return False


def tone_of(pixels: NDArray[np.uint8], visible: NDArray[np.bool_]) -> Tone | None:
    """The tone of a picture (h, w, 3); `visible` (CELLS, CELLS) says which cells count. None where too few do.

    The luma weights are those of R, G, B; for B, G, R they tell as well what is black and what is flat.
    """
    rows = cv2.cvtColor(pixels[:: max(1, len(pixels) // TONE_ROWS)], cv2.COLOR_RGB2GRAY)
    luma = np.sort(cv2.resize(rows, (CELLS, CELLS), interpolation=cv2.INTER_AREA)[visible])
    if len(luma) < LEAST_CELLS:
        return None
    low, median, high = (float(luma[round((len(luma) - 1) * share)]) for share in (LOW, 0.5, HIGH))
    return Tone(low, median, high)


def masked_map(masks: Sequence[Polygon]) -> NDArray[np.bool_]:
    """Which parts of the picture are under a mask, on a coarse grid over the whole picture; an edge counts as masked."""
    drawn = np.zeros((_MASK_GRID, _MASK_GRID), np.uint8)
    for polygon in masks:
        cv2.fillPoly(drawn, [np.round(np.array(polygon) * (_MASK_GRID - 1)).astype(np.int32)], 1)
    return drawn.astype(np.bool_)


def visible_cells(letterbox: Letterbox, masked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(CELLS, CELLS): cells of the network's input that show nothing but scene: no padding, no mask, no written edge."""
    steps = np.arange(CELLS + 1) / CELLS
    x = (steps * letterbox.network_width - letterbox.offset_x) / letterbox.scale_x / letterbox.source_width
    y = (steps * letterbox.network_height - letterbox.offset_y) / letterbox.scale_y / letterbox.source_height
    across, down = _spans(x, 0.0), _spans(y, EDGE)
    found = np.zeros((CELLS, CELLS), np.bool_)
    for row, tall in enumerate(down):
        for column, wide in enumerate(across):
            found[row, column] = tall is not None and wide is not None and not masked[tall, wide].any()
    return found


def _spans(edges: NDArray[np.float64], margin: float) -> list[slice | None]:
    """Per cell the part of the coarse grid that it covers; None where it reaches beyond the picture without its margins."""
    spans: list[slice | None] = []
    for start, end in pairwise(edges):
        inside = start >= margin - 1e-6 and end <= 1 - margin + 1e-6
        first, last = int(max(start, 0) * _MASK_GRID), int(np.ceil(min(end, 1) * _MASK_GRID))
        spans.append(slice(first, max(last, first + 1)) if inside else None)
    return spans


class PictureCheck:
    """One camera's check. `see` belongs to the worker, `facts` to any thread."""

    def __init__(self, masks: Sequence[Polygon], fps: float) -> None:
        """`fps`: of inference, as configured."""
        self._masked = masked_map(masks)
        self._share = float(self._masked.mean())
        self._stillness = Stillness(max(3.0, 3.0 / fps))
        self._letterbox: Letterbox | None = None
        self._visible = np.zeros((CELLS, CELLS), np.bool_)
        self._tone: Tone | None = None
        self._tone_at = self._dark_since = self._next = float("-inf")
        self._facts = PictureFacts(masked=self._share)

    def see(self, prepared: Prepared, now: float) -> None:
        """One frame, on its way into the model; `now` in monotonic seconds."""
        if now < self._next:
            return
        self._next = now + MOVE_EVERY_S - _EARLY_S
        self._stillness.see(prepared.pixels, now)
        if now - self._tone_at >= TONE_EVERY_S:
            self._look(prepared, now)
        dark = self._tone is not None and self._tone.dark
        still = self._stillness
        self._facts = PictureFacts(
            self._tone, self._tone_at - self._dark_since if dark else 0.0, still.seconds, still.frames, self._share
        )

    def facts(self) -> PictureFacts:
        """As of the newest frame."""
        return self._facts

    def _look(self, prepared: Prepared, now: float) -> None:
        if prepared.letterbox is not self._letterbox:
            self._letterbox, self._visible = prepared.letterbox, visible_cells(prepared.letterbox, self._masked)
        was_dark = self._tone is not None and self._tone.dark and now - self._tone_at <= 2 * TONE_EVERY_S
        self._tone, self._tone_at = tone_of(prepared.pixels, self._visible), now
        if not was_dark:
            self._dark_since = now
