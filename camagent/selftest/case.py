"""What is under test: a model as it was deployed, pictures with known answers, one camera's settings, stored live frames."""

from __future__ import annotations

from dataclasses import dataclass, field

from camagent.config import Camera
from camagent.pipeline import BackendOptions, UsableBundle
from camagent.selftest.sample import LiveSample


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Everything that the rungs between backend and filters look at; nothing in it changes while they do.

    `bundle.golden` has the bytes of every golden picture and reference that its manifest names. `camera` brings filters,
    zones and masks, None on a workstation. `live` are stored frames: live ones would change between two variants.
    """

    bundle: UsableBundle
    options: BackendOptions = field(default_factory=BackendOptions)
    camera: Camera | None = None
    live: LiveSample | None = None
