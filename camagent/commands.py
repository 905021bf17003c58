"""Commands that come over MQTT, from whoever can publish: noted in the network thread, obeyed by the agent at its own pace."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

COMMAND_S = 0.2  # the detect switch is turned at most five times a second
WORDS = {b"ON": True, b"OFF": False}


class DetectSwitches:
    """`<camera>/cmd/detect`: the bare word ON or OFF; of several, the last one counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wanted: dict[str, bool] = {}
        self._turned = float("-inf")

    def note(self, camera: str, payload: bytes) -> bool:
        """Any thread: remembers what is wanted; False for anything but the two words."""
        if payload not in WORDS:
            return False
        with self._lock:
            self._wanted[camera] = WORDS[payload]
        return True

    def due(self, now: float) -> Iterator[tuple[str, bool]]:
        """What is to be turned now (monotonic seconds): (camera, on). Nothing when the last turn was a moment ago."""
        if now - self._turned < COMMAND_S:
            return
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        if wanted:
            self._turned = now
        yield from wanted.items()
