"""Tells those who speak ONVIF what every frame shows, while the configuration wants it. Any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from camagent.clock import Clock
from camagent.config import Config
from camagent.frame import Result, detections_of
from camagent.integrations.onvif import Metadata, Module, Scenes
from camagent.messages import Author, Message, Topics


class Describer:
    """The scene descriptions of all cameras."""

    def __init__(self, config: Config, topics: Topics, clock: Clock, send: Callable[[Message], None]) -> None:
        """`send` takes live messages, from any thread."""
        self._config, self._topics, self._clock, self._send = config, topics, clock, send
        self._scenes: dict[str, Scenes] = {}
        self._lock = threading.Lock()

    def follow(self, config: Config) -> None:
        """A new configuration is in force. Where nobody asks for scenes any more, the last word is that they are empty."""
        with self._lock:
            was, self._config = self._config, config
            if was.onvif.enabled and not config.onvif.enabled:
                for scenes in self._scenes.values():
                    self._tell(scenes.end(self._clock.wall()))

    def see(self, result: Result, author: Author) -> None:
        """With every frame of a camera: nothing comes of it where no objects are looked for."""
        found = detections_of(result.outcome) if self._config.onvif.enabled else None
        if found is None:
            return
        module = Module(author.model.name, author.labels)
        with self._lock:
            if not self._config.onvif.enabled:  # switched off meanwhile, and the last word is said
                return
            scenes = self._scenes.get(author.camera)
            if scenes is None:
                scenes = self._scenes[author.camera] = Scenes(self._topics.root, author.camera, self._clock.monotonic)
            self._tell(scenes.see(result.frame, found, module, result.tracks))

    def end(self, camera: str, ended: Sequence[int]) -> None:
        """Nobody looks through that camera any more, or another model does: these objects will not come back."""
        with self._lock:
            scenes = self._scenes.get(camera)
            if scenes is not None and self._config.onvif.enabled:
                self._tell(scenes.end(self._clock.wall(), ended))

    def _tell(self, scene: Metadata | None) -> None:
        if scene is not None:
            self._send(Message(scene.topic, scene.payload, 0))
