"""Hand-over between two threads, bounded by construction: the newest item wins and every loss is counted."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Latest wins: a slow taker never sees a queue, only the newest item. One taker, any number of givers."""

    def __init__(self) -> None:
        self._ready = Condition()
        self._box: deque[T] = deque(maxlen=1)
        self._open = True
        self.dropped = 0

    @property
    def waiting(self) -> bool:
        """True while an item lies here that nobody has taken."""
        return bool(self._box)

    def put(self, item: T) -> None:
        """Leaves an item; one that was not taken is replaced and counted as dropped."""
        with self._ready:
            self.dropped += len(self._box)
            self._box.append(item)
            self._ready.notify()

    def refresh(self, item: T) -> None:
        """Replaces the waiting item by a newer one of the same meaning; nothing is lost, so nothing is counted."""
        with self._ready:
            if self._box:
                self._box.append(item)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until an item lies here, which stays; False after `timeout_s`, or when the slot is closed and empty."""
        with self._ready:
            self._ready.wait_for(lambda: self._box or not self._open, timeout_s)
            return bool(self._box)

    def take(self, timeout_s: float | None = None) -> T | None:
        """The newest item; None after `timeout_s`, or when the slot is closed and empty."""
        with self._ready:
            self._ready.wait_for(lambda: self._box or not self._open, timeout_s)
            return self._box.popleft() if self._box else None

    @property
    def closed(self) -> bool:
        """True once nobody will put anything here again."""
        return not self._open

    def close(self) -> None:
        """Ends the hand-over: the taker gets what is left, then None."""
        with self._ready:
            self._open = False
            self._ready.notify_all()
