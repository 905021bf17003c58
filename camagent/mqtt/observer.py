"""A second client that only watches: random id, clean session, no will. For `camagent watch` and the delivery echo."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import printable
from camagent.mqtt.answers import FAILURE, End
from camagent.mqtt.link import Account, Link, random_id
from camagent.mqtt.session import Session, Status
from camagent.mqtt.suspects import Patience
from camagent.mqtt.wire import Endpoint, LinkError

log = logging.getLogger("camagent.mqtt")

MAX_INCOMING = 32 << 20  # bytes of a packet: snapshots


class Observer:
    """Listens to topics; `on_message(topic, payload, retained)` comes from its own thread. It connects again by itself."""

    def __init__(
        self,
        config: Mqtt,
        topics: Sequence[str],
        clock: Clock,
        *,
        on_message: Callable[[str, bytes, bool], None],
        died: Callable[[str, BaseException], None],
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> None:
        """Reads the URL; connects to nothing yet.

        Raises:
            ConfigError: `mqtt.url` names no broker.
        """
        account = Account(Endpoint.parse(config.url), config, random_id("camagent-watch"), None, MAX_INCOMING)
        self.failed = 0  # messages on which the receiver raised
        self.denied: tuple[str, ...] = ()  # topics that the broker does not let us read
        self._topics = tuple(topics)
        self._on_message = on_message
        self._ready = threading.Event()
        self._session = Session(account, self, clock, name="mqtt-observer", died=died, patience=patience)

    def start(self) -> None:
        """Starts the network thread."""
        self._session.start()

    def stop(self) -> None:
        """Disconnects and ends the thread."""
        self._session.stop(0.0)

    @property
    def status(self) -> Status:
        """Whether we are connected, and what is wrong where we are not."""
        return self._session.status

    def wait_subscribed(self, timeout_s: float) -> None:
        """Waits until the broker has answered the subscription.

        Raises:
            LinkError: it has not within `timeout_s`; with the reason, where one is known.
        """
        if self._ready.wait(timeout_s):
            return
        status = self.status
        raise LinkError(
            status.detail or "the broker has not answered in time",
            fix=status.fix or "check mqtt.url and the network",
            reason=status.code or "mqtt-unreachable",
            state=status.state,
        )

    # -- the network thread -------------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Subscribes; with what is retained, for a watcher wants to see the present state."""
        link.subscribe(self._topics, retained=True)

    def pump(self, link: Link) -> float:  # noqa: ARG002
        """Nothing to send."""
        return 60.0

    def idle(self) -> bool:
        """Nothing to wait for."""
        return True

    def farewell(self) -> None:
        """No last words."""

    def said_farewell(self) -> bool:
        """Nothing was to be said."""
        return True

    def ended(self, end: End) -> bool:  # noqa: ARG002  the session's status has it
        """The session connects again."""
        self._ready.clear()
        return False

    def acked(self, mid: int, code: int, text: str) -> None:
        """Never called: nothing is sent."""

    def subscribed(self, mid: int, codes: Sequence[int]) -> None:  # noqa: ARG002
        """The broker's answer, in the order of the topics."""
        self.denied = tuple(printable(topic) for topic, code in zip(self._topics, codes, strict=False) if code >= FAILURE)
        self._ready.set()

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Something was published."""
        try:
            self._on_message(topic, payload, retained)
        except Exception:  # a strange message must not end the network thread
            self.failed += 1
            log.exception("the message on %s could not be shown", printable(topic))
