"""Where an agent's bundles and a repository meet: what tuf_repo asks for, answered by bundles.py."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from camagent.integrations.tuf_repo import Repository, Surroundings
from camagent.orders import folder_url
from camagent.service import Origin, Tell
from firmware_pkg.order import Limits, Listener
from firmware_pkg.slots import Slots
from signing.trust import TrustRoot
from signing.trust_time import Clock

if TYPE_CHECKING:
    from camagent.bundles import Bundles

LIMITS = Limits()


class AgentDevice:
    """tuf_repo.Device, for one agent."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles

    def roots(self) -> tuple[TrustRoot, ...]:
        """All that are known. Raises StateError."""
        return self._bundles.trust.store.known()

    def time(self) -> Clock:
        """What is known of the time."""
        return self._bundles.trust.time()

    def slots(self, name: str) -> Slots:
        """What is stored of a name; nothing of a name that is none."""
        store = self._bundles.live.store
        return store.slots(name) if name in store.names() else Slots()

    def install_trust(self, roots: Sequence[bytes], origin: Origin) -> dict[str, Any]:
        """See Service."""
        return self._bundles.install_trust(roots, origin)

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool) -> dict[str, Any]:
        """See Service."""
        return self._bundles.install(source, origin, tell, force=force)


def open_repository(bundles: Bundles, url: str, stop: threading.Event, *, ca_file: Path | None = None) -> Repository:
    """The repository at `url` on behalf of this agent. Raises ConfigError for an address that is none."""
    config = bundles.trust.config
    about = Surroundings(
        state_dir=config.agent.state_dir, device=bundles.trust.device, require_clock=config.agent.require_clock,
        listener=Listener.parse(config.web.listen), ca_file=ca_file, limits=LIMITS,
    )  # fmt: skip
    return Repository(folder_url("fleet.tuf.url", url), AgentDevice(bundles), about, stop)
