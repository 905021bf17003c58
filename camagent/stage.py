"""A thread with a name, a way to stop it, and the certainty that its death is heard of; and a wake-up for a waiting thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from camagent.errors import CodedError, printable
from camagent.pulse import Pulse

log = logging.getLogger("camagent")


def log_death(name: str, exc: BaseException) -> str:
    """Logs why a thread ended, in a sentence where that is no defect, such as a file that has gone; returns it in short."""
    if isinstance(exc, CodedError):
        log.error("%s ended. %s", name, exc.render())
        return exc.what
    log.error("%s ended by %r", name, exc, exc_info=exc)
    return f"{type(exc).__name__}: {printable(exc)}"


class Stage:
    """Runs `body(stop)` in a thread of its own. A body that raises is reported to `died`; silence is never taken for calm."""

    def __init__(self, name: str, body: Callable[[threading.Event], None], died: Callable[[str, BaseException], None]) -> None:
        self.name = name
        self.stop = threading.Event()
        self.pulse = Pulse(name)  # for a body that beats, and a watchdog that looks
        self._body = body
        self._died = died
        # a thread that hangs in a vendor's call must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Asks the body to stop and waits at most `timeout_s`; False when it is still running then."""
        self.stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """True between `start` and the end of the body."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._body(self.stop)
        except BaseException as exc:  # noqa: BLE001  reported, not swallowed: the pipeline decides what follows
            self._died(self.name, exc)
        finally:
            self.pulse.rest()


class Wake:
    """Ends another thread's wait. `set` may be called from any thread and from a signal handler.

    Not a `threading.Event`: its lock is not reentrant, so a handler that sets it while its own thread waits on it or clears it
    never returns. `SimpleQueue.put` is documented as reentrant.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Ends the wait that is going on, or the next one."""
        self._calls.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Waits for `set`, at most `timeout_s`; True when it was called. All calls so far count as one."""
        try:
            self._calls.get(timeout=timeout_s)
        except Empty:
            return False
        for _ in range(self._calls.qsize()):
            self._calls.get()
        return True
