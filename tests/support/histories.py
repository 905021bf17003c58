"""Lives of a state directory, step by step, for the power-cut harness: what is done, and what may be found after each step.

Run as a module it is the child that strace watches: python -m tests.support.histories HISTORY MATERIAL MARKS STEPS ROOT..
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.lives_of_bundles import STORE_STEPS, TRUST_STEPS, StoreSession, TrustSession
from tests.support.lives_of_integrations import HAWKBIT_STEPS, HOME_STEPS, HawkbitSession, HomeSession
from tests.support.lives_of_repositories import REPOSITORY_STEPS, RepositorySession
from tests.support.lives_of_the_agent import (
    AUDIT_STEPS,
    OUTBOX_STEPS,
    OVERLAY_STEPS,
    OWNER_STEPS,
    AuditSession,
    OutboxSession,
    OverlaySession,
    OwnerSession,
)

PROJECT = Path(__file__).resolve().parents[2]


class Session(Protocol):
    """One process's life with the state directory."""

    def do(self, step: int) -> None:
        """The step of that number; 0 was the start."""
        ...

    def check(self, done: int, *, begun: bool) -> int | None:
        """What stands there may stand there after step `done`, the next one perhaps half done; AssertionError otherwise.

        The step that has really been reached; None where trying again was a part of the check.
        """
        ...

    def told(self) -> object:
        """What this process has told others by having started, and must not take back; None for nothing."""
        ...

    def act(self) -> None:
        """What a process may do first after it has started."""
        ...

    def seen(self) -> object:
        """What this process has told others after that."""
        ...

    def follows(self, seen: object) -> None:
        """Another process has told this, and then the power was cut. AssertionError."""
        ...

    def close(self) -> None:
        """Lets go, as kill -9 would."""
        ...


Open = Callable[[Path, Path], Session]  # root, material -> a session; starting is step 0


@dataclass(frozen=True, slots=True)
class History:
    """`steps` are names, the first one the start."""

    name: str
    steps: tuple[str, ...]
    open: Open


HISTORIES = {
    history.name: history
    for history in (
        History("store", tuple(step[0] for step in STORE_STEPS), StoreSession),
        History("trust", tuple(step[0] for step in TRUST_STEPS), TrustSession),
        History("repository", REPOSITORY_STEPS, RepositorySession),
        History("owner", OWNER_STEPS, OwnerSession),
        History("home assistant", HOME_STEPS, HomeSession),
        History("hawkbit", HAWKBIT_STEPS, HawkbitSession),
        History("overlay", OVERLAY_STEPS, OverlaySession),
        History("audit", AUDIT_STEPS, AuditSession),
        History("outbox", tuple(step.name for step in OUTBOX_STEPS), OutboxSession),
    )
}


# -- the child --------------------------------------------------------------------------------------------------------


def _site() -> str:
    """Where in the project an fsync is asked for: the innermost line and who called it."""
    frame = sys._getframe(2)
    places = []
    while frame.f_back is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PROJECT) and not path.is_relative_to(PROJECT / "tests"):
            places.append(f"{path.relative_to(PROJECT)}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(places)


def main(name: str, roots: Sequence[Path], material: Path, marks: Path, steps: int) -> None:
    """Lives the first steps of a history in each root, and marks what it does."""
    mark = os.open(marks, os.O_WRONLY)
    fsync, fdatasync = os.fsync, os.fdatasync

    def tell(text: str) -> None:
        os.write(mark, f"{text}\n".encode())

    left_out = os.environ.get("LEAVE_OUT_FSYNC_IN")  # the name of a function

    def labelled(call: Callable[[int], None]) -> Callable[[int], None]:
        def wrapped(fd: int) -> None:
            if sys._getframe(1).f_code.co_name == left_out:
                return
            tell(f"site {_site()}")
            call(fd)

        return wrapped

    os.fsync, os.fdatasync = labelled(fsync), labelled(fdatasync)  # type: ignore[assignment]  # the calls stay what they are
    history = HISTORIES[name]
    for root in roots:
        tell(f"root {root.name}")
        tell("begin 0")
        session = history.open(root, material)
        tell("done 0")
        if steps == 1:
            session.act()
            tell("acted")
        for step in range(1, steps):
            tell(f"begin {step}")
            session.do(step)
            tell(f"done {step}")
        session.close()


if __name__ == "__main__":
    main(sys.argv[1], [Path(root) for root in sys.argv[5:]], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
