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
    values = (
        ("agent.id", old.agent.id, new.agent.id),
        ("agent.state_dir", old.agent.state_dir, new.agent.state_dir),
        ("mqtt.prefix", old.mqtt.prefix, new.mqtt.prefix),
    )
    for key, running, wanted in values:
        if running != wanted:
            raise ConfigError(
                f"{key} cannot change while the agent runs",
                evidence={"running": running, "file": wanted},
                fix="restart the agent",
            )
