"""What the outbox says of itself: values only."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from camagent.errors import printable
from camagent.outbox.records import Lane

Outcome: TypeAlias = Literal["acknowledged", "refused", "too_large", "set_aside", "dropped"]
OutcomeCallback: TypeAlias = Callable[[str, Outcome, int], None]  # camera, what became of it, how many messages
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps the outbox from using flash or the run folder."""

    code: Literal["outbox-disk-full", "outbox-read-only", "outbox-disk-failed", "outbox-journal-failed"]
    detail: str

    @classmethod
    def of_flash(cls, exc: OSError) -> Problem:
        """What this error of state_dir means."""
        if exc.errno in _FULL:
            return cls("outbox-disk-full", printable(exc))
        return cls("outbox-read-only" if exc.errno == errno.EROFS else "outbox-disk-failed", printable(exc))


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane: what is open now, and what became of messages since the start of this process."""

    messages: int
    bytes: int
    oldest_s: float | None
    acknowledged: int
    refused: int
    too_large: int
    set_aside: int
    dropped: int


@dataclass(frozen=True, slots=True)
class OutboxState:
    """`health` shows this."""

    messages: int
    bytes: int
    oldest_s: float | None
    in_flight: int
    on_flash: bool
    spilled: int  # messages that were written to flash
    flash_bytes: int  # bytes that were written to flash
    recovered: int  # messages that an earlier process left
    damaged: int  # stretches of files that could not be read
    problem: Problem | None
    lanes: dict[Lane, LaneState]
