"""What `<camera>/health` says of model, picture, source and turns, in the words of its body."""

from __future__ import annotations

from typing import Any

from camagent.bodies import HealthModel, HealthPicture, HealthTurns
from camagent.health import Window
from camagent.model_holder import Loaded
from camagent.picture_check import PictureFacts
from camagent.sources import SourceStatus
from camagent.waiting_line import Guest


def model_facts(loaded: Loaded) -> HealthModel:
    """The model that looks."""
    ref, steps = loaded.author.model, loaded.steps
    return HealthModel(
        name=ref.name, version=ref.version, backend=steps.backend_name, signature=steps.signature, task=steps.manifest.task,
        warnings=steps.warnings,
    )  # fmt: skip


def picture_facts(picture: PictureFacts) -> HealthPicture:
    """What its pictures are like."""
    tone = picture.tone
    return HealthPicture(
        brightness=round(tone.median, 1) if tone else None, contrast=round(tone.high - tone.low, 1) if tone else None,
        unchanged_s=round(picture.still_s, 1), masked=round(picture.masked, 3),
    )  # fmt: skip


def source_facts(source: SourceStatus) -> dict[str, Any]:
    """What is known of the stream."""
    return {
        "state": source.state, "codec": source.codec, "decoder": source.decoder, "decoder_note": source.decoder_note or None,
        "pixels": source.pixels or None, "width": source.width, "height": source.height,
        "key_interval": source.key_interval, "key_frames_only": source.key_frames_only, "time_source": source.time_source,
        "decoder_errors": source.decoder_errors, "corrupt": source.corrupt, "overloads": source.overloads,
        "unreadable": source.unreadable,
    }  # fmt: skip


def turns_facts(guest: Guest, window: Window, crowded_out: int) -> HealthTurns | None:
    """How it fares among those that share its backend; None before its first turn."""
    room = guest.room
    if room is None:
        return None
    return HealthTurns(
        cameras=room.cameras, at_once=room.at_once, asked_fps=round(window.asked_fps, 2), crowded_out=crowded_out,
        waited_s=round(guest.waited_s, 3),
    )  # fmt: skip
