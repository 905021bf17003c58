"""Objects over time: which of a frame's detections is the same thing as in the frames before (docs/tracking.md)."""

from __future__ import annotations

from camagent.track.rule import TrackRule
from camagent.track.tracker import Tracker

__all__ = ["TrackRule", "Tracker"]
