"""One opened container: its packets in, finished frames out. RTSP sessions, video files and pictures all end here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import av

from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import printable
from camagent.frame import Frame
from camagent.slot import Slot
from camagent.sources.decoder import Decoded, Decoder
from camagent.sources.errors import NoFrames
from camagent.sources.masks import Masker
from camagent.sources.pacing import WAITED_S, Gathered, KeyPlan, Overload, Pacer
from camagent.sources.status import Tally
from camagent.sources.tap import Tap
from camagent.sources.timing import Arrival, FrameClock, taken_from_prft
from camagent.sources.units import Joiner

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    Packet = av.Packet[VideoStream]

KEY_WAIT_S = 60.0  # a camera with a "smart" codec sends a key frame this seldom; before the first one nothing can be decoded
GOP_PACKETS = 512  # passed over and kept; a longer GOP waits for its end


class Session:
    """Decodes one container until it ends.

    Live, `run` decodes what the pace asks for and leaves due frames in a slot; offline, `every` gives every frame.
    `opened_in_s` is how long opening took: what the network piled up meanwhile is decoded (later frames refer to it)
    and never handed over. None where nothing piles up (files).
    """

    def __init__(
        self,
        container: InputContainer,
        camera: Camera,
        clock: Clock,
        tally: Tally,
        *,
        masker: Masker,
        pacer: Pacer,
        opened_in_s: float | None = None,
        tap: Callable[[], Tap | None] = lambda: None,
    ) -> None:
        self._tap = tap  # asked for every picture: who watches comes and goes
        self._stream = _video_stream(container)
        self._decoder = Decoder(self._stream, camera.decoder, tally, clock)
        self.seconds, self.ticks = self._decoder.seconds, self._decoder.ticks
        self._clock, self._tally, self._masker, self._pacer = clock, tally, masker, pacer
        self._plan = KeyPlan(camera.fps)
        self._gathered = None if opened_in_s is None else Gathered(opened_in_s)
        self._times = FrameClock(clock)
        self._container = container
        self._stall_s = camera.stall_timeout
        self._overload = None if opened_in_s is None else Overload()
        self._keyed = self._keys_only = self._catching_up = False
        self._gop: list[Packet] = []  # since the last key frame, while only key frames are decoded
        self._opened = self._progress = self._read_began = clock.monotonic()
        self.first_good: float | None = None  # monotonic seconds
        tally.key_frames_only = False

    def packets(self) -> Iterator[Packet]:
        """The stream's packets, one per picture; the last one is empty and empties the decoder."""
        packets = self._container.demux(self._stream)
        return packets if self._gathered is None else Joiner(self._tally.codec).joined(packets)

    @property
    def rate(self) -> float | None:
        """Frames per second as the container declares them."""
        return float(self._stream.average_rate) if self._stream.average_rate else None

    def run(self, packets: Iterable[Packet], slot: Slot[Frame], stop: threading.Event) -> None:
        """Decodes at the camera's pace and leaves due frames in the slot, until the packets end or `stop` is set.

        Raises:
            NoFrames: packets come, and for `stall_timeout` no frame came out of them.
            av.FFmpegError: the connection broke; the caller knows what that means.
        """
        self._read_began = self._clock.monotonic()
        for packet in packets:
            if stop.is_set():
                return
            for decoded, due in self._decode_live(packet, self._arrival(packet)):
                if stop.is_set():
                    return  # a decoder that hung until another reader took over
                self._hand_over(decoded, slot, due=due)
            self._check_progress()
            self._read_began = self._clock.monotonic()

    def every(self, packets: Iterable[Packet]) -> Iterator[Frame]:
        """Every frame that is not damaged, as fast as it is asked for."""
        self._overload = None  # who asks slowly gets every frame all the same
        for packet in packets:
            for decoded in self._decode(packet, self._arrival(packet)):
                if self._is_good(decoded):
                    yield self._frame(decoded)

    def _arrival(self, packet: Packet) -> Arrival:
        """Dates a packet and takes note of it."""
        now = self._clock.monotonic()
        pts, waited_s = self.seconds(packet.pts), now - self._read_began
        live = self._gathered is None or self._gathered.live(pts, waited_s, now - self._opened)
        taken = taken_from_prft(bytes(packet.get_sidedata("prft"))) if packet.has_sidedata("prft") else None
        arrival = Arrival(now, taken, live)
        if packet.size:
            self._tally.packets += 1
            self._times.saw(pts, arrival)
            if packet.is_keyframe:
                self._plan.key(pts)
                self._tally.key_interval = self._plan.interval_s
            self._watch_load(pts, arrival, waited_s)
        return arrival

    def _watch_load(self, pts: float | None, arrival: Arrival, waited_s: float) -> None:
        """Gives up what lies between here and the live edge when the decoder cannot keep up with the stream."""
        if self._overload is None:
            return
        if self._overload.noticed(arrival.at, waited_s, self._times.behind(pts, arrival)):
            self._tally.overloads += 1
            self._catching_up, self._keyed = True, False
            self._decoder.drain()
        elif waited_s >= WAITED_S:
            self._catching_up = False  # nothing lies ready any more: the next key frame is a new beginning

    def _decode_live(self, packet: Packet, arrival: Arrival) -> list[tuple[Decoded, bool]]:
        """Frames, and whether each is due. Passes over a packet where key frames are enough and it is none that is due."""
        if packet.size and packet.is_keyframe:
            self._gop = []
            # a decoder with hardware behind it is not drained and restarted at every key frame: it costs next to nothing
            only = self._plan.enough and not self._decoder.hardware
            self._tally.key_frames_only = self._keys_only = only
        if not self._keys_only or not packet.size:
            return [(decoded, self._is_due(decoded)) for decoded in self._decode(packet, arrival)]
        pts = self.seconds(packet.pts)
        if not packet.is_keyframe:
            self._passed_over(packet, pts, arrival)
            return []
        self._gop = [packet]
        if not self._pacer.due(pts, arrival.at, self._plan.interval_s):
            self._progress = arrival.at
            return []
        frames = self._decode(packet, arrival)
        if not self._decoder.intra_only:
            # a stream that may reorder holds the picture back until the next packet; that is a whole GOP away
            frames += self._decoder.drain()
        return [(decoded, decoded is frames[-1]) for decoded in frames]

    def _passed_over(self, packet: Packet, pts: float | None, arrival: Arrival) -> None:
        """Keeps a packet that was not decoded until the next key frame comes; when that is overdue, catches up with them.

        Cameras stretch their GOPs when little moves: without this, the first long one would be a gap of its length.
        """
        if len(self._gop) >= GOP_PACKETS:
            return
        self._gop.append(packet)
        if self._plan.overdue(pts):
            gop, self._gop = self._gop, []
            self._tally.key_frames_only = self._keys_only = False
            for earlier in gop:
                self._decoder.decode(earlier, arrival)  # only for what refers to it: its moment has passed

    def _is_due(self, decoded: Decoded) -> bool:
        good = decoded.arrival.live and not decoded.picture.is_corrupt
        return good and self._pacer.due(decoded.pts, decoded.arrival.at)

    def _decode(self, packet: Packet, arrival: Arrival) -> list[Decoded]:
        """Sends a packet through the decoder. Nothing is sent before the first key frame: it would only give errors."""
        if not packet.size:
            return self._decoder.drain()
        self._keyed = self._keyed or (packet.is_keyframe and not self._catching_up)
        frames = self._decoder.decode(packet, arrival) if self._keyed else []
        if frames:
            self._progress = self._clock.monotonic()
        return frames

    def _hand_over(self, decoded: Decoded, slot: Slot[Frame], *, due: bool) -> None:
        if not decoded.arrival.live or not self._is_good(decoded):
            return
        tap = self._tap()
        wanted = tap is not None and tap.saw(decoded.picture, decoded.pts, decoded.arrival.at)
        if not (due or wanted or slot.waiting):
            return
        frame = self._frame(decoded)
        if due:
            slot.put(frame)
        elif slot.waiting:
            # the worker is late: what waits for it is replaced by something newer
            slot.refresh(frame)
        if tap is not None and wanted:
            tap.keep(frame)

    def _is_good(self, decoded: Decoded) -> bool:
        """Counts a frame; False for a damaged one."""
        is_key = decoded.picture.key_frame
        self._tally.key_frames += is_key
        if decoded.picture.is_corrupt:
            self._tally.corrupt += 1
            self._tally.damaged_keys += is_key
            return False
        if self.first_good is None:
            self.first_good = decoded.arrival.at
        tally, picture = self._tally, decoded.picture
        tally.width, tally.height, tally.last_frame = picture.width, picture.height, decoded.arrival.at
        tally.running()
        return True

    def _frame(self, decoded: Decoded) -> Frame:
        """The finished frame.

        Raises:
            NoFrames: the privacy masks cannot be filled, so nobody may see the picture.
        """
        stamp = self._times.stamp(decoded.pts, decoded.arrival)
        self._tally.time_source = stamp.source
        try:
            picture = self._masker.fill(decoded.picture)
        except (av.FFmpegError, ValueError, BufferError) as exc:
            raise NoFrames(
                f"the privacy masks cannot be filled in a picture of format {decoded.picture.format.name}",
                fix="set decoder to software; report the format",
                evidence={"cause": printable(exc)},
            ) from exc
        return Frame(picture, decoded.pts, stamp.frame_time, stamp.source, decoded.arrival.at, decoded.ms)

    def _check_progress(self) -> None:
        patience = self._stall_s if self._keyed else max(self._stall_s, KEY_WAIT_S)
        silent = self._clock.monotonic() - self._progress
        if silent > patience:
            what = "none could be decoded" if self._keyed else "no key frame was among them"
            raise NoFrames(
                f"packets came for {silent:.0f} s and {what}",
                fix="restart the camera's stream; set a key-frame interval of a few seconds",
                evidence={
                    "packets": self._tally.packets,
                    "decoder errors": self._tally.decoder_errors,
                    "last": self._tally.decoder_error or "no error",
                },
            )


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise NoFrames(
            "there is no video in it",
            fix="check the address's path or the file",
            evidence={"streams": ", ".join(stream.type for stream in container.streams) or "none"},
        )
    return container.streams.video[0]
