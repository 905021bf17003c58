"""Servers that roll bundles out to many agents, as far as the configuration names any: what they get of this agent."""

from __future__ import annotations

from collections import Counter
from typing import Any

from camagent import __version__, vitals
from camagent.bundles import Bundles
from camagent.clock import Clock
from camagent.config import Config
from camagent.errors import CodedError
from camagent.integrations.hawkbit import Hawkbit
from camagent.integrations.hawkbit_book import Surroundings
from camagent.jobs import as_refusal
from camagent.watchdog import Watchdog


class Rollouts:
    """Belongs to the agent's own thread; `facts` may be asked by any."""

    def __init__(self, config: Config, bundles: Bundles, clock: Clock, watchdog: Watchdog, errors: Counter[str]) -> None:
        """Asks nobody yet. Raises ConfigError."""
        self._bundles = bundles
        around = Surroundings(
            installer=bundles, slots_of=bundles.live.store.slots, attributes=self.attributes, defect=as_refusal,
            circumstances=self.circumstances, state_dir=config.agent.state_dir, clock=clock, errors=errors,
        )  # fmt: skip
        self._hawkbit = Hawkbit(config, around, watchdog)

    def start(self) -> None:
        """Once the store has recovered."""
        self._hawkbit.start()

    def stop(self) -> None:
        """Before the store is given up; takes a second at most."""
        self._hawkbit.stop()

    def follow(self, config: Config) -> None:
        """A new configuration is in force."""
        self._hawkbit.follow(config)

    def facts(self) -> dict[str, Any]:
        """For `health.fleet`."""
        hawkbit = self._hawkbit.facts()
        return {"hawkbit": hawkbit} if hawkbit else {}

    def attributes(self) -> dict[str, str]:
        """Any thread: what a server may sort devices by. Raises StateError."""
        found = {"camagent.version": __version__, "camagent.device": self._bundles.trust.device, "serial": vitals.serial()}
        for name, body in self._bundles.bundles()["bundles"].items():
            found[f"bundle.{name}"] = str(body["current"] or "none")
        return {key: value for key, value in found.items() if value}

    def circumstances(self) -> str:
        """Any thread: under what a bundle is judged here; where this changes, a refusal is not the last word."""
        desk = self._bundles.trust
        try:
            root = desk.facts()["root"]
        except CodedError as exc:
            root = exc.code
        return f"camagent {__version__}, device {desk.device or 'unknown'}, root {root}"
