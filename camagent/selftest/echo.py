"""A second client that waits for given messages to come back: its own random id, a clean session, no will."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import BrokerError
from camagent.probing import Message, Observer

log = logging.getLogger("camagent")


class Echo:
    """Listens while it is entered. `reading` says why nothing can be heard, "" while everything may."""

    def __init__(self, config: Mqtt, topics: Sequence[str], clock: Clock) -> None:
        self.reading = ""
        self._lock = threading.Lock()
        self._wanted: set[tuple[str, bytes]] = set()
        self._heard: set[str] = set()
        self._observer = Observer(config, topics, clock, on_message=self._take, died=self._died)

    def __enter__(self) -> Self:
        self._observer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._observer.stop()

    def ready(self, timeout_s: float) -> None:
        """Waits until the broker has answered the subscription; where it does not, `reading` says so."""
        try:
            self._observer.wait_subscribed(timeout_s)
        except BrokerError as exc:
            self.reading = f"a second client was not let in: {exc.what}"
        else:
            if self._observer.denied:
                self.reading = f"subscribing is not permitted: {', '.join(self._observer.denied)}"

    def want(self, messages: Sequence[Message]) -> None:
        """From here on these are listened for, byte by byte."""
        with self._lock:
            self._wanted |= {(message.topic, message.payload) for message in messages}

    def heard(self, topic: str) -> bool:
        """Whether what was wanted on this topic has come."""
        with self._lock:
            return topic in self._heard

    @property
    def stood(self) -> bool:
        """True while this client has not lost its connection once."""
        return self._observer.status.connects == 1 and self._observer.status.state == "connected"

    def _take(self, topic: str, payload: bytes, _retained: bool) -> None:  # noqa: FBT001  the observer's signature
        with self._lock:
            if (topic, payload) in self._wanted:
                self._heard.add(topic)

    def _died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)
        self.reading = f"the second client ended by a defect: {type(exc).__name__}"
