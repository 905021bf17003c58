"""Eclipse hawkBit: bundles that are rolled out by a server of that kind. The thread; what it does is in hawkbit_session.py.

hawkbit_read.py says what the server's answers mean, hawkbit_plan.py what follows, hawkbit_words.py how it is told, all pure;
hawkbit_wire.py and hawkbit_fetch.py speak, hawkbit_memory.py remembers.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from camagent.config import Config
from camagent.integrations.hawkbit_book import USUAL, Patience, Surroundings
from camagent.integrations.hawkbit_server import Server, check
from camagent.stage import Stage
from camagent.watchdog import Overdue, Watchdog
from firmware_pkg.order import Listener

if TYPE_CHECKING:
    from camagent.integrations.hawkbit_session import Session

log = logging.getLogger("camagent")

STOP_S = 1.0
SPEAKING_S = 600.0  # a turn without news from a download: names that do not resolve, a slow disk, golden pictures
MARGIN_S = 60.0
LONGEST_WAIT_S = 60.0
JITTER = 0.1  # of every longer wait: ten thousand devices do not ask in step


class Hawkbit:
    """Off without `fleet.hawkbit.url`. Belongs to the agent's own thread; `facts` may be asked by any."""

    def __init__(
        self, config: Config, around: Surroundings, watchdog: Watchdog, *, patience: Patience = USUAL,
        part: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """Asks nothing yet. `part`: a random number of 0 to 1. Raises ConfigError."""
        check(config.fleet.hawkbit, config.agent.id)
        self._config, self._around, self._watchdog, self._patience, self._part = config, around, watchdog, patience, part
        self._stage: Stage | None = None
        self._session: Session | None = None
        self._lock = threading.RLock()  # the watchdog's thread replaces one that hangs

    def start(self) -> None:
        """Begins the conversation, where one is wanted."""
        with self._lock:
            self._start()

    def _start(self) -> None:
        section = self._config.fleet.hawkbit
        if not section.url:
            return
        from camagent.integrations.hawkbit_session import Session  # noqa: PLC0415  requests and urllib3, for those who use it

        server = Server.of(section, self._config.agent.id)
        session = Session(
            server, self._around, confirmation=section.confirmation, poll_s=section.poll,
            listener=Listener.parse(self._config.web.listen), patience=self._patience,
            beat=lambda: stage.pulse.beat(SPEAKING_S, "a download"),
        )  # fmt: skip
        stage = Stage("hawkbit", lambda stop: self._run(session, stage, stop), self._died)
        self._session, self._stage = session, stage
        self._watchdog.watch(stage.pulse, self._mend)
        stage.start()

    def stop(self) -> None:
        """Ends it, within a second; an installation that is in its last step is left to end by itself."""
        with self._lock:
            stage, session, self._stage, self._session = self._stage, self._session, None, None
        if stage is None or session is None:
            return
        stage.stop.set()
        session.stop()
        self._watchdog.forget(stage.pulse)
        stage.join(STOP_S)

    def follow(self, config: Config) -> None:
        """A new configuration is in force; a conversation that it does not change goes on."""
        old, self._config = self._config, config
        if (old.fleet.hawkbit, old.web.listen) != (config.fleet.hawkbit, config.web.listen):
            self.stop()
            self.start()

    def facts(self) -> dict[str, Any]:
        """For `health`; empty where there is none."""
        session = self._session
        if session is None:
            return {}
        facts, server = session.facts, Server.of(self._config.fleet.hawkbit, self._config.agent.id)
        return {
            "server": f"{server.base.scheme}://{server.base.authority}", "controller_id": server.controller_id,
            "state": facts.state, "action": facts.action, "code": facts.code, "detail": facts.detail,
            "polled": facts.polled, "poll_s": facts.poll_s,
        }  # fmt: skip

    def _run(self, session: Session, stage: Stage, stop: threading.Event) -> None:
        wait_s = self._part() * self._patience.start_s
        while True:
            stage.pulse.beat(LONGEST_WAIT_S + MARGIN_S, "waiting for the next poll")
            if stop.wait(min(wait_s, LONGEST_WAIT_S)):
                return
            stage.pulse.beat(SPEAKING_S, "speaking with the hawkBit server")
            wait_s = session.turn()
            wait_s += JITTER * self._part() * wait_s

    def _mend(self, late: Overdue) -> bool:
        """A thread that hangs takes nothing with it: another one goes on."""
        log.error("%s; a new thread goes on in its place", late.sentence)
        self._around.errors["HAWKBIT_HUNG"] += 1
        with self._lock:
            if self._stage is not None and self._stage.pulse.promise is late.promise:  # nobody has ended it meanwhile
                self.stop()
                self._start()
        return True

    def _died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)
        self._around.errors["STAGE_DIED"] += 1
