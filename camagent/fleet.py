"""All agents behind a broker, put together from what they keep there: `available`, `health` and `bundle/state`.

Pure: messages come in, views go out. Anybody can publish, so what is not what its schema says is counted and left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

SILENT_S = 60.0  # health comes every ten seconds; an agent whose last word is older than this has stopped telling
MOST_AGENTS = 200_000  # more than any broker has; who floods one with names fills no memory
_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}\Z")

AgentState: TypeAlias = Literal["online", "silent", "offline", "stopped", "unknown"]
# a topic below the prefix and the agent -> which of an agent's topics it is
WANTED = ("+/available", "+/health", "+/bundle/state", "+/+/available", "+/+/health")


class _Schema(msgspec.Struct):
    schema: str


class _Clock(msgspec.Struct):
    synchronised: bool | None = None


class _Health(msgspec.Struct):
    time: float
    version: str
    uptime: float
    run: int
    allow_unsigned: bool = False
    trust_expires: float | None = None
    clock: _Clock = msgspec.field(default_factory=_Clock)


class _Model(msgspec.Struct):
    name: str
    version: str
    signature: str
    backend: str = ""


class _CameraHealth(msgspec.Struct):
    time: float
    state: str
    fps: float
    reason: str | None = None
    detail: str | None = None
    model: _Model | None = None


class _Refusal(msgspec.Struct):
    code: str
    what: str
    version: str
    fix: str = ""
    time: float = 0.0


class _Bundle(msgspec.Struct):
    current: str | None = None
    trial: str | None = None
    previous: str | None = None
    last_refusal: _Refusal | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    code: str | None = None
    what: str = ""
    time: float = 0.0


class _BundleState(msgspec.Struct):
    bundles: dict[str, _Bundle]
    command: _Answer | None = None


_SCHEMA = msgspec.json.Decoder(_Schema)
_BODIES: Mapping[str, msgspec.json.Decoder[Any]] = {
    "camagent.health/1": msgspec.json.Decoder(_Health),
    "camagent.camera-health/1": msgspec.json.Decoder(_CameraHealth),
    "camagent.bundle-state/1": msgspec.json.Decoder(_BundleState),
}


@dataclass(slots=True)
class _Heard:
    available: str | None = None
    health: _Health | None = None
    bundles: _BundleState | None = None
    cameras: dict[str, _CameraHealth] = field(default_factory=dict)
    online: dict[str, str] = field(default_factory=dict)  # per camera


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera, as its agent told last."""

    name: str
    online: bool | None
    state: str | None
    fps: float | None
    reason: str | None
    detail: str | None
    model: str | None  # name and version
    signature: str | None

    @property
    def sees(self) -> bool:
        """It looks, and nothing keeps it from telling what it sees."""
        return self.state == "running" and self.reason is None


