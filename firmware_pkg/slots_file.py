"""slots.json: the state of one name, read and written whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from firmware_pkg import disk, slots
from firmware_pkg.errors import StateError
from firmware_pkg.slots import Slots
from signing.errors import printable

NAME = "slots.json"


class _Numbered(msgspec.Struct, frozen=True):
    schema: int


_DECODER = msgspec.json.Decoder(Slots)  # built at import, see manifest.py
_NUMBER = msgspec.json.Decoder(_Numbered)


def exists(folder: Path) -> bool:
    """Whether anything is known there."""
    return (folder / NAME).exists()


def load(folder: Path) -> Slots:
    """What stands in a name's folder; empty where there is none.

    Raises:
        StateError: damaged, from a newer agent, or not readable. It is never reset.
    """
    path = folder / NAME
    with disk.refusing(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Slots()
    try:
        schema = _NUMBER.decode(data).schema
        if schema > slots.SCHEMA:
            raise StateError(
                f"{path} was written by a newer camagent and is left untouched",
                evidence={"schema there": schema, "schema known here": slots.SCHEMA},
                fix="install the newer camagent again, or give this one a state_dir of its own",
            )
        state = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _damaged(path, str(exc)) from exc
    wrong = slots.problem(state)
    if wrong:
        raise _damaged(path, wrong)
    return state


def save(folder: Path, state: Slots) -> Slots:
    """Durable once this returns. Raises NoSpace or StateError; the old state stands there then."""
    data = msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"
    with disk.refusing(folder, len(data)):
        disk.write_atomic(folder / NAME, data)
    return state


def _damaged(path: Path, how: str) -> StateError:
    return StateError(
        f"{path} is damaged: {printable(how)}",
        evidence={"file": path, "found": printable(how), "expected": "what this agent wrote"},
        fix=f"move the folder {path.parent.name} away and install its bundles again; it is never reset by itself",
    )
