"""The live picture: one encoding for everybody who looks at a camera, none while nobody does, and none for who is too slow.

Pulled, not pushed: a picture is encoded when a viewer waits for it. It is the frame that the model saw, scaled down once from
the decoder's YUV, its privacy masks filled, with what was found drawn in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from camagent.errors import Busy
from camagent.frame import Classes, ClassMap, Detections, Outcome, outcome_parts
from camagent.onlookers import Shown, View
from camagent.sinks import annotate, to_jpeg
from camagent.slot import Slot

log = logging.getLogger("camagent.web")

BOUNDARY = "camagent-frame"
VIEWERS = 8  # of all cameras together
LONGEST = 960  # pixels of the picture's longer side
QUALITY = 75
_TOLD = 20  # labels
_TURN_S = 0.5
_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Shot:
    """One encoded picture."""

    number: int
    jpeg: bytes
    facts: dict[str, Any]  # of the frame: time, source size, what was found

    def part(self) -> bytes:
        """As a part of multipart/x-mixed-replace, with its facts as JSON in a header of its own."""
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.jpeg)}\r\n"
        return f"{head}X-Camagent-Frame: {json.dumps(self.facts)}\r\n\r\n".encode("ascii") + self.jpeg + b"\r\n"


def shoot(shown: Shown, number: int) -> Shot:
    """A frame as it is shown."""
    frame, outcome = shown.frame, shown.outcome
    picture = annotate(frame, outcome or _NOTHING, shown.labels, longest=LONGEST, private=shown.private)
    facts = {
        "time": round(frame.frame_time, 3), "width": frame.width, "height": frame.height, "looked": outcome is not None,
        "found": found(outcome, shown) if outcome is not None else [],
    }  # fmt: skip
    return Shot(number, to_jpeg(picture, QUALITY), facts)


def found(outcome: Outcome, shown: Shown) -> list[dict[str, Any]]:
    """What is in a picture, in few words: objects per label, the share of areas, the best classes."""
    told: list[dict[str, Any]] = []
    for part in outcome_parts(outcome):
        match part:
            case Detections():
                counted = Counter(shown.labels[int(index)] for index in part.class_ids)
                told += [{"label": label, "count": count} for label, count in counted.most_common(_TOLD)]
            case ClassMap():
                shares = enumerate(part.shares(len(shown.labels)))
                there = [(index, float(share)) for index, share in shares if share > 0 and index != part.background]
                best = sorted(there, key=lambda item: -item[1])[:_TOLD]
                told += [{"label": shown.labels[index], "share": round(share, 4)} for index, share in best]
            case Classes():
                told += [{"label": shown.labels[index], "score": round(score, 3)} for index, score in part.top(3)]
    return told


class Broadcast:
    """One camera's pictures. The event loop's, but for `_encode`, a thread that lives while somebody looks."""

    def __init__(self, view: View, loop: asyncio.AbstractEventLoop) -> None:
        self.viewers = 0
        self._view, self._loop = view, loop
        self._slot: Slot[Shown] | None = None
        self._hungry = threading.Event()  # a viewer waits for a picture
        self._news = asyncio.Event()
        self._shot: Shot | None = None
        self._number = 0

    def join(self) -> None:
        """One more viewer."""
        self.viewers += 1
        if self.viewers == 1:
            self._slot, self._shot = self._view.open(), None
            threading.Thread(target=self._encode, args=(self._slot,), name="web-live", daemon=True).start()

    def leave(self) -> None:
        """One less; with the last one goes the thread."""
        self.viewers -= 1
        if self.viewers == 0 and self._slot is not None:
            self._view.close(self._slot)
            self._slot = None
            self._hungry.set()

    async def after(self, number: int) -> Shot:
        """The newest picture with another number; waits for one."""
        while self._shot is None or self._shot.number == number:
            self._news.clear()
            self._hungry.set()
            await self._news.wait()
        return self._shot

    def _encode(self, slot: Slot[Shown]) -> None:
        while not slot.closed:
            if not self._hungry.wait(_TURN_S):
                continue
            shown = slot.take(_TURN_S)
            if shown is None:
                continue
            self._hungry.clear()
            try:
                self._number += 1
                shot = shoot(shown, self._number)
            except Exception:
                log.exception("the live picture cannot be drawn")
                self._hungry.set()
                continue
            with contextlib.suppress(RuntimeError):  # the server has stopped, its loop is closed
                self._loop.call_soon_threadsafe(self._publish, slot, shot)

    def _publish(self, slot: Slot[Shown], shot: Shot) -> None:
        if slot is self._slot:
            self._shot = shot
            self._news.set()


class Broadcasts:
    """Of all cameras. Belongs to the event loop."""

    def __init__(self, view: Callable[[str], View]) -> None:
        """`view` finds a camera's view, and raises where there is no such camera."""
        self._view = view
        self._running: dict[str, Broadcast] = {}

    def of(self, camera: str) -> Broadcast:
        """This camera's, for one more viewer. Raises Busy, NotFound."""
        view = self._view(camera)
        if sum(one.viewers for one in self._running.values()) >= VIEWERS:
            raise Busy(
                "as many people as the agent serves look at its live pictures", evidence={"viewers": VIEWERS},
                fix="close a page that shows one",
            )  # fmt: skip
        return self._running.setdefault(camera, Broadcast(view, asyncio.get_running_loop()))


async def parts(broadcast: Broadcast) -> AsyncGenerator[bytes, None]:
    """The body of a live answer: a viewer joins with its first byte and leaves with its last."""
    number = 0
    broadcast.join()
    try:
        while True:
            shot = await broadcast.after(number)
            number = shot.number
            yield shot.part()
    finally:
        broadcast.leave()