@dataclass(frozen=True, slots=True)
class BundleView:
    """One bundle of an agent's store."""

    name: str
    current: str | None
    on_trial: bool
    refused: str | None  # the last one that was turned away: version and code


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent, its cameras and bundles in the order of their names."""

    name: str
    state: AgentState
    version: str | None
    age_s: float | None  # since its last health, by both clocks; None where there was none or its clock is doubtful
    uptime_s: float | None
    allow_unsigned: bool
    trust_expires: float | None
    cameras: tuple[CameraView, ...]
    bundles: tuple[BundleView, ...]
    answer: str | None  # to the last `cmd/bundle`: its code, or what was done

    @property
    def troubled(self) -> bool:
        """Something here wants to be looked at."""
        refused = any(bundle.refused for bundle in self.bundles)
        return self.state != "online" or refused or any(not camera.sees for camera in self.cameras)


class Fleet:
    """What was heard of every agent. Not for several threads at once."""

    def __init__(self, prefix: str) -> None:
        """`prefix`: of the topics, without the agent."""
        self.strange = 0  # messages that were not what they should be
        self._prefix = prefix + "/"
        self._heard: dict[str, _Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def note(self, topic: str, payload: bytes) -> None:
        """A message below the prefix. An empty one takes back what was retained there."""
        parts = topic.removeprefix(self._prefix).split("/")
        if not topic.startswith(self._prefix) or not all(_NAME.match(part) for part in parts) or parts[0] == "group":
            self.strange += 1
            return
        if parts[0] not in self._heard and (not payload or len(self._heard) >= MOST_AGENTS):
            self.strange += bool(payload)
            return
        heard = self._heard.setdefault(parts[0], _Heard())
        try:
            self._take(heard, parts[1:], payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.strange += 1

    def views(self, now: float) -> list[AgentView]:
        """Every agent that is still there, by name. `now`: seconds since 1970."""
        return [_view(name, heard, now) for name, heard in sorted(self._heard.items()) if _is_there(heard)]

    @staticmethod
    def _take(heard: _Heard, parts: Sequence[str], payload: bytes) -> None:
        match parts:
            case ["available"]:
                heard.available = payload.decode() or None
            case ["health"]:
                heard.health = _body(payload, "camagent.health/1") if payload else None
            case ["bundle", "state"]:
                heard.bundles = _body(payload, "camagent.bundle-state/1") if payload else None
            case [camera, "available"]:
                _set(heard.online, camera, payload.decode() or None)
            case [camera, "health"]:
                _set(heard.cameras, camera, _body(payload, "camagent.camera-health/1") if payload else None)
            case _:
                return  # not asked for: amqtt sends kept messages of other topics, too (tried)


def summary(views: Sequence[AgentView]) -> dict[str, Any]:
    """How many of what: agents by state, cameras that see, reasons of those that do not, models by version, refusals."""
    cameras = [camera for view in views for camera in view.cameras]
    return {
        "agents": len(views),
        "states": _counted(view.state for view in views),
        "cameras": len(cameras),
        "seeing": sum(camera.sees for camera in cameras),
        "reasons": _counted(camera.reason or camera.state or "unknown" for camera in cameras if not camera.sees),
        "models": _counted(camera.model for camera in cameras if camera.model),
        "refused": _counted(bundle.refused for view in views for bundle in view.bundles if bundle.refused),
    }


SORTS: Mapping[str, Callable[[AgentView], Any]] = {
    "agent": lambda view: view.name,
    "trouble": lambda view: (not view.troubled, view.state == "online", view.name),
    "state": lambda view: (view.state, view.name),
    "version": lambda view: (view.version or "", view.name),
    "model": lambda view: (sorted(camera.model or "" for camera in view.cameras), view.name),
    "age": lambda view: (-(view.age_s or 0.0), view.name),
    "fps": lambda view: (min((camera.fps or 0.0 for camera in view.cameras), default=0.0), view.name),
}


def _view(name: str, heard: _Heard, now: float) -> AgentView:
    health, bundles = heard.health, heard.bundles
    age = None
    if health is not None and health.clock.synchronised is not False:
        age = max(0.0, now - health.time)
    return AgentView(
        name=name,
        state=_state(heard.available, age),
        version=health.version if health else None,
        age_s=age,
        uptime_s=health.uptime if health else None,
        allow_unsigned=bool(health and health.allow_unsigned),
        trust_expires=health.trust_expires if health else None,
        cameras=tuple(_camera(name, heard) for name in sorted({*heard.cameras, *heard.online})),
        bundles=tuple(_bundle(name, facts) for name, facts in sorted(bundles.bundles.items())) if bundles else (),
        answer=(bundles.command.code or bundles.command.what) if bundles and bundles.command else None,
    )


def _state(available: str | None, age_s: float | None) -> AgentState:
    if available == "online":
        return "silent" if age_s is not None and age_s > SILENT_S else "online"
    return "offline" if available == "offline" else "stopped" if available == "stopped" else "unknown"


def _camera(name: str, heard: _Heard) -> CameraView:
    health, online = heard.cameras.get(name), heard.online.get(name)
    model = health.model if health else None
    return CameraView(
        name=name,
        online=None if online is None else online == "online",
        state=health.state if health else None,
        fps=health.fps if health else None,
        reason=health.reason if health else None,
        detail=health.detail if health else None,
        model=f"{model.name} {model.version}" if model else None,
        signature=model.signature if model else None,
    )


def _bundle(name: str, facts: _Bundle) -> BundleView:
    last = facts.last_refusal
    return BundleView(name, facts.current, facts.trial is not None, f"{last.version}: {last.code}" if last else None)


def _body(payload: bytes, schema: str) -> Any:
    """Raises MsgspecError."""
    if _SCHEMA.decode(payload).schema != schema:
        raise msgspec.ValidationError("another schema")
    return _BODIES[schema].decode(payload)


def _set(into: dict[str, Any], key: str, value: object) -> None:
    if value is None:
        into.pop(key, None)
    elif key in into or len(into) < 256:
        into[key] = value


def _is_there(heard: _Heard) -> bool:
    return bool(heard.available or heard.health or heard.cameras or heard.bundles)


def _counted(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
