"""One bundle of an action on its way in: a stream from the server into the store, with an eye on who wants it stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from camagent.errors import HawkbitUnreachable, printable
from camagent.integrations import hawkbit_plan as plan
from camagent.integrations.hawkbit_book import Patience
from camagent.integrations.hawkbit_memory import Item
from camagent.integrations.hawkbit_server import Server
from camagent.integrations.hawkbit_wire import Gone
from camagent.service import Origin, Tell
from firmware_pkg.addresses import parse_url
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Listener, Order, Rules
from firmware_pkg.transfer import download


class Stopped(Exception):
    """The server does not want it any more. `cancelled`: it asks for an answer to that; otherwise the action is gone."""

    def __init__(self, *, cancelled: bool) -> None:
        super().__init__()
        self.cancelled = cancelled


@dataclass(slots=True)
class Fetch:
    """One attempt. Belongs to one thread; `halt` may be set by another."""

    item: Item
    server: Server
    patience: Patience
    listener: Listener | None
    halt: threading.Event
    monotonic: Callable[[], float]
    beat: Callable[[], None]
    progressed: Callable[[int], None]  # bytes so far; now and then
    is_cancelled: Callable[[], bool]  # asks the server; raises Gone or HawkbitUnreachable
    why: Stopped | None = None
    _told: int = 0
    _next: float = field(default=0.0)

    def into(self, install: Callable[[BinaryIO, Origin, Tell], dict[str, Any]], action: str) -> Mapping[str, Any]:
        """Fetches and installs; what the Service answers.

        Raises:
            Stopped: the server has changed its mind before all was here; nothing is installed.
            CodedError: ActionUnsupported, DownloadFailed, Busy, or a refusal.
        """
        url = parse_url(self.item.url)
        allowed = plan.prefix_for(url, self.server.base, self.server.download_from)
        is_ours = url.origin == self.server.base.origin
        rules = Rules(
            allowed=allowed, listener=self.listener, ca_file=self.server.ca_file,
            client=self.server.client if is_ours else None, limits=self.patience.download,
            setting="fleet.hawkbit.download_from",
        )  # fmt: skip
        token = self.server.token() if is_ours else None
        order = Order(self.item.url, self.item.sha256, self.item.size, token, self.server.scheme)
        self._next = self.monotonic() + self.patience.progress_s
        origin = Origin("hawkbit", f"action {printable(action, 64)}")
        try:
            with download(order, rules, progress=self._came, stop=self.halt) as source:
                return install(source, origin, lambda _: self.beat())
        except DownloadFailed as exc:
            if self.why is not None:
                raise self.why from exc
            raise

    def _came(self, done: int) -> None:
        self.beat()
        now = self.monotonic()
        if now < self._next or done >= self.item.size:
            return
        self._next = now + self.patience.progress_s
        try:
            if self._told < self.patience.reports:
                self._told += 1
                self.progressed(done)
            if self.is_cancelled():
                self._stop(cancelled=True)
        except Gone:
            self._stop(cancelled=False)
        except HawkbitUnreachable:  # the download itself says soon enough whether the server is there
            return

    def _stop(self, *, cancelled: bool) -> None:
        self.why = Stopped(cancelled=cancelled)
        self.halt.set()
