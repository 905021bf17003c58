"""What this agent judges bundles against: its trust roots, its clock, its device. Asked by bundles.py, shown in `health`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from camagent import BUILD_TIME, __version__, vitals
from camagent.backends import installed
from camagent.clock import Clock
from camagent.config import Config
from camagent.errors import CodedError
from camagent.service import Origin
from firmware_pkg.errors import Refused
from firmware_pkg.trust_store import TrustStore
from firmware_pkg.verify import Policy, Unsigned
from signing import trust, trust_time
from signing.trust import TrustRoot
from signing.verify import TrustedKeys

log = logging.getLogger("camagent")


@dataclass(frozen=True, slots=True)
class TrustChange:
    """What a chain of offered roots would bring."""

    new: tuple[TrustRoot, ...]
    after: tuple[TrustRoot, ...]  # all that are then known

    @property
    def in_force(self) -> TrustRoot:
        """The root that then decides."""
        return trust.in_force(self.after)


class TrustDesk:
    """Reads its store each time: roots change rarely, and one owner at a time writes them."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises StateError where the stored roots cannot be read."""
        self.config = config
        self.store = TrustStore(config.agent.state_dir / "trust", config.agent.trust, BUILD_TIME)
        self._clock = clock

    def recover(self) -> None:
        """At start and after a change of the configuration: takes in agent.trust's root, and says what is wrong with it."""
        try:
            for warning in self.store.recover():
                log.warning("%s", warning.render())
        except CodedError as exc:  # nothing can be verified then, and every load says so; the agent itself is up
            log.error("%s", exc.render())  # noqa: TRY400  a sentence, not a traceback

    @property
    def device(self) -> str:
        """This machine's SoC; "" where it is unknown."""
        return self.config.agent.device or vitals.device()

    def time(self) -> trust_time.Clock:
        """What is known of the time."""
        return trust_time.Clock(datetime.fromtimestamp(self._clock.wall(), UTC), self.store.floor, vitals.clock_synchronised())

    def to_install(self, origin: Origin) -> Policy:
        """Everything is asked; the store adds the rollback index."""
        known = self.store.known()
        return Policy(
            trusted=_keys(known), roots=known, unsigned=self._unsigned(on_this_machine=origin.on_this_machine),
            clock=self.time(), require_clock=self.config.agent.require_clock, device=self.device, backends=installed(),
            runtime=__version__,
        )  # fmt: skip

    def to_load(self, roots: Sequence[TrustRoot] | None = None) -> Policy:
        """Whose it is and whether it is unchanged; a confirmed bundle runs on whatever the date.

        `roots`: those to judge by, instead of the ones in force.
        """
        known = self.store.known() if roots is None else tuple(roots)
        return Policy(trusted=_keys(known), roots=known, unsigned=self._unsigned(on_this_machine=True))

    def change(self, roots: Sequence[bytes], origin: Origin) -> TrustChange:
        """What would be in force after these. Raises Refused: see signing.trust.chain and trust_time.judge."""
        offered = [trust.read_root(data, f"root file {number}") for number, data in enumerate(roots, 1)]
        known = self.store.known()
        new = trust.chain(known, offered, first=origin.on_this_machine)
        made = TrustChange(new, (*known, *new))
        if new:
            last = made.in_force
            trust_time.judge(last.name, last.expires, self.time(), require_clock=self.config.agent.require_clock)
        return made

    def facts(self) -> dict[str, Any]:
        """For `health`: which root, until when, and what is wrong with it."""
        known = self.store.known()
        if not known:
            return {"root": None, "expires": None, "warning": None}
        current = trust.in_force(known)
        return {
            "root": current.version, "expires": current.expires.timestamp(), "signers": len(current.signers),
            "threshold": current.threshold, "warning": self._warning(current),
        }  # fmt: skip

    def _warning(self, current: TrustRoot) -> str | None:
        try:
            judgement = trust_time.judge(current.name, current.expires, self.time())
        except Refused as exc:
            return f"{exc.code}: {exc.what}; what runs goes on, new installs wait"
        if judgement.expires_soon and judgement.remaining is not None:
            return f"the trust root expires in {judgement.remaining.days} days; new installs will then wait for a newer one"
        return f"{judgement.warnings[0].code}: {judgement.warnings[0].what}" if judgement.warnings else None

    def _unsigned(self, *, on_this_machine: bool) -> Unsigned:
        return "allowed" if self.config.agent.allow_unsigned and on_this_machine else "not-allowed"


def _keys(known: tuple[TrustRoot, ...]) -> TrustedKeys | None:
    return trust.trusted_keys(known) if known else None
