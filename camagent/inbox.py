"""What the agent listens to on the broker, and who hears of it.

The network thread hands over and goes on; other threads obey. A topic that is not listened to any more is not heard either,
also where a message of it was still on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from camagent.announcing import Announcer
from camagent.bundles import Bundles
from camagent.cameras import Cameras
from camagent.config import Config
from camagent.messages import Topics
from camagent.mqtt import MqttClient
from camagent.orders import Orders


class Inbox:
    """Commands, as far as `commands.allow` has them, and what Home Assistant says of itself."""

    def __init__(self, topics: Topics, cameras: Cameras, orders: Orders, bundles: Bundles, home: Announcer) -> None:
        """Nothing is listened to before `listen`."""
        self._topics, self._cameras, self._orders, self._bundles, self._home = topics, cameras, orders, bundles, home
        self._hearers: Mapping[str, Callable[[bytes], object]] = {}  # replaced as a whole

    def listen(self, config: Config, client: MqttClient) -> None:
        """Subscribes to what this configuration allows, and to nothing else."""
        commands = self._commands(config)
        notices = dict.fromkeys(self._home.births, self._home.note)
        self._hearers = {**notices, **commands}
        client.subscribe(tuple(commands), tuple(notices))

    def hear(self, topic: str, payload: bytes) -> None:
        """The network thread: something has come in."""
        hearer = self._hearers.get(topic)
        if hearer is not None:
            hearer(payload)

    def _commands(self, config: Config) -> dict[str, Callable[[bytes], object]]:
        allowed, of_agent = config.commands.allow, self._topics.of_agent
        found: dict[str, Callable[[bytes], object]] = {}
        if "detect" in allowed:
            for camera in config.camera:
                found[self._topics.of_camera(camera.name, "cmd", "detect")] = partial(self._cameras.note_command, camera.name)
        if "bundle" in allowed:
            found[of_agent("cmd", "bundle")] = self._orders.note
            found.update({self._topics.of_group(name, "cmd", "bundle"): self._orders.note for name in config.fleet.groups})
        if "selftest" in allowed:
            found[of_agent("cmd", "selftest")] = self._order_test
        return found

    def _order_test(self, payload: bytes) -> None:
        if self._bundles.tester is not None:
            self._bundles.tester.order(payload)
