"""What is to be sent, as other threads leave it: retained state (latest per topic) and live messages (a few per topic).

The third kind, messages that must arrive, stand in the outbox. Both tables here are bounded by the number of topics.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

from camagent.messages import Message

LIVE_DEPTH = 4  # live messages of one topic that may wait for the network thread


@dataclass(slots=True)
class _State:
    message: Message
    muted_until: float = 0.0


class Retained:
    """Latest value per retained topic; everything is published again after each connect."""

    def __init__(self, first: Message) -> None:
        self._lock = Lock()
        self._states: dict[str, _State] = {first.topic: _State(first)}
        self._dirty: dict[str, None] = {first.topic: None}  # in the order of publishing; counts alone are hundreds of topics

    def put(self, message: Message) -> None:
        """Replaces the topic's value; an empty payload clears it at the broker, for which an acknowledgement is needed."""
        if not message.payload and message.qos == 0:
            message = Message(message.topic, b"", 1, retain=True, camera=message.camera)
        with self._lock:
            known = self._states.get(message.topic)
            if known is None:
                self._states[message.topic] = _State(message)
            else:
                known.message = message
            self._dirty[message.topic] = None

    def all_dirty(self) -> None:
        """A new connection: the broker may know nothing of us."""
        with self._lock:
            self._dirty = dict.fromkeys(self._states)

    def next(self, now: float, max_qos: int = 2) -> Message | None:
        """The first topic whose value the broker does not have; it stays dirty until `sent`."""
        with self._lock:
            for topic in self._dirty:
                state = self._states[topic]
                if state.muted_until <= now and state.message.qos <= max_qos:
                    return state.message
        return None

    def sent(self, message: Message) -> None:
        """This value is on its way; a newer one may have come meanwhile."""
        with self._lock:
            state = self._states.get(message.topic)
            if state is not None and state.message is message:
                self._dirty.pop(message.topic, None)

    def acknowledged(self, message: Message) -> None:
        """The broker has it; a cleared topic is then forgotten."""
        with self._lock:
            state = self._states.get(message.topic)
            if not message.payload and state is not None and state.message is message:
                del self._states[message.topic]
                self._dirty.pop(message.topic, None)

    def mute(self, topic: str, until: float) -> None:
        """The broker hangs up on this topic: leave it for a while."""
        with self._lock:
            if topic in self._states:
                self._states[topic].muted_until = until

    def pending(self, now: float) -> bool:
        """True while something is to be published."""
        return self.next(now) is not None


class Live:
    """Messages that are worth sending only now."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._topics: dict[str, deque[Message]] = {}
        self._muted: dict[str, float] = {}

    def put(self, message: Message, now: float) -> Message | None:
        """Leaves a message; what had to go for it, if anything."""
        with self._lock:
            if self._muted.get(message.topic, 0.0) > now:
                return message
            queue = self._topics.setdefault(message.topic, deque())
            queue.append(message)
            return queue.popleft() if len(queue) > LIVE_DEPTH else None

    def next(self, max_qos: int = 2) -> Message | None:
        """The next message, one topic after the other."""
        with self._lock:
            for topic in [topic for topic, queue in self._topics.items() if queue[0].qos <= max_qos]:
                queue = self._topics.pop(topic)
                message = queue.popleft()
                if queue:
                    self._topics[topic] = queue  # at the end: the others first
                return message
        return None

    def clear(self) -> list[Message]:
        """The connection ended: what nobody will get."""
        with self._lock:
            lost = [message for queue in self._topics.values() for message in queue]
            self._topics.clear()
        return lost

    def mute(self, topic: str, until: float) -> None:
        """The broker hangs up on this topic: leave it for a while."""
        with self._lock:
            self._muted[topic] = until

    def pending(self) -> bool:
        """True while something waits."""
        return bool(self._topics)
