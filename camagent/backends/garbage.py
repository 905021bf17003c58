"""Reference cycles that a vendor's Python package leaves behind, collected by their bytes rather than by their number.

RKNNLite's `inference()` leaves one per call with that call's buffers: 42 kB each on an RK3588, 580 MB after 13,690 calls
(airockchip/rknn-toolkit2 #42). Python counts objects, so thousands of such cycles are nothing to it; and where older garbage
refers to younger, only a full collection finds them. Resident memory does not tell when one is due: what was freed stays
resident, and fills up unseen. So it is every so many calls, and cheap, because what is there at the first opening is set aside.
"""

from __future__ import annotations

import gc
import threading

COLLECT_EVERY = 128  # calls: 5 MB of the cycles above


class Garbage:
    """One for the process, as its heap is. Any thread may call."""

    def __init__(self) -> None:
        self._calls = 0
        self._settled = False
        self._lock = threading.Lock()

    def settle(self) -> None:
        """A model is open: modules, configuration and all else that is here stays, and no collection looks at it again.

        Only once: what dies of it later in cycles is never freed, which must not add up.
        """
        with self._lock:
            if self._settled:
                return
            self._settled = True
        gc.collect()
        gc.freeze()

    def look(self) -> None:
        """After every call that may have left something."""
        with self._lock:
            self._calls += 1
            due = self._calls % COLLECT_EVERY == 0
        if due:
            gc.collect()
