"""Topics that the broker keeps for us and that may go: of labels, zones and cameras. What is gone is cleared there.

They are remembered in `state_dir`, so that one that went while the agent was down is cleared by its next life, and one that
the broker could not be told of by the life after that. Written only when a configuration or a model changes them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from camagent.errors import StateError
from camagent.messages import Message, Topics

log = logging.getLogger("camagent")

_OF_EVERY_CAMERA = ("health", "available", "detect")


class Answer(Protocol):
    """What became of a message; see mqtt.sender.Answer."""

    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def at(self) -> float: ...  # noqa: D102


class Memory(Protocol):
    """What outlives the agent; see owner.Owner."""

    @property
    def kept_topics(self) -> dict[str, list[str]]:
        """By camera."""
        ...

    def remember_topics(self, kept: dict[str, list[str]]) -> None:
        """Raises StateError."""
        ...


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Cleared at that moment (monotonic seconds), and the broker has not said yet that it is."""

    camera: str
    at: float


class KeptTopics:
    """Any thread, but `tick`."""

    def __init__(
        self, memory: Memory, topics: Topics, send: Callable[[Message], None], monotonic: Callable[[], float]
    ) -> None:  # fmt: skip
        """Sends nothing yet."""
        self._memory, self._topics, self._send, self._monotonic = memory, topics, send, monotonic
        self._lock = threading.Lock()
        self._kept = {camera: frozenset(topics) for camera, topics in memory.kept_topics.items()}
        self._leaving: dict[str, _Leaving] = {}
        self._saved = {camera: sorted(topics) for camera, topics in memory.kept_topics.items()}

    def keep(self, camera: str, topics: Collection[str]) -> None:
        """From now on these are the camera's; what it had beside them is cleared."""
        with self._lock:
            gone = self._kept.get(camera, frozenset()) - frozenset(topics)
            self._kept[camera] = frozenset(topics)
            for topic in topics:
                self._leaving.pop(topic, None)
            self._leaving |= dict.fromkeys(gone, _Leaving(camera, self._monotonic()))
        for topic in sorted(gone):
            self._clear(topic)

    def of(self, camera: str) -> frozenset[str]:
        """The camera's, as they are now."""
        with self._lock:
            return self._kept.get(camera, frozenset())

    def drop_all_but(self, cameras: Collection[str]) -> None:
        """Cameras of earlier days that are not among these are gone."""
        with self._lock:
            gone = sorted(self._kept.keys() - set(cameras))
        for camera in gone:
            self.drop(camera)

    def drop(self, camera: str) -> None:
        """The camera is gone: the broker is to keep nothing of it."""
        self.keep(camera, ())
        with self._lock:
            self._kept.pop(camera, None)
        for word in _OF_EVERY_CAMERA:
            self._clear(self._topics.of_camera(camera, word))

    def tell_anew(self) -> None:
        """A new client knows nothing of what is being cleared."""
        with self._lock:
            leaving = list(self._leaving)
        for topic in leaving:
            self._clear(topic)

    def tick(self, answer_on: Callable[[str], Answer | None]) -> str | None:
        """The agent's thread: remembers what has changed. A code where the disk does not take it; tried again at a change.

        `answer_on`: the broker's newest word on a topic.
        """
        with self._lock:
            self._leaving = {
                topic: leaving for topic, leaving in self._leaving.items() if not _is_cleared(leaving, answer_on(topic))
            }
            wanted = {camera: set(topics) for camera, topics in self._kept.items() if topics}
            for topic, leaving in self._leaving.items():
                wanted.setdefault(leaving.camera, set()).add(topic)
            now = {camera: sorted(topics) for camera, topics in sorted(wanted.items())}
            if now == self._saved:
                return None
            self._saved = now
        try:
            self._memory.remember_topics(now)
        except StateError as exc:  # what goes while the agent is down then stays at the broker
            log.error("%s", exc.render())  # noqa: TRY400  a sentence, not a traceback
            return exc.code
        return None

    def _clear(self, topic: str) -> None:
        self._send(Message(topic, b"", 1, retain=True))


def _is_cleared(leaving: _Leaving, answer: Answer | None) -> bool:
    return answer is not None and answer.outcome == "acknowledged" and answer.at >= leaving.at
