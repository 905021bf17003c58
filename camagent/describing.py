"""Tells those who speak ONVIF what every frame shows, while the configuration wants it. `see` comes from workers of cameras."""

from __future__ import annotations

from collections.abc import Callable

from camagent.clock import Clock
from camagent.config import Config
from camagent.frame import Result, detections_of
from camagent.integrations.onvif import Module, Scenes
from camagent.messages import Author, Message, Topics


class Describer:
    """The scene descriptions of all cameras."""

    def __init__(self, config: Config, topics: Topics, clock: Clock, send: Callable[[Message], None]) -> None:
        """`send` takes live messages, from any thread."""
        self._config, self._topics, self._clock, self._send = config, topics, clock, send
        self._scenes: dict[str, Scenes] = {}

    def follow(self, config: Config) -> None:
        """A new configuration is in force."""
        self._config = config

    def see(self, result: Result, author: Author) -> None:
        """A camera's worker, with every frame: nothing comes of it where no objects are looked for."""
        found = detections_of(result.outcome) if self._config.onvif.enabled else None
        if found is None:
            return
        scenes = self._scenes.get(author.camera)
        if scenes is None:
            scenes = self._scenes[author.camera] = Scenes(self._topics.root, author.camera, self._clock.monotonic)
        scene = scenes.see(result.frame, found, Module(author.model.name, author.labels), result.tracks)
        if scene is not None:
            self._send(Message(scene.topic, scene.payload, 0))
