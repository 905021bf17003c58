"""systemd's end of the notification socket: what it was told, and what it would do to a service that goes silent."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_MARK, _END = b"mark", b"end"


class Systemd:
    """Receives at NOTIFY_SOCKET from a service that has `watchdog_s` to say that it lives."""

    def __init__(self, folder: Path, watchdog_s: float = 30.0) -> None:
        """Reads at once whatever comes, in a thread: the socket holds but ten datagrams."""
        self.path, self.watchdog_s = folder / "notify", watchdog_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self.told: list[str] = []  # everything so far
        self._seen, self._marked = 0, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(round(self.watchdog_s * 1e6))}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._send(_END)
        self._thread.join(10)
        self._socket.close()

    def received(self, timeout_s: float = 0.0) -> list[str]:
        """What has come since the last call; waits for the first for at most `timeout_s`."""
        end = time.monotonic() + timeout_s
        self._settle()
        while len(self.told) == self._seen and time.monotonic() < end:
            time.sleep(0.02)
        found = self.told[self._seen :]
        self._seen += len(found)
        return found

    def _settle(self) -> None:
        """Everything that was sent before this call has been read when it returns."""
        self._marked.clear()
        self._send(_MARK)
        assert self._marked.wait(30)

    def _send(self, data: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, str(self.path))

    def _listen(self) -> None:
        while (data := self._socket.recv(65536)) != _END:
            if data == _MARK:
                self._marked.set()
            else:
                self.told.append(data.decode())

    def wait(self, condition: Callable[[str], bool], timeout_s: float = 60) -> str:
        """The first that fulfils the condition, of those after the last one returned; what follows is still to come."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            came = self.received(0.2)
            for index, message in enumerate(came):
                if condition(message):
                    self._seen -= len(came) - index - 1
                    return message
        raise AssertionError(f"systemd was not told; it was told {self._lines()} and at last {self.told[-5:]}")

    def _lines(self) -> list[str]:
        """What it was told but for the beats of the watchdog, which bury everything else."""
        return [told for told in self.told if "WATCHDOG" not in told]

    def watch(self, kill: Callable[[signal.Signals], None], gone: Callable[[], bool], timeout_s: float = 120) -> float:
        """As systemd does: SIGABRT to a service that is silent for too long. Seconds of silence before that."""
        limit_s, fed, end = self.watchdog_s, time.monotonic(), time.monotonic() + timeout_s
        while time.monotonic() < end and not gone():
            for message in self.received(0.1):
                fields = dict(line.partition("=")[::2] for line in message.splitlines())
                if "WATCHDOG_USEC" in fields:
                    limit_s = int(fields["WATCHDOG_USEC"]) / 1e6
                if fields.get("WATCHDOG") == "1":
                    fed = time.monotonic()
            if time.monotonic() - fed > limit_s:
                kill(signal.SIGABRT)
                return time.monotonic() - fed
        raise AssertionError("the service was never silent for long enough")
