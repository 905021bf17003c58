"""What hawkBit's answers say. Pure: bytes in, values out; whatever is not as documented is HawkbitStrange.

Unknown fields are passed over, as the API asks of its clients. No string of a server's leaves here unjudged: ids are short and
plain, links are URLs in canonical form, everything else is made printable by whoever shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from camagent.errors import HawkbitStrange, printable
from firmware_pkg.addresses import UnusableUrl, Url, join_url

ANSWER_BYTES = 256 * 1024
CHUNKS, ARTIFACTS, HISTORY = 64, 64, 2000
LEAST_POLL_S, MOST_POLL_S, USUAL_POLL_S = 10.0, 604_800.0, 300.0

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLOCK = re.compile(r"([0-9]{1,4}):([0-5]?[0-9]):([0-5]?[0-9])")
_PERIOD = re.compile(
    r"P(?:([0-9]{1,4})W)?(?:([0-9]{1,4})D)?(?:T(?:([0-9]{1,5})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,7})(?:\.[0-9]{1,9})?S)?)?"
)
_UNITS_S = (604_800, 86_400, 3600, 60, 1)

Handling: TypeAlias = Literal["skip", "attempt", "forced"]
T = TypeVar("T")


class _Link(msgspec.Struct):
    href: str


class _Polling(msgspec.Struct):
    sleep: str = ""


class _Config(msgspec.Struct):
    polling: _Polling = msgspec.field(default_factory=_Polling)


class _Base(msgspec.Struct):
    config: _Config = msgspec.field(default_factory=_Config)
    links: dict[str, Any] = msgspec.field(default_factory=dict, name="_links")


class _Hashes(msgspec.Struct):
    sha256: str | None = None


class _Artifact(msgspec.Struct):
    filename: str
    size: Annotated[int, Meta(ge=0)]
    hashes: _Hashes = msgspec.field(default_factory=_Hashes)
    links: dict[str, Any] = msgspec.field(default_factory=dict, name="_links")


class _Chunk(msgspec.Struct):
    part: str = ""
    name: str = ""
    version: str = ""
    artifacts: Annotated[list[_Artifact], Meta(max_length=ARTIFACTS)] = []


class _Deployment(msgspec.Struct):
    download: Handling
    update: Handling
    chunks: Annotated[list[_Chunk], Meta(max_length=CHUNKS)]
    window: Literal["available", "unavailable"] | None = msgspec.field(default=None, name="maintenanceWindow")


class _History(msgspec.Struct):
    status: str | None = None
    messages: list[str] = []


class _DeploymentBase(msgspec.Struct):
    id: str | int
    deployment: _Deployment
    history: _History | None = msgspec.field(default=None, name="actionHistory")


class _Stop(msgspec.Struct):
    stop_id: str | int = msgspec.field(name="stopId")


class _Cancel(msgspec.Struct):
    cancel: _Stop = msgspec.field(name="cancelAction")


_BASE, _DEPLOYMENT = msgspec.json.Decoder(_Base), msgspec.json.Decoder(_DeploymentBase)
_CANCEL = msgspec.json.Decoder(_Cancel)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Offers:
    """The root resource: what the server wants of this device now."""

    poll_s: float
    deployment: Url | None
    cancel: Url | None
    confirmation: Url | None
    config_data: Url | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file. `url`: None where the server gives no link that can be used."""

    filename: str
    size: int
    sha256: str | None
    url: Url | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """An action: files by software module."""

    id: str
    download: Handling
    update: Handling
    window: Literal["available", "unavailable"] | None
    chunks: tuple[tuple[Artifact, ...], ...]
    history: tuple[str, ...]  # messages of its statuses, newest first


def strange(what: str, found: object) -> HawkbitStrange:
    """The server's answer is not as documented."""
    return HawkbitStrange(
        f"the hawkBit server's answer cannot be used: {what}",
        evidence={"found": printable(found)},
        fix="check that fleet.hawkbit.url is the base of a hawkBit server, and what its proxy makes of links",
    )


