"""What a configuration must hold beyond its own types: addresses that are some, sources that can be, a reload's limits."""

from __future__ import annotations

from camagent.config import Config
from camagent.errors import ConfigError
from camagent.integrations import hawkbit_server
from camagent.mqtt import Endpoint
from camagent.orders import prefixes, repository_prefix
from camagent.sources import open_source


def check(config: Config) -> None:
    """What `run` would refuse before it starts, without starting anything. Raises ConfigError or InputError."""
    Endpoint.parse(config.mqtt.url)
    prefixes(config)
    hawkbit_server.check(config.fleet.hawkbit, config.agent.id)
    repository_prefix(config)
    for camera in config.camera:
        open_source(camera)


def require_same_owner(old: Config, new: Config) -> None:
    """What cannot change while the agent runs. Raises ConfigError."""
    for key in ("id", "state_dir"):
        if getattr(old.agent, key) != getattr(new.agent, key):
            raise ConfigError(
                f"agent.{key} cannot change while the agent runs",
                evidence={"running": getattr(old.agent, key), "file": getattr(new.agent, key)},
                fix="restart the agent",
            )
