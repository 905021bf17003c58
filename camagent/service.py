"""What a running agent can be asked to do with bundles and trust, by whichever way the question comes in.

The control socket, the HTTP API and MQTT all speak to a `Service`; without a daemon the command line makes one itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias

# one JSON object per thing that happens: {"step": {id, status, measured}}, {"state": words}, {"progress": {"done", "of"}}
Event: TypeAlias = Mapping[str, Any]
Tell: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, for the audit log, and whether unsigned files may be spoken of at all: only those of this machine."""

    kind: Literal["local", "http", "mqtt", "hawkbit", "tuf"]
    who: str  # "uid 0, pid 1234", "192.0.2.7", "id 17 over MQTT"

    @property
    def on_this_machine(self) -> bool:
        """`allow_unsigned`, and the very first trust root, are for files that somebody has put here by hand."""
        return self.kind == "local"


@dataclass(frozen=True, slots=True)
class SelfTestWish:
    """What is to be tested, and for whom."""

    camera: str = ""  # "": every camera
    whole: bool = False  # with everything that a report has, pictures too
    config_path: str = ""  # the configuration that the user has in mind, "" where nobody named one
    config_digest: str = ""


class Service(Protocol):
    """One thing at a time: a second `install`, `activate` or `rollback` meanwhile is refused with BUSY.

    Every method may be called from any thread and blocks until it is done; every refusal is a CodedError.
    """

    def status(self) -> dict[str, Any]:
        """`GET /api/status`: agent and camera health, `bundle/state`, trust."""
        ...

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """Verify, store, golden check, activate. `source` is read once, from front to end, never seeked.

        Returns {"name", "version", "digest", "outcome": "trial" | "current" | "stored", "hint"?}.
        """
        ...

    def fetch(self, name: str, url: str, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """As `install`, of the best version of a bundle that the TUF repository at `url` lists for this device.

        Returns as `install`, or with outcome "unchanged" and "listed" where nothing newer than what runs is listed.
        """
        ...

    def activate(self, name: str, version: str | None, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """Puts a stored version (the newest one without `version`) on trial. Returns as `install`."""
        ...

    def rollback(self, name: str, origin: Origin, tell: Tell) -> dict[str, Any]:
        """Back to the last confirmed bundle before this one. Returns {"name", "version", "outcome": "current"}."""
        ...

    def bundles(self) -> dict[str, Any]:
        """{"bundles": {NAME: {"current", "trial", "previous", "stored", "rollback_index", "last_refusal"}}}."""
        ...

    def install_trust(self, roots: Sequence[bytes], origin: Origin, *, dry_run: bool = False) -> dict[str, Any]:
        """A chain of root.json files, in any order. The first root ever is taken only from this machine.

        Returns {"in_force": N, "added": [N ..], "expires": seconds, "revoked": [key id ..],
        "losing": [{"name", "version"} ..]}.
        """
        ...

    def selftest(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        """Why is nothing seen? One at a time, a second one meanwhile is refused with BUSY; the stream goes on.

        Returns `camagent.selftest/1` with `time` and `agent`. With `wish.whole` what a terminal and a page show besides goes to
        `tell` before: {"report": {..}} without pictures, {"exhibit": {..}} for each picture.
        """
        ...


class SelfTester(Protocol):
    """Who does an agent's self-tests. Every method may be called from any thread but the one that says otherwise."""

    def run(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service.selftest."""
        ...

    def order(self, payload: bytes) -> None:
        """`cmd/selftest` arrived: judged here, done in a thread of its own."""
        ...

    def tick(self) -> None:
        """The agent's thread, often: begins a test where one is due."""
        ...

    def tell_anew(self) -> None:
        """A new MQTT client knows no retained state."""
        ...

    def last(self) -> dict[str, Any] | None:
        """The last report, without pictures; None before the first."""
        ...

    def stop(self) -> None:
        """The agent ends: nothing new is begun."""
        ...
