"""Home Assistant's MQTT discovery: facts about an agent -> the one message that makes it a device with entities. Pure.

    <prefix>/device/<agent id>/config    {"dev": .., "o": .., "cmps": {key: {"p": platform, "unique_id": .., ..}}}

Keys are Home Assistant's own, abbreviated as its documentation lists them (home-assistant.io, MQTT, "Supported abbreviations").
A component that is gone is told once more as {"p": platform}: that is how it is removed from a device that stays.

What a model calls its classes never gets into a template or a topic: templates are constants, topics have slugs, and a
label is cleaned before it becomes part of a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from camagent.errors import printable

Platform: TypeAlias = Literal["binary_sensor", "button", "camera", "sensor", "switch"]
Components: TypeAlias = Mapping[str, Mapping[str, Any]]

BIRTH_TOPIC: Final = "homeassistant/status"  # its default, whatever the discovery prefix is
BIRTH: Final = b"online"
BUDGET: Final = 100_000  # bytes of a message: brokers for hire take 128 KiB
FEW: Final = 12  # so many labels are all switched on; of more, those of the filter, or else these:
USUAL: Final = frozenset({"person", "face", "bicycle", "car", "motorcycle", "bus", "truck", "cat", "dog"})
NAME_WEIGHT: Final = 80  # of a label in a name. An entity's id has 255 characters, and is made of Latin letters:
_FOREIGN_WEIGHT: Final = 6  # so many may be made of one that is none

# constants, also where the topic of a camera that is gone is cleared: an empty payload is no JSON
_HERE = "{{ 'online' if value == 'online' else 'offline' }}"  # the agent says `stopped`, too
_SEEN = "{{ 'ON' if value_json is defined and value_json['count'] > 0 else 'OFF' }}"
_COUNT = "{{ value_json['count'] if value_json is defined else 0 }}"
_STATE = "{{ value_json.state if value_json is defined else none }}"
_REASON = "{{ (value_json.reason or 'ok') if value_json is defined else none }}"
_DETAIL = "{{ {'detail': value_json.detail if value_json is defined else none} | tojson }}"
_MODEL = (
    "{{ value_json.model.name ~ ' ' ~ value_json.model.version if value_json is defined and value_json.model else 'none' }}"
)
_FPS = "{{ value_json.fps if value_json is defined else none }}"
_CLASS = "{{ value_json.top[0].label }}"
_SCORE = "{{ {'score': value_json.top[0].score} | tojson }}"
_TEMPERATURE = "{{ value_json.temperature }}"
_VERDICT = "{{ value_json.verdict }}"
_CAUSES = "{{ {'causes': value_json.causes | map(attribute='id') | list} | tojson }}"

_PRESENCE = MappingProxyType({"smoke": "smoke"})  # device classes of labels that are no mere presence

# how much a component matters: what does not fit into a message is left out from the end
_ESSENTIAL, _COUNTED, _BY_ZONE, _SPARE = range(4)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that a camera counts: the model's word for it, and the level of its topic."""

    label: str
    slug: str


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """One camera as Home Assistant is to know it."""

    name: str
    things: tuple[Thing, ...] = ()  # what it counts; () where that is not known, or where its model sees no objects
    chosen: bool = False  # somebody has named these labels: every one of them is wanted
    zones: tuple[str, ...] = ()
    snapshots: bool = False
    classifies: bool = False


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent as Home Assistant is to know it."""

    root: str  # of its topics
    agent: str
    version: str
    cameras: tuple[CameraFacts, ...]
    device: str = ""  # the SoC; "" where it is not known
    page: str | None = None  # an address under which a browser elsewhere finds it
    commands: frozenset[str] = frozenset()  # what may be asked: selftest, detect


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the message tells of. `left_out`: components for which it has no room."""

    components: Components
    left_out: int = 0

    @property
    def platforms(self) -> dict[str, str]:
        """What must be kept to be able to take it back."""
        return {key: component["p"] for key, component in self.components.items()}


