"""How long the camera took to come back: measured, printed, judged by nobody, since the machine is shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Taken:
    what: str
    seconds: float
    note: str = ""


TAKEN: list[Taken] = []
TOLD: list[str] = []


def took(what: str, seconds: float, note: str = "") -> None:
    TAKEN.append(Taken(what, seconds, note))


@contextmanager
def timed(what: str, note: str = "") -> Iterator[None]:
    began = time.monotonic()
    yield
    took(what, time.monotonic() - began, note)


def tell(line: str) -> None:
    """Something else that was measured."""
    TOLD.append(line)


def table(box: str) -> Iterator[str]:
    yield f"times in a box of {box}, in seconds:"
    yield from (f"  {one.seconds:7.1f}  {one.what}{f' ({one.note})' if one.note else ''}" for one in TAKEN)
    yield from TOLD
