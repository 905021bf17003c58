"""The configuration's shape: every section, key, default and range of camagent.toml. Reading it is config_file's work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

_ID, _PREFIX = r"^[A-Za-z0-9_-]{1,48}$", r"^[^#+\x00/][^#+\x00]*$"
_DECODER, _BACKEND = r"^[a-z0-9_]+$", r"^[a-z0-9-]+$"
_TENANT, _CONTROLLER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$", r"^([A-Za-z0-9][A-Za-z0-9._:@+-]{0,127})?$"
# for people who are told what is allowed
PATTERNS: Mapping[str, str] = MappingProxyType({
    _ID: "1 to 48 letters (a-z, A-Z), digits, - and _",
    _PREFIX: "an MQTT topic without # and + that does not begin with /",
    _DECODER: "auto, software or an FFmpeg decoder's name, such as h264_rkmpp",
    _BACKEND: "auto or a backend's name, such as onnx",
    _TENANT: "a tenant's name in hawkBit, such as DEFAULT",
    _CONTROLLER: "1 to 128 letters, digits and . _ : @ + -, the first one a letter or digit",
})  # fmt: skip
Id: TypeAlias = Annotated[str, Meta(pattern=_ID)]
Share: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Point: TypeAlias = tuple[Share, Share]
Polygon: TypeAlias = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=256)]
Anchor: TypeAlias = Literal["bottom-center", "center", "top-center", "any"]

RESERVED_CAMERA_NAMES = frozenset({"available", "cmd", "bundle", "health", "selftest", "onvif-mj"})
RESERVED_AGENT_IDS = frozenset({"group"})


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration; unknown keys are refused."""


class Agent(Section, frozen=True, kw_only=True):
    """Who this agent is, where it keeps what it must not forget, and whom it trusts."""

    id: Id = ""  # filled with host name + hash of machine-id where empty
    state_dir: Path = msgspec.field(default_factory=lambda: Path("/var/lib/camagent"))
    trust: Path = msgspec.field(default_factory=lambda: Path("/etc/camagent/root.json"))
    allow_unsigned: bool = False
    require_clock: bool = False
    device: str = ""  # "" = read from the device tree


class Mqtt(Section, frozen=True, kw_only=True):
    """The broker. Passwords live in files, never here."""

    url: str = "mqtt://127.0.0.1:1883"
    prefix: Annotated[str, Meta(pattern=_PREFIX, max_length=200)] = "camagent"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    qos: Annotated[int, Meta(ge=0, le=2)] = 1
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 20
    outbox_mb: Annotated[int, Meta(ge=1, le=65536)] = 64
    outbox_sync_s: Annotated[float, Meta(gt=0, le=60)] = 1.0


class Commands(Section, frozen=True, kw_only=True):
    """What may be asked of the agent over MQTT."""

    allow: tuple[Literal["selftest", "detect", "bundle"], ...] = ("selftest", "detect")
    bundle_from: tuple[str, ...] = ()


class Filter(Section, frozen=True, kw_only=True):
    """Which detections are published."""

    min_score: Share | None = None  # None: the bundle's
    labels: tuple[str, ...] = ()  # (): all
    min_area: Annotated[float, Meta(ge=0)] = 0.0  # pixels of the source picture


class Zone(Section, frozen=True, kw_only=True):
    """A named area; where a camera has zones, only objects inside one are published."""

    name: Id
    polygon: Polygon
    anchor: Anchor = "bottom-center"


class Mask(Section, frozen=True, kw_only=True):
    """A private area: filled grey before anything else sees the frame."""

    name: Id
    polygon: Polygon


class Camera(Section, frozen=True, kw_only=True):
    """One source with the model that looks at it."""

    name: Id
    url: Annotated[str, Meta(min_length=1)]
    transport: Literal["tcp", "udp", "auto"] = "tcp"
    user_file: Path | None = None
    password_file: Path | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] = 10.0
    decoder: Annotated[str, Meta(pattern=_DECODER)] = "auto"
    stall_timeout: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    bundle: str = ""
    backend: Annotated[str, Meta(pattern=_BACKEND)] = "auto"
    publish: Literal["detections", "every-frame"] = "detections"
    snapshots: bool = False
    retain_snapshots: bool = False
    filter: Filter = Filter()
    zone: tuple[Zone, ...] = ()
    mask: tuple[Mask, ...] = ()


class Onnx(Section, frozen=True, kw_only=True):
    """How ONNX Runtime runs: spinning is always off, a camera's core has other work."""

    intra_op_threads: Annotated[int, Meta(ge=1, le=64)] = 1
    providers: Annotated[tuple[str, ...], Meta(min_length=1)] = ("CPUExecutionProvider",)


