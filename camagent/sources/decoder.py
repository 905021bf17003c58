"""One decoder: which of FFmpeg's it is; packets in, frames out with the packets they came from; errors counted."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from camagent.clock import Clock
from camagent.errors import ConfigError, printable
from camagent.sources.errors import DecoderUnusable
from camagent.sources.status import Tally
from camagent.sources.surfaces import PIXELS, fetched, is_surface
from camagent.sources.timing import Arrival, Transit

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

SOFTWARE = frozenset({"auto", "software"})
# Tried for "auto", in this order, where this FFmpeg was built with them (the wheels from the index are not: there
# "auto" is software). V4L2's are left out: they open on machines whose driver then gives no picture.
HARDWARE_SUFFIXES = ("rkmpp",)
# Looked for before such a decoder is opened: without its device, FFmpeg 8.1's V4L2 one crashes the process (tried).
DEVICES = {"v4l2m2m": "video*", "rkmpp": "mpp_service"}
_UNSEEN = 64  # packets before the first picture that are kept


def ffmpeg_versions() -> dict[str, str]:
    """Of the FFmpeg that decodes here: its release, and each library's own number."""
    libraries = {name: ".".join(map(str, numbers)) for name, numbers in av.library_versions.items()}
    return {"release": av.ffmpeg_version_info, **libraries}


def check_name(camera: str, wanted: str) -> None:
    """Refuses a decoder that this FFmpeg does not have, while the configuration is being read.

    Raises:
        ConfigError: with the nearest names there are.
    """
    if wanted in SOFTWARE or _is_video_decoder(wanted):
        return
    known = sorted(name for name in av.codecs_available if _is_video_decoder(name))
    near = get_close_matches(wanted, [*SOFTWARE, *known], n=3, cutoff=0.5)
    raise ConfigError(
        f"camera {camera!r}: this FFmpeg has no video decoder {wanted!r}",
        fix=f"use {' or '.join(near)}" if near else "use auto, software or a name that `ffmpeg -decoders` shows",
        evidence={"decoder": wanted, "ffmpeg": av.ffmpeg_version_info},
    )


def candidates(codec: str, wanted: str, available: frozenset[str]) -> list[str]:
    """Names of decoders to try for a stream of `codec`, "" standing for FFmpeg's own software decoder."""
    if wanted == "auto":
        return [*(name for suffix in HARDWARE_SUFFIXES if (name := f"{codec}_{suffix}") in available), ""]
    return [""] if wanted == "software" else [wanted]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame as it left the decoder."""

    picture: av.VideoFrame
    pts: float | None  # seconds
    arrival: Arrival  # of its packet
    ms: float  # of the decoder call that brought it out


class Decoder:
    """Decodes one stream of one session.

    One thread, no frame threading. Measured on two cores: slice threads gain nothing, because a camera sends one slice
    per picture; frame threads give 15 % more pictures a second for 35 % more CPU and 7 MiB per thread at 1080p, and hold
    every picture back by a frame interval per thread. A live picture is wanted early and cheaply, not often.
    """

    def __init__(self, stream: VideoStream, wanted: str, tally: Tally, clock: Clock) -> None:
        if stream.codec_context is None:
            raise DecoderUnusable(
                "the stream's codec has no decoder in this FFmpeg",
                fix="let the camera send H.264, H.265 or MJPEG",
            )
        self._tally, self._clock = tally, clock
        self._tick_s = float(stream.time_base) if stream.time_base else None
        codec = stream.codec_context.codec.canonical_name
        self._context, self.hardware = _open_first(stream, codec, wanted)
        self._stream = stream
        self._surfaces: bool | None = None if self.hardware else False  # known with the first picture
        self._unseen: list[av.Packet[VideoStream]] = []  # sent until then, for the software decoder if it must take over
        self._transit = Transit()
        tally.codec, tally.decoder, tally.decoder_note = codec, self._context.name, ""

    @property
    def intra_only(self) -> bool:
        """True where every picture stands alone (MJPEG)."""
        return self._context.codec.intra_only

    def seconds(self, pts: int | None) -> float | None:
        """A time stamp of the stream in seconds."""
        return None if pts is None or self._tick_s is None else pts * self._tick_s

    def ticks(self, seconds: float) -> int:
        """Seconds as a time stamp of the stream."""
        return round(seconds / self._tick_s) if self._tick_s else 0

    def decode(self, packet: av.Packet[VideoStream], arrival: Arrival) -> list[Decoded]:
        """Frames that this packet brings out, in the order they are shown. What the decoder refuses is counted."""
        pts = self.seconds(packet.pts)
        self._tally.decoder_errors += self._transit.enter(pts, arrival)
        began = self._clock.monotonic()
        try:
            frames = self._readable(self._context.decode(packet), packet)
        except av.FFmpegError as exc:
            self._failed(exc)
            self._transit.forget(pts)
            return []
        return self._out(frames, began)

    def drain(self) -> list[Decoded]:
        """The frames still inside; afterwards the decoder starts afresh, at a key frame."""
        began = self._clock.monotonic()
        try:
            frames = self._readable(self._context.decode(None), None)
        except av.FFmpegError as exc:
            self._failed(exc)
            frames = []
        self._context.flush_buffers()
        self._unseen.clear()
        out = self._out(frames, began)
        self._tally.decoder_errors += self._transit.clear()
        return out

    def _readable(self, frames: list[av.VideoFrame], packet: av.Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """Pictures in memory that can be read. The first one decides how; `packet`: what was sent last.

        Raises:
            av.FFmpegError: the packets before the first picture do not decode in software either.
        """
        if self._surfaces is None:
            if packet is not None and len(self._unseen) < _UNSEEN:
                self._unseen.append(packet)
            if not frames:
                return []
            self._surfaces = is_surface(frames[0])
            if self._surfaces and (why := _unfetchable(frames[0])):
                return self._in_software(frames[0].format.name, why, ended=packet is None)
            self._unseen.clear()
            self._tally.decoder_note = f"fetched from {frames[0].format.name}" if self._surfaces else ""
        if frames:
            self._tally.pixels = PIXELS if self._surfaces else frames[0].format.name
        return [made for made in map(self._fetch, frames) if made is not None] if self._surfaces else frames

    def _fetch(self, surface: av.VideoFrame) -> av.VideoFrame | None:
        try:
            return fetched(surface)
        except (av.FFmpegError, ValueError) as exc:  # this one only: the first could be. Its packet is counted by `_transit`
            self._tally.decoder_error = printable(exc)
            return None

    def _in_software(self, surface: str, why: str, *, ended: bool) -> list[av.VideoFrame]:
        """FFmpeg's own decoder takes over, from the packets that the first picture was made of."""
        name, packets = self._context.name, [*self._unseen]
        self._tally.decoder_note = f"{name} gives {surface}, which cannot be read here ({why}): software decodes"
        self._context = _open(self._stream.codec_context, "")
        self._tally.decoder = self._context.name
        self._surfaces, self.hardware = False, False
        self._unseen.clear()
        frames = [frame for packet in packets for frame in self._context.decode(packet)]
        frames += self._context.decode(None) if ended else []
        return self._readable(frames, None)

    def _out(self, frames: list[av.VideoFrame], began: float) -> list[Decoded]:
        """Pairs frames with the packets they came from; packets that were overtaken will never give one."""
        now = self._clock.monotonic()
        self._tally.decoded += len(frames)
        out: list[Decoded] = []
        for picture in frames:
            pts = self.seconds(picture.pts)
            arrival, lost = self._transit.leave(pts)
            self._tally.decoder_errors += lost
            out.append(Decoded(picture, pts, arrival or Arrival(now), (now - began) * 1000.0))
        return out

    def _failed(self, exc: av.FFmpegError) -> None:
        self._tally.decoder_errors += 1
        self._tally.decoder_error = printable(exc.strerror or type(exc).__name__)


