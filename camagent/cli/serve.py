"""Who may ask a running agent: the control socket, and the HTTP API where [web] has it; and whom it asks: [fleet]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camagent import web
from camagent.config import Config, Tuf, Web
from camagent.control import ControlServer
from camagent.errors import ConfigError
from camagent.jobs import Jobs
from camagent.pipeline import Agent
from camagent.selftest.daemon import SelfTests
from camagent.web.agent_desk import AgentDesk

if TYPE_CHECKING:
    from camagent.integrations.tuf_watch import TufWatch

ANSWERS_S = 20.0  # the API is loaded beside the rest of the start; on a very slow card readiness does not wait for it


def require_web(config: Config) -> None:
    """Raises ConfigError for a [web] section that cannot be served, or not safely."""
    wrong = web.problem(config.web)
    if wrong:
        key, what = wrong
        raise ConfigError(f"{key}: {what}", evidence={"key": key}, fix='mend the key; listen = "" switches the API off')


class Servers:
    """Both speak to the same `Service`. Belongs to the agent's main thread."""

    def __init__(self, agent: Agent) -> None:
        """Listens to nobody yet."""
        self._agent = agent
        agent.bundles.tester = SelfTests(agent)
        self._jobs = Jobs(agent.bundles, agent.clock)
        self._control = ControlServer(agent.owner.run_dir, agent.bundles)
        self._section: Web = agent.config.web
        self._web = self._made(self._section)
        agent.web_facts, agent.on_reload, agent.check_also = self.facts, self.follow, require_web
        agent.fleet_facts = self.fleet_facts
        self._tuf_section, self._tuf = agent.config.fleet.tuf, self._made_tuf(agent.config)
        agent.before_ready = lambda: self._web.wait(ANSWERS_S)

    def start(self) -> None:
        """Listens. What cannot be listened on is said in `health` and tried again."""
        self._agent.vigil.watchdog.watch(self._control.pulse)
        self._control.start()
        self._start_web()
        if self._tuf:
            self._tuf.start()

    def stop(self) -> None:
        """Ends them, within seconds."""
        if self._tuf:
            self._tuf.stop()
        self._web.stop()
        self._control.stop()

    def follow(self, config: Config) -> None:
        """A changed [web] section takes effect at once; otherwise nobody is disturbed."""
        if config.web != self._section:
            self._web.stop()
            self._agent.vigil.watchdog.forget(self._web.pulse)
            self._section = config.web
            self._web = self._made(self._section)
            self._start_web()
        if config.fleet.tuf != self._tuf_section:
            if self._tuf:
                self._tuf.stop()
            self._tuf_section, self._tuf = config.fleet.tuf, self._made_tuf(config)
            if self._tuf:
                self._tuf.start()

    def fleet_facts(self) -> dict[str, Any]:
        """For `health`."""
        return {"tuf": self._tuf.facts()} if self._tuf else {}

    def facts(self) -> dict[str, Any]:
        """For `health`."""
        return {"listen": self._section.listen, "problem": self._web.problem, "control": self._control.problem}

    def _start_web(self) -> None:
        self._agent.vigil.watchdog.watch(self._web.pulse)
        self._web.start()

    def _made(self, section: Web) -> web.Server:
        return web.Server(section, self._agent.bundles, self._jobs, self._agent.clock, desk=AgentDesk(self._agent))

    def _made_tuf(self, config: Config) -> TufWatch | None:
        section: Tuf = config.fleet.tuf
        if not section.url:
            return None
        from camagent.integrations.tuf_watch import TufWatch

        agent = self._agent
        return TufWatch(
            lambda stop: agent.bundles.repository(section.url, stop, ca_file=section.ca_file), self._names, agent.clock,
            interval_s=section.interval_s, spread_s=section.interval_s if section.spread_s is None else section.spread_s,
        )  # fmt: skip

    def _names(self) -> list[str]:
        return sorted({camera.bundle for camera in self._agent.config.camera if camera.bundle})