@dataclass(frozen=True, slots=True)
class _Component:
    key: str
    platform: Platform
    name: str
    rank: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is counted: a label in a picture or in one of its zones."""

    key: str
    name: str
    options: Mapping[str, Any]


def topic(prefix: str, agent: str) -> str:
    """Where the message goes."""
    return f"{prefix}/device/{agent}/config"


def birth_topics(prefix: str) -> tuple[str, ...]:
    """Where Home Assistant says that it has started: its default place, and the one that goes with another prefix."""
    return tuple(dict.fromkeys((f"{prefix}/status", BIRTH_TOPIC)))


def announce(facts: AgentFacts, budget: int = BUDGET) -> Announcement:
    """The components that are worth telling of, as many as `budget` bytes hold, what matters most first."""
    ranked = sorted(_components(facts), key=lambda component: component.rank)  # stable
    kept: dict[str, Mapping[str, Any]] = {}
    left = budget - len(body(facts, {}))
    for index, component in enumerate(ranked):
        made = _written(component, facts)
        left -= len(msgspec.json.encode({component.key: made})) - 1  # a comma for two braces
        if left < 0:
            return Announcement(kept, len(ranked) - index)
        kept[component.key] = made
    return Announcement(kept)


def body(
    facts: AgentFacts, components: Mapping[str, Mapping[str, Any]], gone: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The message. `gone`: platforms of components that are to be removed."""
    device: dict[str, Any] = {
        "ids": [f"camagent-{facts.agent}"], "name": facts.agent, "mf": "camagent",
        "mdl": printable(facts.device, 64) or "camera", "sw": facts.version,
    }  # fmt: skip
    if facts.page is not None:
        device["cu"] = facts.page
    removed = {key: {"p": platform} for key, platform in gone.items() if key not in components}
    return msgspec.json.encode({
        "dev": device,
        "o": {"name": "camagent", "sw": facts.version},
        "avty": [_agent_up(facts)],  # of every component that says no other; mode and QoS are shared, too
        "avty_mode": "all",
        "qos": 1,
        "cmps": {**components, **removed},
    })  # fmt: skip


def message(facts: AgentFacts, before: Mapping[str, str], budget: int = BUDGET) -> tuple[Announcement, bytes]:
    """What is announced, and its bytes: at most `budget`, as long as what is essential fits.

    `before`: platforms of the components that were announced last; those that are not among the new ones are removed.
    """
    room = budget
    while True:
        announcement = announce(facts, room)
        payload = body(facts, announcement.components, before)
        over = len(payload) - budget
        if over <= 0 or not announcement.components:
            return announcement, payload
        room -= over  # a component that is left out may have to be removed, which takes a little room as well


def page_address(listen: str, hosts: Sequence[str], *, https: bool) -> str | None:
    """Where a browser on another machine finds the page; None where it cannot, or where nobody has said under which name."""
    host, _, port = listen.rpartition(":")
    if not listen or _is_loopback(host.strip("[]")):
        return None
    if host.strip("[]") in ("", "0.0.0.0", "::"):  # noqa: S104  every address: a name for it is needed
        if not hosts:
            return None
        host = hosts[0] if ":" not in hosts[0] or hosts[0].endswith("]") else hosts[0].rpartition(":")[0]
    return f"{'https' if https else 'http'}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _components(facts: AgentFacts) -> Iterator[_Component]:
    if "selftest" in facts.commands:
        press = {"cmd_t": f"{facts.root}/cmd/selftest", "pl_prs": "{}", "ent_cat": "diagnostic"}
        yield _Component("selftest", "button", "Run self-test", _ESSENTIAL, press)
    yield _Component("verdict", "sensor", "Self-test", _ESSENTIAL, {
        "stat_t": f"{facts.root}/selftest", "val_tpl": _VERDICT, "dev_cla": "enum",
        "ops": ["healthy", "fault", "inconclusive"], "json_attr_t": f"{facts.root}/selftest", "json_attr_tpl": _CAUSES,
        "ent_cat": "diagnostic",
    })  # fmt: skip
    yield _Component("temperature", "sensor", "Temperature", _ESSENTIAL, {
        "stat_t": f"{facts.root}/health", "val_tpl": _TEMPERATURE, "dev_cla": "temperature", "unit_of_meas": "°C",
        "stat_cla": "measurement", "ent_cat": "diagnostic",
    })  # fmt: skip
    for camera in facts.cameras:
        yield from _of_camera(camera, facts)
    yield from _counts(facts)


