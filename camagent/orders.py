"""`cmd/bundle`: bundles that are ordered over MQTT, fetched and installed by the agent itself, one at a time.

What may be ordered is decided in commands.py, from where it may come in firmware_pkg/transfer.py. This holds the thread.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from camagent.bundles import Bundles
from camagent.clock import Clock
from camagent.commands import Accepted, CommandAnswer, CommandGate, Decision, Ignored, Kind
from camagent.config import Config
from camagent.errors import CodedError, ConfigError, printable
from camagent.redact import without_credentials
from camagent.service import Origin
from camagent.stage import Stage
from firmware_pkg.addresses import Prefix, UnusableUrl
from firmware_pkg.order import Listener, Order, Rules

log = logging.getLogger("camagent")

STOP_S = 1.0


def prefixes(config: Config) -> tuple[Prefix, ...]:
    """`commands.bundle_from`. Raises ConfigError for an entry that is no URL of a folder."""
    return tuple(folder_url("commands.bundle_from", entry) for entry in config.commands.bundle_from)


def repository_prefix(config: Config) -> Prefix | None:
    """`fleet.tuf.url`; None where there is none. Raises ConfigError."""
    url = config.fleet.tuf.url
    return folder_url("fleet.tuf.url", url) if url else None


def folder_url(key: str, entry: str) -> Prefix:
    """The URL of a folder that stands under `key`. Raises ConfigError."""
    try:
        return Prefix.parse(entry)
    except UnusableUrl as exc:
        raise ConfigError(
            f"{key}: {without_credentials(entry)} cannot be used: {exc}",
            evidence={"entry": without_credentials(entry), "expected": "https://updates.example.org/models/"},
            fix="give URLs of folders; with http only where the entry itself says http",
        ) from exc


class Orders:
    """`note` comes from the network thread; `answer` may be read by any."""

    def __init__(
        self, config: Config, bundles: Bundles, clock: Clock, *, errors: Counter[str], changed: Callable[[], None],
        seen: Sequence[str], remember: Callable[[Callable[[], Sequence[str]]], None],
    ) -> None:  # fmt: skip
        """`errors` counts what is ignored; `remember` keeps the ids of accepted commands over restarts. Raises ConfigError."""
        self.answer: CommandAnswer | None = None
        self.gate = CommandGate(prefixes(config), seen=seen)  # of `cmd/selftest` too: an id is never obeyed twice
        self._config, self._bundles, self._clock = config, bundles, clock
        self._errors, self._changed, self._remember = errors, changed, remember
        self._stop = threading.Event()
        self._worker: Stage | None = None

    def follow(self, config: Config) -> None:
        """A new configuration is in force. Raises ConfigError."""
        self.gate.allowed = prefixes(config)
        self._config = config

    def note(self, payload: bytes) -> None:
        """A command arrived: it is judged here and done in a thread of its own."""
        decision = self.judge("bundle", payload)
        if isinstance(decision, Ignored):
            return
        self._say(CommandAnswer.of(decision, self._clock.wall()))
        if isinstance(decision, Accepted):
            worker = self._worker = Stage("bundle-command", lambda _: self._obey(decision), self._died)
            worker.start()

    def judge(self, kind: Kind, payload: bytes) -> Decision:
        """Any thread: what becomes of a command. What is ignored is counted."""
        decision = self.gate.judge(kind, payload, self._clock.monotonic())
        if isinstance(decision, Ignored):
            self._errors[decision.code] += 1
        return decision

    def remember(self) -> None:
        """Any thread: keeps the ids of accepted commands over restarts."""
        self._remember(lambda: self.gate.seen)

    def stop(self) -> None:
        """Gives up what is being fetched."""
        self._stop.set()
        if self._worker is not None:
            self._worker.join(STOP_S)

    def _obey(self, command: Accepted) -> None:
        assert command.order is not None
        try:
            self.remember()
            if self._stop.wait(command.delay_s):
                return
            done = self._install(command.order, command.id)
        except CodedError as exc:
            log.error("cmd/bundle: %s", exc.render())  # noqa: TRY400  a sentence, not a traceback
            self._say(CommandAnswer.of_failure(command.id, exc, self._clock.wall()))
        else:
            self._say(CommandAnswer.of_success(command.id, done, self._clock.wall()))
        finally:
            self.gate.done("bundle")

    def _install(self, order: Order, command_id: str | None) -> str:
        from firmware_pkg.transfer import download  # noqa: PLC0415  requests and urllib3, for those who use it

        rules = Rules(allowed=self.gate.allowed, listener=Listener.parse(self._config.web.listen))
        origin = Origin("mqtt", f"id {printable(command_id, 64)}" if command_id else "no id")
        with download(order, rules, stop=self._stop) as source:
            result = self._bundles.install(source, origin, lambda _: None)
        return f"{result['name']} {result['version']}: {result['outcome']}"

    def _say(self, answer: CommandAnswer) -> None:
        self.answer = answer
        self._changed()

    def _died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)
        self._errors["STAGE_DIED"] += 1
