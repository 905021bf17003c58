"""What a self-test needs of the stages beside the model: a source to watch, and a client of its own where no agent runs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camagent.clock import Clock
from camagent.config import Camera, Config
from camagent.messages import Message, Topics, message_of
from camagent.models import is_path
from camagent.mqtt import Answer, Endpoint, MqttClient, MqttState, Observer
from camagent.outbox import Outbox
from camagent.sources import Source, SourceStatus, Tap, open_source
from camagent.sources.urls import is_url

log = logging.getLogger("camagent")

DRAIN_S = 2.0


def is_live(camera: Camera) -> bool:
    """True for a stream; False for files, which begin anew for everybody who opens them."""
    return is_url(camera.url)


@contextmanager
def own_client(config: Config, topics: Topics, clock: Clock) -> Iterator[MqttClient]:
    """A client under the agent's id, for the time that this process owns the state directory.

    Its outbox is empty and vanishes with it: what a daemon has left open is for the next daemon to send.
    """
    with tempfile.TemporaryDirectory(prefix="camagent-selftest-") as folder:
        outbox = Outbox(Path(folder), Path(folder), config.mqtt, clock, lambda _camera, _outcome, _number: None)
        client = MqttClient(
            config.mqtt, client_id=topics.agent, topics=topics, outbox=outbox, clock=clock,
            on_command=lambda _topic, _payload: None, on_outcome=lambda _camera, _outcome, _number: None,
            died=lambda name, exc: log.error("%s ended by %r", name, exc, exc_info=exc),
        )  # fmt: skip
        client.start()
        try:
            yield client
        finally:
            client.stop(DRAIN_S)
            outbox.close()


__all__ = [
    "Answer",
    "Endpoint",
    "Message",
    "MqttClient",
    "MqttState",
    "Observer",
    "Source",
    "SourceStatus",
    "Tap",
    "Topics",
    "is_live",
    "is_path",
    "message_of",
    "open_source",
    "own_client",
]