class HomeAssistant(Section, frozen=True, kw_only=True):
    """MQTT discovery."""

    enabled: bool = False
    prefix: Annotated[str, Meta(pattern=_PREFIX, max_length=200)] = "homeassistant"


class Onvif(Section, frozen=True, kw_only=True):
    """Metadata frames of ONVIF Profile M, beside our own detections."""

    enabled: bool = False


class Tuf(Section, frozen=True, kw_only=True):
    """A TUF repository of bundles, on any web server: metadata/ and targets/ below `url`."""

    url: str = ""  # "" = none
    interval_s: Annotated[float, Meta(ge=10, le=604800)] = 3600.0
    spread_s: Annotated[float, Meta(ge=0, le=604800)] | None = None  # of the first look after a start; None: interval_s
    ca_file: Path | None = None


class Hawkbit(Section, frozen=True, kw_only=True):
    """An Eclipse hawkBit server that rolls bundles out. Tokens live in files, never here."""

    url: str = ""  # "" = off
    tenant: Annotated[str, Meta(pattern=_TENANT)] = "DEFAULT"
    controller_id: Annotated[str, Meta(pattern=_CONTROLLER)] = ""  # "": the agent's id
    target_token_file: Path | None = None  # of this device alone
    gateway_token_file: Path | None = None  # of the whole tenant: whoever has it is any device
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    poll: Annotated[float, Meta(ge=1, le=604800)] | None = None  # seconds; None: what the server says
    confirmation: Literal["confirmed", "denied"] = "confirmed"  # the answer where the server asks before it assigns
    download_from: tuple[str, ...] = ()  # (): any other https host whose name does not lead into this machine or its link


class Fleet(Section, frozen=True, kw_only=True):
    """Groups whose commands this agent follows too, and servers that bundles come from by themselves."""

    groups: tuple[Id, ...] = ()
    tuf: Tuf = Tuf()
    hawkbit: Hawkbit = Hawkbit()


class Web(Section, frozen=True, kw_only=True):
    """The local API and page."""

    listen: str = "127.0.0.1:8420"  # "" = off
    token_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    hosts: tuple[str, ...] = ()


class Config(Section, frozen=True, kw_only=True):
    """camagent.toml as a whole."""

    agent: Agent = msgspec.field(default_factory=Agent)
    mqtt: Mqtt = Mqtt()
    commands: Commands = Commands()
    camera: tuple[Camera, ...] = ()
    onnx: Onnx = Onnx()
    home_assistant: HomeAssistant = HomeAssistant()
    onvif: Onvif = Onvif()
    fleet: Fleet = Fleet()
    web: Web = Web()


def problem(config: Config) -> tuple[str, str] | None:
    """What the types cannot say: (key, sentence) of the first contradiction, None for a sound configuration."""
    if config.agent.id in RESERVED_AGENT_IDS:
        return "agent.id", f"{config.agent.id!r} is a word of the topic tree"
    seen: set[str] = set()
    for index, camera in enumerate(config.camera):
        key = f"camera[{index}].name"
        if camera.name in RESERVED_CAMERA_NAMES:
            return key, f"{camera.name!r} is a word of the topic tree"
        if camera.name in seen:
            return key, f"two cameras are called {camera.name!r}"
        seen.add(camera.name)
        names = [zone.name for zone in camera.zone]
        if len(set(names)) != len(names):
            return f"camera[{index}].zone", "two zones of this camera have the same name"
    for key, prefix in (("mqtt.prefix", config.mqtt.prefix), ("home_assistant.prefix", config.home_assistant.prefix)):
        if prefix.endswith("/"):
            return key, "it must not end with a slash"
    if config.mqtt.qos == 2:
        return "mqtt.qos", "detections go out at QoS 0 or 1; the outbox makes QoS 1 lossless"
    if bool(config.mqtt.cert_file) != bool(config.mqtt.key_file):
        return "mqtt.cert_file", "a client certificate needs both cert_file and key_file"
    return _hawkbit_problem(config.fleet.hawkbit)


def _hawkbit_problem(hawkbit: Hawkbit) -> tuple[str, str] | None:
    section = "fleet.hawkbit"
    if bool(hawkbit.cert_file) != bool(hawkbit.key_file):
        return f"{section}.cert_file", "a client certificate needs both cert_file and key_file"
    if hawkbit.target_token_file and hawkbit.gateway_token_file:
        return f"{section}.gateway_token_file", "give target_token_file or gateway_token_file, not both"
    if hawkbit.url and not (hawkbit.target_token_file or hawkbit.gateway_token_file or hawkbit.cert_file):
        return f"{section}.target_token_file", "a token file or a client certificate is needed: hawkBit asks who this is"
    return None