def _open_first(stream: VideoStream, codec: str, wanted: str) -> tuple[VideoCodecContext, bool]:
    """The first candidate that opens, and whether it is another than FFmpeg's own."""
    names = candidates(codec, wanted, frozenset(av.codecs_available))
    for name in names:
        context = stream.codec_context if not name else _named(stream, codec, name)
        try:
            _open(context, name)
        except (av.FFmpegError, FileNotFoundError) as exc:
            if name == names[-1]:
                raise DecoderUnusable(
                    f"decoder {context.name!r} does not open here",
                    fix="set decoder to auto, or make the hardware it needs available to the agent's user",
                    evidence={"cause": exc.strerror or str(exc), "codec": codec},
                ) from exc
            continue  # "auto": the hardware is not there, the next one is tried
        return context, bool(name)
    raise AssertionError("candidates() gives at least one name")


def _open(context: VideoCodecContext, name: str) -> VideoCodecContext:
    """Raises av.FFmpegError, or FileNotFoundError where the decoder `name` has no device here."""
    context.thread_count = 1
    context.thread_type = "NONE"
    _require_device(name)
    context.open(strict=False)
    return context


def _unfetchable(picture: av.VideoFrame) -> str:
    """Why a surface cannot be copied to plain memory, "" where it can."""
    try:
        fetched(picture)
    except (av.FFmpegError, ValueError) as exc:
        return printable(exc)
    return ""


def _require_device(name: str) -> None:
    device = DEVICES.get(name.rpartition("_")[2])
    if device is not None and not any(Path("/dev").glob(device)):
        raise FileNotFoundError(f"there is no /dev/{device}")


def _named(stream: VideoStream, codec: str, name: str) -> VideoCodecContext:
    """A context of a decoder chosen by name, told what the stream's own context knows."""
    chosen = av.Codec(name, "r")
    if chosen.id != stream.codec_context.codec.id:
        raise DecoderUnusable(
            f"decoder {name!r} decodes {chosen.canonical_name}, the stream is {codec}",
            fix="set decoder to auto, or to one that fits the stream",
            evidence={"decoder": name, "codec": codec},
        )
    context = cast("VideoCodecContext", av.CodecContext.create(chosen, "r"))
    context.extradata = stream.codec_context.extradata
    context.width, context.height = stream.codec_context.width, stream.codec_context.height
    return context


def _is_video_decoder(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "video"
    except ValueError:  # UnknownCodecError: the answer is no
        return False