def offers(data: bytes, base: Url) -> Offers:
    """The answer to GET on the root resource, which is `base`. Raises HawkbitStrange."""
    found = _decoded(_BASE, data)

    def link(name: str) -> Url | None:
        return own_link(found.links[name], base) if name in found.links else None

    return Offers(
        poll_s=poll_s(found.config.polling.sleep), deployment=link("deploymentBase"), cancel=link("cancelAction"),
        confirmation=link("confirmationBase"), config_data=link("configData"),
    )  # fmt: skip


def deployment(data: bytes, link: Url) -> Deployment:
    """The answer to GET on deploymentBase/ID. Raises HawkbitStrange."""
    found = _decoded(_DEPLOYMENT, data)
    what = found.deployment
    chunks = tuple(tuple(_artifact(one, link) for one in chunk.artifacts) for chunk in what.chunks)
    history = tuple(found.history.messages[:HISTORY]) if found.history else ()
    return Deployment(_same_id(found.id, link), what.download, what.update, what.window, chunks, history)


def stop_id(data: bytes) -> str:
    """The answer to GET on cancelAction/ID: which action is to be stopped. Raises HawkbitStrange."""
    return _id(_decoded(_CANCEL, data).cancel.stop_id)


def id_in(link: Url) -> str:
    """The action that a link of the root resource is about: `../deploymentBase/17?c=..` -> 17. Raises HawkbitStrange."""
    return _id(link.segments[-1] if link.segments else "")


def feedback_of(link: Url) -> Url:
    """Where feedback goes: beside what the link shows."""
    return Url(link.scheme, link.host, link.port, (*link.segments, "feedback"), "")


def with_history(link: Url) -> Url:
    """The same resource with all that was ever told of the action."""
    query = f"{link.query}&actionHistory=-1" if link.query else "actionHistory=-1"
    return Url(link.scheme, link.host, link.port, link.segments, query)


def own_link(link: object, base: Url) -> Url:
    """A link of the API: followed as given, on the server that is configured and on no other. Raises HawkbitStrange."""
    try:
        url = join_url(base, msgspec.convert(link, _Link).href)
    except (UnusableUrl, msgspec.ValidationError) as exc:
        raise strange("a link is no URL that can be judged", link) from exc
    if url.origin != base.origin:
        raise strange(f"a link leads away from {base.scheme}://{base.authority}", f"{url.scheme}://{url.authority}")
    return url


def poll_s(text: str) -> float:
    """`HH:MM:SS` or an ISO-8601 period -> seconds, within bounds of ours. Raises HawkbitStrange."""
    if not text:
        return USUAL_POLL_S
    clock, period = _CLOCK.fullmatch(text), _PERIOD.fullmatch(text)
    if clock:
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    elif period and any(period.groups()):
        seconds = sum(int(number or 0) * unit for number, unit in zip(period.groups(), _UNITS_S, strict=True))
    else:
        raise strange("its polling time is none", text)
    return min(max(float(seconds), LEAST_POLL_S), MOST_POLL_S)


def _artifact(found: _Artifact, link: Url) -> Artifact:
    sha256 = (found.hashes.sha256 or "").lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise strange("an artifact's sha256 is none", sha256)
    return Artifact(found.filename, found.size, sha256 or None, _best(found.links, link))


def _best(links: Mapping[str, Any], base: Url) -> Url | None:
    """The one over https before the other: http is for servers that are spoken to over http anyway, and for them alone."""
    for name in ("download", "download-http"):
        try:
            url = join_url(base, msgspec.convert(links.get(name), _Link).href)
        except (UnusableUrl, msgspec.ValidationError):  # told as a file without a link
            continue
        if url.scheme == "https" or url.origin == base.origin:
            return url
    return None


def _same_id(found: str | int, link: Url) -> str:
    if _id(found) != id_in(link):
        raise strange(f"it was asked for action {id_in(link)} and tells of another", found)
    return _id(found)


def _id(value: str | int) -> str:
    if not _ID.fullmatch(str(value)):
        raise strange("an action's id is none", value)
    return str(value)


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except _UNREADABLE as exc:
        raise strange("it is not the JSON that is documented", exc) from exc