def _of_camera(camera: CameraFacts, facts: AgentFacts) -> Iterator[_Component]:
    """What there is of a camera whatever its model sees. Most of it is worth most while the camera is away."""
    base, name = f"{facts.root}/{camera.name}", camera.name
    health = {"stat_t": f"{base}/health", "ent_cat": "diagnostic"}
    yield _Component(f"{name}.online", "binary_sensor", f"{name} online", _ESSENTIAL, {
        "stat_t": f"{base}/available", "pl_on": "online", "pl_off": "offline", "dev_cla": "connectivity",
        "ent_cat": "diagnostic",
    })  # fmt: skip
    attributes = {"json_attr_t": f"{base}/health", "json_attr_tpl": _DETAIL}
    yield _Component(f"{name}.reason", "sensor", f"{name} reason", _ESSENTIAL, {**health, "val_tpl": _REASON, **attributes})
    yield _Component(f"{name}.model", "sensor", f"{name} model", _ESSENTIAL, {**health, "val_tpl": _MODEL})
    speed = {**health, "val_tpl": _FPS, "unit_of_meas": "fps", "stat_cla": "measurement", "en": False}
    yield _Component(f"{name}.fps", "sensor", f"{name} inferences per second", _ESSENTIAL, speed)
    if "detect" in facts.commands:
        turn = {"cmd_t": f"{base}/cmd/detect", "stat_t": f"{base}/detect", "val_tpl": _STATE, "ent_cat": "config"}
        yield _Component(f"{name}.detect", "switch", f"{name} detection", _ESSENTIAL, turn)
    if camera.snapshots:
        picture = {"t": f"{base}/snapshot", **_both(facts, camera)}
        yield _Component(f"{name}.snapshot", "camera", f"{name} snapshot", _ESSENTIAL, picture)
    if camera.classifies:
        seen = {"stat_t": f"{base}/classification", "val_tpl": _CLASS}
        attributes = {"json_attr_t": f"{base}/classification", "json_attr_tpl": _SCORE}
        yield _Component(f"{name}.class", "sensor", f"{name} class", _ESSENTIAL, {**seen, **attributes, **_both(facts, camera)})


def _counts(facts: AgentFacts) -> Iterator[_Component]:
    """The labels of all cameras, the first of each first: where room ends, none goes without."""
    most = max((len(camera.things) for camera in facts.cameras), default=0)
    for index in range(most):
        for camera in facts.cameras:
            if index < len(camera.things):
                yield from _of_thing(camera.things[index], camera, facts)


def _of_thing(thing: Thing, camera: CameraFacts, facts: AgentFacts) -> Iterator[_Component]:
    """Whether there is one and how many there are, in the picture and in each zone.

    Of a label that nobody has asked for only the number, and switched off: a person may switch it on.
    """
    whole = _place(thing, camera, facts, None)
    if not (camera.chosen or len(camera.things) <= FEW or thing.label in USUAL):
        yield _number(whole, _SPARE, {"en": False})
        return
    yield _presence(whole, thing.label, _COUNTED)
    yield _number(whole, _COUNTED)
    for zone in camera.zones:
        place = _place(thing, camera, facts, zone)
        yield _presence(place, thing.label, _BY_ZONE)
        yield _number(place, _BY_ZONE)


def _presence(place: _Place, label: str, rank: int) -> _Component:
    kind = {"val_tpl": _SEEN, "dev_cla": _PRESENCE.get(label, "occupancy")}
    return _Component(f"{place.key}.seen", "binary_sensor", place.name, rank, {**place.options, **kind})


def _number(place: _Place, rank: int, more: Mapping[str, Any] = MappingProxyType({})) -> _Component:
    kind = {"val_tpl": _COUNT, "stat_cla": "measurement"}
    return _Component(f"{place.key}.number", "sensor", f"{place.name} count", rank, {**place.options, **kind, **more})


def _place(thing: Thing, camera: CameraFacts, facts: AgentFacts, zone: str | None) -> _Place:
    words = (camera.name, "count", thing.slug) if zone is None else (camera.name, "zone", zone, thing.slug)
    name = " ".join(filter(None, (camera.name, zone, _shown(thing.label))))
    return _Place(".".join(words), name, {"stat_t": "/".join((facts.root, *words)), **_both(facts, camera)})


def _written(component: _Component, facts: AgentFacts) -> dict[str, Any]:
    identity = {"p": component.platform, "name": component.name, "unique_id": f"camagent.{facts.agent}.{component.key}"}
    return {**identity, **component.options}


def _agent_up(facts: AgentFacts) -> dict[str, str]:
    return {"t": f"{facts.root}/available", "val_tpl": _HERE}


def _both(facts: AgentFacts, camera: CameraFacts) -> dict[str, Any]:
    """What a camera sees is known while the agent runs and the camera sends pictures."""
    return {"avty": [_agent_up(facts), {"t": f"{facts.root}/{camera.name}/available"}]}


def _shown(label: str) -> str:
    """A label in a name: clean, and no longer than an entity's id can take once it is written in Latin letters."""
    clean = printable(label, 64)
    weights = accumulate(1 if char.isascii() else _FOREIGN_WEIGHT for char in clean)
    return clean[: sum(weight <= NAME_WEIGHT for weight in weights)]
