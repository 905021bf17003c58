"""What is done about an action on this device: a bundle is fetched and installed, a trial is followed to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from camagent.errors import Busy, CodedError, HawkbitDenied
from camagent.integrations import hawkbit_memory as memories
from camagent.integrations import hawkbit_plan as plan
from camagent.integrations.hawkbit_book import Book, Patience
from camagent.integrations.hawkbit_fetch import Fetch, Stopped
from camagent.integrations.hawkbit_memory import Doing, Item, Known
from camagent.integrations.hawkbit_server import Server
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Listener

log = logging.getLogger("camagent")


class Asking(Protocol):
    """What the work needs of the conversation while a download goes on. Both raise Gone or HawkbitUnreachable."""

    def progressed(self, doing: Doing, item: Item, done: int) -> None:
        """Tells the server how many bytes are here."""
        ...

    def is_cancelled(self, action: str) -> bool:
        """Whether the server wants this action stopped."""
        ...


class Work:
    """Belongs to the conversation's thread; `halt` may be set by any."""

    def __init__(
        self, book: Book, server: Server, asking: Asking, *, patience: Patience, listener: Listener | None,
        beat: Callable[[], None],
    ) -> None:  # fmt: skip
        """Nothing is fetched yet."""
        self.halt = threading.Event()
        self.next_at = float("-inf")  # monotonic: no download is begun before
        self._book, self._server, self._asking = book, server, asking
        self._patience, self._listener, self._beat = patience, listener, beat
        self._monotonic = book.around.clock.monotonic

    def judge(self) -> None:
        """Bundles on trial: the store knows. Raises StateError where it cannot be asked."""
        doing, slots_of = self._book.doing, self._book.around.slots_of
        if doing is None or doing.phase != "trial":
            return
        made = plan.judged(doing, slots_of)
        if made == doing:
            return
        refused = self._book.memory.refused
        for item in doing.items:
            if item.state == "trial" and made.final and item.digest in slots_of(item.name).refused:
                refused = self._book.verdict(item.sha256, made.final)
        self._book.save(replace(self._book.memory, doing=made, refused=refused))

    def is_due(self) -> bool:
        """Whether a bundle may be fetched now: the server has heard that it will be, and no pause is on."""
        doing = self._book.doing
        return doing is not None and doing.phase == "ready" and doing.owed is None and self._monotonic() >= self.next_at

    def step(self) -> bool:
        """Fetches and installs the next bundle; False where the server has stopped it. Raises HawkbitDenied: no token."""
        doing = self._book.doing
        assert doing is not None
        if doing.tries >= plan.MOST_TRIES:
            self._book.set(plan.exhausted(doing))
            return True
        index = next(number for number, item in enumerate(doing.items) if item.state == "pending")
        begun = replace(doing, phase="fetching", tries=doing.tries + 1)
        self._book.set(begun)
        try:
            self._take(begun, index)
        except Busy:
            self._book.set(doing)
            self.next_at = self._monotonic() + self._patience.busy_s
        except HawkbitDenied:
            self._book.set(doing)
            raise
        except Stopped as exc:
            self._book.set(doing)
            if not exc.cancelled:
                self._book.forget("it is gone")
            self._go_on()
            return False
        except Exception as exc:  # noqa: BLE001  told to the server; a defect of ours is logged with its traceback
            self._refused(begun, index, self._book.around.defect(exc))
        return True

    def _take(self, doing: Doing, index: int) -> None:
        item = doing.items[index]
        fetch = Fetch(
            item, self._server, self._patience, self._listener, self.halt, self._monotonic, self._beat,
            progressed=lambda done: self._asking.progressed(doing, item, done),
            is_cancelled=lambda: self._asking.is_cancelled(doing.action),
        )  # fmt: skip
        made = plan.installed(doing, index, fetch.into(self._book.around.installer.install, doing.action))
        there = made.items[index]
        known = Known(name=there.name, version=there.version, digest=there.digest)
        all_known = memories.remembered(self._book.memory.known, item.sha256, known)
        self._book.save(replace(self._book.memory, doing=made, known=all_known))

    def _refused(self, doing: Doing, index: int, exc: CodedError) -> None:
        if isinstance(exc, DownloadFailed) and exc.evidence.get("reason") == "stopped":
            return  # the agent ends; the next life begins anew
        log.error("hawkBit: action %s: %s", doing.action, exc.render())
        made = plan.not_installed(doing, exc)
        self.next_at = self._monotonic() + min(self._patience.first_s * 2 ** (doing.tries - 1), self._patience.most_s)
        refused = self._book.memory.refused
        if made.final is not None and plan.lasting(exc):
            refused = self._book.verdict(doing.items[index].sha256, made.final)
        self._book.save(replace(self._book.memory, doing=made, refused=refused))

    def _go_on(self) -> None:
        """The stop was the server's and not the agent's."""
        self.halt.clear()
        if self._book.closed.is_set():
            self.halt.set()
