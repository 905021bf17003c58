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
