"""What must be known of hawkBit's actions after a restart: one small file in state_dir, replaced as a whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from camagent.errors import StateError
from camagent.integrations.hawkbit_words import Report
from firmware_pkg import disk

log = logging.getLogger("camagent")

FILE_NAME = "hawkbit.json"
KEPT = 32  # digests whose fate is remembered, newest last
T = TypeVar("T")

# waiting: not permitted yet; ready: may be fetched; fetching: begun; trial: the store decides; over: the last report stands
Phase = Literal["waiting", "ready", "fetching", "trial", "over"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Item(_Strict, frozen=True, kw_only=True):
    """One bundle of an action; `name`, `version` and `digest` as the store knows it once it is there."""

    filename: str
    url: str
    size: Annotated[int, Meta(ge=0)]
    sha256: str | None
    state: Literal["pending", "trial", "done"] = "pending"
    name: str = ""
    version: str = ""
    digest: str = ""
    note: str = ""  # what `done` means here, a sentence


class Doing(_Strict, frozen=True, kw_only=True):
    """The action that is being worked on, or was last."""

    action: str
    phase: Phase
    items: tuple[Item, ...] = ()
    tries: int = 0  # downloads that were begun
    owed: Report | None = None  # what the server has not been told yet
    final: Report | None = None  # the last word, once there is one
    told: int = 0  # how often the server has taken the last word


class Known(_Strict, frozen=True, kw_only=True):
    """What the store calls the file of a sha256."""

    name: str
    version: str
    digest: str


class Verdict(_Strict, frozen=True, kw_only=True):
    """Why the file of a sha256 was refused, and under what: agent, device and trust root. Under others it is judged anew."""

    report: Report
    circumstances: str


class Memory(_Strict, frozen=True, kw_only=True):
    """All of it."""

    schema: Literal[1] = 1
    server: str = ""  # url, tenant and id: of another one nothing is remembered
    doing: Doing | None = None
    answered: str = ""  # the last confirmation that was given: `ID word`
    known: Mapping[str, Known] = {}
    refused: Mapping[str, Verdict] = {}


_DECODER = msgspec.json.Decoder(Memory)


def load(state_dir: Path, server: str) -> Memory:
    """What was kept of this server. A file that cannot be read is a loss of memory and no more: the server tells again."""
    path = state_dir / FILE_NAME
    try:
        found = _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return Memory(server=server)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        log.warning("%s cannot be read, and begins anew: %s", path, exc)
        return Memory(server=server)
    return found if found.server == server else Memory(server=server, known=found.known, refused=found.refused)


def save(state_dir: Path, memory: Memory) -> None:
    """On disk once this returns. Raises NoSpace or StateError."""
    with disk.refusing(state_dir):
        disk.write_atomic(state_dir / FILE_NAME, msgspec.json.encode(memory))


def remembered(known: Mapping[str, T], key: str | None, value: T) -> dict[str, T]:
    """With one more, and the oldest forgotten. A file without a sha256 has no key."""
    if key is None:
        return dict(known)
    kept = {**{other: one for other, one in known.items() if other != key}, key: value}
    return dict(list(kept.items())[-KEPT:])


__all__ = ["Doing", "Item", "Known", "Memory", "Phase", "Report", "StateError", "Verdict", "load", "remembered", "save"]
