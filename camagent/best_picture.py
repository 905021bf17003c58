"""Which object's picture a frame becomes, if any: each object's best one, and not more than a camera can encode. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from camagent.frame import Track

EVERY_S = 1.0  # between two pictures of one camera
BETTER = 1.1  # so much more a picture must be worth than the object's best so far
LARGE = 0.05  # share of the picture that an object covers who need not come nearer
SMALL_FACTOR = 0.5  # of the score, for an object without any size
CUT_FACTOR = 0.6  # for one that the picture's edge cuts off
_EDGE = 0.004  # share of the picture's sides: three pixels of 720 lines


def worth(track: Track, width: int, height: int) -> float:
    """How well a frame of this size (pixels) shows an object, 0..1: its score, less where it is small or cut off."""
    x1, y1, x2, y2 = track.box
    share = max(0.0, x2 - x1) * max(0.0, y2 - y1) / (width * height)
    size = SMALL_FACTOR + (1 - SMALL_FACTOR) * min(1.0, math.sqrt(share / LARGE))
    margin_x, margin_y = width * _EDGE, height * _EDGE
    whole = x1 > margin_x and y1 > margin_y and x2 < width - margin_x and y2 < height - margin_y
    return track.score * size * (1.0 if whole else CUT_FACTOR)


class BestPictures:
    """What the best picture of each object was worth. Every time is passed in, monotonic seconds."""

    def __init__(self) -> None:
        self._best: dict[int, float] = {}
        self._next = float("-inf")

    def __len__(self) -> int:
        return len(self._best)

    def pick(self, found: Iterable[Track], width: int, height: int, now: float) -> Track | None:
        """The object whose picture this frame is to become: first those that have none yet, then what gains most by it."""
        if now < self._next:
            return None
        chosen: tuple[bool, float, Track] | None = None
        for track in found:
            value, best = worth(track, width, height), self._best.get(track.id)
            if best is not None and value < best * BETTER:
                continue
            rank = (best is None, value - (best or 0.0), track)
            if chosen is None or rank[:2] > chosen[:2]:
                chosen = rank
        return None if chosen is None else chosen[2]

    def took(self, track: Track, width: int, height: int, now: float) -> None:
        """That picture was made."""
        self._best[track.id] = worth(track, width, height)
        self._next = now + EVERY_S

    def failed(self, now: float) -> None:
        """None could be made: not tried again with every frame."""
        self._next = now + EVERY_S

    def forget(self, ids: Iterable[int]) -> None:
        """These objects are gone."""
        for number in ids:
            self._best.pop(number, None)

    def clear(self) -> None:
        """All are."""
        self._best.clear()
