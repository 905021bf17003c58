"""What a source says of itself: state, reason and counters. One thread writes, any thread takes a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from camagent.errors import SourceError
from camagent.frame import TimeSource
from camagent.sources.errors import StreamClientLimit, StreamRefused

State: TypeAlias = Literal["connecting", "running", "waiting", "ended"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source at one moment. Counters run from the agent's start, over all sessions."""

    state: State = "connecting"
    reason: str | None = None  # why no frames come; None while they do
    sentence: str = ""  # the reason in words, without secrets
    fix: str = ""  # the next step, where there is a reason
    answered: bool = False  # the server itself has said no, or speaks and sends nothing: waiting alone will not help
    packets: int = 0
    decoded: int = 0
    decoder_errors: int = 0  # packets that the decoder refused or that never became a frame
    corrupt: int = 0  # frames that came out damaged and were not handed over
    key_frames: int = 0  # that came out
    damaged_keys: int = 0  # of these: damaged, and with them all that follows up to the next one
    overloads: int = 0  # times the decoder could not keep up and skipped to a key frame
    reconnects: int = 0  # sessions opened after the first one
    unreadable: int = 0  # files of a folder that are no pictures
    last_frame: float | None = None  # monotonic seconds: when the newest good frame's packet arrived
    codec: str = ""  # h264, hevc, mjpeg ..
    decoder: str = ""  # FFmpeg's name of the decoder in use
    decoder_note: str = ""  # where its pictures are fetched from, or why software decodes in place of hardware
    pixels: str = ""  # format of its pictures as they are read
    width: int = 0  # pixels of the newest frame
    height: int = 0
    key_interval: float | None = None  # seconds between key frames, over the last GOPs
    key_frames_only: bool = False  # only due key frames are decoded: they are enough for fps
    time_source: TimeSource | None = None
    decoder_error: str = ""  # the newest one's words

    def after(self, earlier: SourceStatus) -> SourceStatus:
        """The same, counted on from a source that this one has replaced."""
        sums = {name: getattr(self, name) + getattr(earlier, name) for name in _COUNTERS}
        return replace(self, **sums) if any(sums[name] != getattr(self, name) for name in _COUNTERS) else self


_COUNTERS = (
    "packets", "decoded", "decoder_errors", "corrupt", "key_frames", "damaged_keys", "overloads", "reconnects", "unreadable",
)  # fmt: skip


class Tally:
    """The counters of one source, written by its reader alone.

    Each field is one Python object, replaced in one step, so a snapshot from another thread is never torn; two fields
    may be one frame apart, which no reader of health can see.
    """

    def __init__(self) -> None:
        self.packets = self.decoded = self.decoder_errors = self.corrupt = self.overloads = 0
        self.key_frames = self.damaged_keys = self.sessions = self.unreadable = 0
        self.last_frame: float | None = None
        self.codec = self.decoder = self.decoder_error = self.decoder_note = self.pixels = ""
        self.width = self.height = 0
        self.key_interval: float | None = None
        self.key_frames_only = False
        self.time_source: TimeSource | None = None
        self._situation: tuple[State, SourceError | None, str] = ("connecting", None, "")

    def connecting(self) -> None:
        """A session is being opened; the reason of the failure before stays until frames come."""
        self._situation = ("connecting", *self._situation[1:])

    def running(self) -> None:
        """A good frame came out."""
        if self._situation[0] != "running":
            self._situation = ("running", None, "")

    def waiting(self, error: SourceError, next_try_s: float) -> None:
        """A session failed; the next one is tried in `next_try_s` seconds, sooner if the server comes back."""
        self._situation = ("waiting", error, f"{error.what}; next try in {next_try_s:.0f} s")

    def ended(self) -> None:
        """Nothing more will come: stopped, or the end of a file."""
        self._situation = ("ended", None, "")

    @property
    def is_running(self) -> bool:
        """True since the newest session's first good frame."""
        return self._situation[0] == "running"

    def snapshot(self) -> SourceStatus:
        """The counters as they stand."""
        state, error, sentence = self._situation
        return SourceStatus(
            state=state,
            reason=error.reason if error else None,
            sentence=sentence,
            fix=error.fix if error else "",
            answered=isinstance(error, StreamRefused | StreamClientLimit),
            packets=self.packets,
            decoded=self.decoded,
            decoder_errors=self.decoder_errors,
            corrupt=self.corrupt,
            key_frames=self.key_frames,
            damaged_keys=self.damaged_keys,
            overloads=self.overloads,
            reconnects=max(self.sessions - 1, 0),
            unreadable=self.unreadable,
            last_frame=self.last_frame,
            codec=self.codec,
            decoder=self.decoder,
            decoder_note=self.decoder_note,
            pixels=self.pixels,
            width=self.width,
            height=self.height,
            key_interval=self.key_interval,
            key_frames_only=self.key_frames_only,
            time_source=self.time_source,
            decoder_error=self.decoder_error,
        )
