"""Keeps Home Assistant told: announces this agent, again when something changes, and takes back what was announced.

What was announced stands in `state_dir`, so that it can be taken back after a restart too, and so that a model that is not
loaded yet makes no entity vanish. `note` comes from the network thread, everything else from the agent's own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from camagent import __version__, announced, vitals
from camagent.announced import Announced, Sight
from camagent.cameras import Cameras
from camagent.clock import Clock
from camagent.commands import any_delay
from camagent.config import Camera, Config
from camagent.errors import printable
from camagent.integrations import home_assistant as ha
from camagent.integrations.home_assistant import BIRTH, BUDGET, AgentFacts, CameraFacts, Thing
from camagent.messages import Message, Topics, slugs
from camagent.model_holder import Loaded
from camagent.mqtt import MqttClient

log = logging.getLogger("camagent")

FILE_NAME = "home_assistant.json"
SPREAD_S = 5.0  # when Home Assistant starts, not every agent speaks at the same instant
AGAIN_S = 10.0  # and nobody can make one speak without end
SETTLE_S = 10.0  # so long a removal stands, once the broker has it
RETRY_S = 60.0  # a disk that takes nothing
_OVERHEAD = 512  # bytes of a packet that are not its payload
STATE_LOST = "HOME_ASSISTANT_STATE"


class Announcer:
    """One agent's word to Home Assistant. Nothing happens but in `tick`."""

    def __init__(
        self, config: Config, topics: Topics, clock: Clock, cameras: Cameras, *,
        client: Callable[[], MqttClient], errors: Counter[str], delay: Callable[[float], float] = any_delay,
    ) -> None:  # fmt: skip
        """`client` is asked each time: it changes with the configuration. `errors` counts what is survived."""
        self._config, self._topics, self._clock, self._cameras = config, topics, clock, cameras
        self._client, self._errors, self._delay = client, errors, delay
        self._path = config.agent.state_dir / FILE_NAME
        self._kept = self._read()
        self._written = self._kept
        self._retry_at = float("-inf")
        self._known: tuple[object, ...] | None = None  # what the last announcement was made of
        self._asked: dict[str, float] = {}  # topics that this client was told to clear, and when
        self._said = b""  # on the present topic, over the present client
        self._sent_at = float("-inf")
        self._removing = False
        self._due: float | None = None  # when it is to be said again, because Home Assistant has started

    @property
    def births(self) -> tuple[str, ...]:
        """Topics on which Home Assistant says that it has started."""
        config = self._config.home_assistant
        return ha.birth_topics(config.prefix) if config.enabled else ()

    def follow(self, config: Config) -> None:
        """A new configuration is in force."""
        self._config = config

    def tell_anew(self) -> None:
        """A new MQTT client knows nothing of it."""
        self._known, self._said = None, b""
        self._asked.clear()

    def note(self, payload: bytes) -> None:
        """The network thread: Home Assistant says something of itself. An old word does no harm: what is told is true."""
        if payload.strip() == BIRTH and self._due is None:
            now = self._clock.monotonic()
            self._due = max(now + self._delay(SPREAD_S), self._sent_at + AGAIN_S)

    def tick(self) -> None:
        """Says what is to be said."""
        if self._config.home_assistant.enabled:
            self._announce_where_due()
        elif self._kept.topic:
            log.info("taken back from Home Assistant: %s", self._kept.topic)
            self._kept = Announced(withdrawn=(*self._kept.withdrawn, self._kept.topic))
            self._known, self._said, self._removing = None, b"", False
        self._clear_withdrawn()
        self._write()

    def _announce_where_due(self) -> None:
        now, client = self._clock.monotonic(), self._client()
        room = client.snapshot().maximum_packet
        loaded = self._loaded()
        known = (self._config, room, *((model, _is_tried(model)) for model in loaded.values()))
        due = self._due is not None and now >= self._due
        settled = self._removing and self._has_taken(client, self._kept.topic, self._sent_at, now - SETTLE_S)
        if known == self._known and not due and not settled:
            return
        if due:
            self._due, self._said = None, b""
        self._known = known
        self._announce(loaded, BUDGET if room is None else min(BUDGET, room - _OVERHEAD), settled=settled)

    def _announce(self, loaded: Mapping[str, Loaded | None], budget: int, *, settled: bool) -> None:
        kept, sights = self._kept, self._sights(loaded)
        topic = ha.topic(self._config.home_assistant.prefix, self._topics.agent)
        before = kept.platforms if kept.topic == topic and not settled else {}
        announcement, payload = ha.message(self._facts(sights), before, budget)
        self._removing = bool(before.keys() - announcement.components.keys())
        withdrawn = [old for old in (*kept.withdrawn, kept.topic) if old not in ("", topic)]
        self._kept = Announced(
            topic=topic,
            platforms={**before, **announcement.platforms},
            sights=sights,
            withdrawn=tuple(dict.fromkeys(withdrawn)),
        )
        self._asked.pop(topic, None)
        self._write()
        self._clear_withdrawn()  # first: no entity may stand on two topics
        if payload == self._said:
            return
        self._said, self._sent_at = payload, self._clock.monotonic()  # before: the answer may be here when `send` returns
        self._client().send(Message(topic, payload, 1, retain=True))
        log.info("announced to Home Assistant on %s: %d entities", topic, len(announcement.components))
        if announcement.left_out:
            log.warning(
                "Home Assistant: %d entities have no room in a message of %d bytes; name the labels you want in filter.labels",
                announcement.left_out, budget,
            )  # fmt: skip

    def _clear_withdrawn(self) -> None:
        client, left = self._client(), []
        for topic in self._kept.withdrawn:
            asked_at = self._asked.get(topic)
            if asked_at is None:
                self._asked[topic] = self._clock.monotonic()
                client.send(Message(topic, b"", 1, retain=True))
            if asked_at is None or not self._has_taken(client, topic, asked_at, float("inf")):
                left.append(topic)
            else:
                del self._asked[topic]
        if len(left) != len(self._kept.withdrawn):
            self._kept = msgspec.structs.replace(self._kept, withdrawn=tuple(left))

    def _has_taken(self, client: MqttClient, topic: str, since: float, until: float) -> bool:
        answer = client.answer_on(topic)
        return answer is not None and answer.outcome == "acknowledged" and since <= answer.at <= until

    def _loaded(self) -> dict[str, Loaded | None]:
        """The cameras' models, as far as they are open."""
        runners = {camera.name: self._cameras.runner(camera.name) for camera in self._config.camera}
        return {name: runner.loaded if runner is not None else None for name, runner in runners.items()}

    def _sights(self, loaded: Mapping[str, Loaded | None]) -> dict[str, Sight]:
        """What each camera's model gives: as it says, or as it said last; as both say while the new one is on trial."""
        sights = {}
        for name, model in loaded.items():
            before = self._kept.sights.get(name, Sight())
            now = before if model is None else _sight(model)
            sights[name] = _both(now, before) if _is_tried(model) and now.task == before.task else now
        return sights

    def _facts(self, sights: Mapping[str, Sight]) -> AgentFacts:
        config = self._config
        return AgentFacts(
            root=self._topics.root,
            agent=self._topics.agent,
            version=__version__,
            cameras=tuple(_camera(camera, sights[camera.name]) for camera in config.camera),
            device=config.agent.device or vitals.device(),
            page=ha.page_address(config.web.listen, config.web.hosts, https=config.web.cert_file is not None),
            commands=frozenset(config.commands.allow),
        )

    def _write(self) -> None:
        """Best effort: what is not on disk is announced all the same, and only a restart would not know it."""
        kept = self._kept
        if kept == self._written or self._clock.monotonic() < self._retry_at:
            return
        try:
            announced.write(self._path, kept)
        except OSError as exc:
            self._errors[STATE_LOST] += 1
            self._retry_at = self._clock.monotonic() + RETRY_S
            log.warning("%s cannot be written: %s; tried again in %.0f s", self._path, exc.strerror, RETRY_S)
            return
        self._written = kept

    def _read(self) -> Announced:
        try:
            kept = announced.read(self._path)
        except FileNotFoundError:
            return Announced()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
            return self._forgotten(exc)
        return kept if kept.schema == announced.SCHEMA else self._forgotten(ValueError(f"schema {kept.schema}"))

    def _forgotten(self, why: Exception) -> Announced:
        """Entities of cameras that are gone then stay in Home Assistant, where a person can delete them."""
        self._errors[STATE_LOST] += 1
        log.warning("%s says nothing: %s; what was announced before this run is not known", self._path, printable(why))
        return Announced()


def _sight(model: Loaded) -> Sight:
    labels, wanted, task = model.author.labels, model.steps.rule.class_ids, model.steps.manifest.task
    if not task.startswith("detect"):
        return Sight(task)
    named = enumerate(zip(labels, slugs(labels), strict=True))
    return Sight(task, tuple(pair for index, pair in named if wanted is None or index in wanted))


def _is_tried(model: Loaded | None) -> bool:
    """Whether it may still be taken back; after that it stays what it was until the model before it is open again."""
    return model is not None and model.bundle.trial is not None and not model.bundle.trial.confirmed


def _both(now: Sight, before: Sight) -> Sight:
    """A model that may be taken back takes no entities away."""
    known = {slug for _, slug in now.things}
    return Sight(now.task, (*now.things, *(thing for thing in before.things if thing[1] not in known)))


def _camera(camera: Camera, sight: Sight) -> CameraFacts:
    return CameraFacts(
        name=camera.name,
        things=tuple(Thing(label, slug) for label, slug in sight.things),
        chosen=bool(camera.filter.labels),
        zones=tuple(zone.name for zone in camera.zone),
        snapshots=camera.snapshots,
        classifies=sight.task == "classify",
    )
