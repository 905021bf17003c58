"""What the page asks of the cameras themselves, beside `service.Service`: their pictures, a try, zones and masks, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from camagent.health import Durations
from camagent.onlookers import View
from camagent.overlay import Change
from camagent.service import Origin
from camagent.web.refusals import NotFound

Spent: TypeAlias = Mapping[str, Durations]  # per step


class CameraDesk(Protocol):
    """Every method may be called from any thread; every refusal is a CodedError, NotFound for a camera that is not there."""

    def view(self, camera: str) -> View:
        """The camera's newest picture, for who looks."""
        ...

    def predict(self, camera: str, picture: bytes, min_score: float | None) -> dict[str, Any]:
        """What the camera's model sees in a JPEG or PNG: the bodies it would publish, and the picture with them drawn in.

        Without the camera's label, area and zone filters: those are for its own scene. Raises InputError, Busy, NoAnswer.
        """
        ...

    def areas(self, camera: str) -> dict[str, Any]:
        """Zones, masks and filter in force, and which of them the overlay says; see overlay.describe."""
        ...

    def save(self, camera: str, change: Change, origin: Origin) -> dict[str, Any]:
        """Writes the overlay and has it followed; answers as `areas`. Raises OverlayChanged, ConfigError, StateError."""
        ...

    def spent(self) -> Mapping[str, Spent]:
        """Where each camera's time went since it was started, for /metrics."""
        ...


class NoCameras:
    """Where no agent runs."""

    def view(self, camera: str) -> View:
        """Nothing to look at."""
        raise no_camera(camera)

    def predict(self, camera: str, picture: bytes, min_score: float | None) -> dict[str, Any]:
        """Nobody looks."""
        del picture, min_score
        raise no_camera(camera)

    def areas(self, camera: str) -> dict[str, Any]:
        """None."""
        raise no_camera(camera)

    def save(self, camera: str, change: Change, origin: Origin) -> dict[str, Any]:
        """For nobody."""
        del change, origin
        raise no_camera(camera)

    def spent(self) -> Mapping[str, Spent]:
        """Nothing."""
        return {}


def no_camera(name: str, known: str = "none") -> NotFound:
    """The refusal for a camera that is not there."""
    return NotFound("the agent runs no camera of that name", evidence={"camera": name, "cameras": known}, fix="see /api/status")
