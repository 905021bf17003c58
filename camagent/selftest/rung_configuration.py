"""Is it what the file says, is it switched on, and does the agent that runs it keep up? What `health` shows is judged here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from camagent import vitals
from camagent.config import Camera, Config
from camagent.config_file import Loaded
from camagent.errors import CodedError
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Tell, Value

MEMORY_BYTES = 16 << 20  # with less to spare the next allocation may be the one that fails
SLOW_TOTAL_MS = 2000.0  # from a packet's arrival to the end of the last step: whoever passed by is gone by then
SLOW_FPS, SLOW_SHARE = 1.0, 0.2  # inferred a second, and of what the configuration asks for
ENOUGH_FRAMES = 5
_MODEL_FAILS = ("inference-failing", "stage-died")


@dataclass(frozen=True, slots=True)
class SwitchFacts:
    """The detect switch of a camera."""

    on: bool
    since: float  # seconds since 1970
    by: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose configuration the user has in mind."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Running:
    """What a camera's `health` said before the self-test began."""

    reason: str | None
    detail: str
    inferred: int  # in the last seconds
    fps: float
    total_ms: float | None
    counters: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    errors: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


class ConfigurationRung:
    """`read_again`: the file as it stands now, where another process has read it before; None where this one just has."""

    id = "configuration"

    def __init__(
        self, loaded: Loaded, camera: Camera, switch: SwitchFacts | None, *,
        read_again: Callable[[], Loaded] | None = None, asked: Asked | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._camera, self._switch = loaded, camera, switch
        self._read_again, self._asked = read_again, asked

    def run(self, tell: Tell) -> Outcome:
        """A deliberate OFF is told as the answer that it is, and accuses nobody."""
        tell("reading the configuration")
        loaded = self._loaded
        measured: dict[str, Value] = {
            "file": str(loaded.path or ""), "digest": loaded.digest[:12], "camera": self._camera.name,
            "detect": "ON" if self._switch is None or self._switch.on else "OFF",
        }  # fmt: skip
        wrong = self._other_on_disk(measured) if self._read_again else None
        if self._switch is not None and not self._switch.on:
            measured |= _off(self._switch)
        if wrong is not None:
            return Outcome("fail", measured, (wrong,))
        off = measured["detect"] == "OFF"
        return Outcome("warn" if off or "note" in measured else "pass", measured)

    def _other_on_disk(self, measured: dict[str, Value]) -> Cause | None:
        assert self._read_again is not None
        running = {"agent runs": f"{self._loaded.path}, sha256 {self._loaded.digest[:12]}"}
        try:
            now = self._read_again()
        except CodedError as exc:
            return _cause("wrong-config-loaded", {**running, "file now": f"{exc.code}: {exc.what}"}, exc.fix)
        if now.config != self._loaded.config:
            return _cause("wrong-config-loaded", {**running, "file now": f"sha256 {now.digest[:12]}"})
        asked = self._asked
        if asked is not None and not _same_file(asked.path, self._loaded.path) and asked.digest != now.digest:
            return _cause("wrong-config-loaded", {**running, "asked about": f"{asked.path}, sha256 {asked.digest[:12]}"})
        if now.digest != self._loaded.digest:
            measured["note"] = "the file was changed since it was read, and means the same"
        return None


class SystemRung:
    """The same step once more, after the model was tested: what of its trouble is the agent's or the machine's own.

    `running` is None without a daemon. `named`: the causes that other rungs have found.
    """

    id = "configuration"

    def __init__(self, config: Config, camera: Camera, running: Running | None, named: Callable[[], Sequence[Cause]]) -> None:
        self._config, self._camera, self._running, self._named = config, camera, running, named

    def run(self, tell: Tell) -> Outcome:
        """Reads numbers, waits for nothing."""
        del tell
        available = vitals.memory_available()
        measured: dict[str, Value] = {"memory_available": available}
        causes = [_cause("memory-exhausted", {"available": available, "needed": MEMORY_BYTES})] if _is_short(available) else []
        running = self._running
        if running is not None:
            measured |= {"fps": round(running.fps, 2), "errors": dict(running.errors), "reason": running.reason}
            causes += [cause for cause in (self._slow(running), self._swallowed(running)) if cause is not None]
        return Outcome("fail" if causes else "pass", measured, tuple(causes))

    def _slow(self, running: Running) -> Cause | None:
        late = running.total_ms is not None and running.total_ms > SLOW_TOTAL_MS
        few = running.fps < min(SLOW_FPS, SLOW_SHARE * self._camera.fps)
        dropped, decoded = running.counters.get("dropped", 0), running.counters.get("decoded", 0)
        if running.inferred < ENOUGH_FRAMES or not (late or (few and dropped)):
            return None
        return _cause("too-slow-stale-frames", {
            "fps": round(running.fps, 2), "wanted fps": self._camera.fps, "total ms": running.total_ms,
            "dropped": f"{dropped} of {decoded} decoded",
        })  # fmt: skip

    def _swallowed(self, running: Running) -> Cause | None:
        """Where the model itself was found to fail, that is the cause, and this its consequence."""
        if running.reason not in _MODEL_FAILS or any(cause.layer in {"backend", "head"} for cause in self._named()):
            return None
        return _cause("error-swallowed", {"errors": dict(running.errors), "reason": running.reason, "detail": running.detail})


def _off(switch: SwitchFacts) -> dict[str, Value]:
    since = datetime.fromtimestamp(switch.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    answer = f"disabled by request: {switch.by} switched detection off on {since}; {CAUSES['detection-disabled-remotely'].fix}"
    return {"reason": "disabled-by-request", "by": switch.by, "since": since, "answer": answer}


def _same_file(asked: str, running: Path | None) -> bool:
    """By its path: the digest covers an overlay too, which not everybody may read."""
    return running is not None and Path(asked).resolve() == running.resolve()


def _is_short(available: int) -> bool:
    return 0 < available < MEMORY_BYTES


def _cause(name: str, evidence: Mapping[str, Value], fix: str = "") -> Cause:
    known = CAUSES[name]
    return Cause(name, known.layer, f"{known.fix}; {fix}" if fix else known.fix, evidence)
