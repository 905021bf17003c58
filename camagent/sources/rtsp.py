"""An RTSP camera: a short retry loop around one session."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import av
import av.error

from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import ConfigError, SourceError
from camagent.frame import Frame
from camagent.pulse import Pulse
from camagent.slot import Slot
from camagent.sources import ffmpeg, guard, rtsp_errors
from camagent.sources.backoff import PROBE_EVERY_S, After, Backoff, Wait
from camagent.sources.decoder import check_name
from camagent.sources.errors import StreamClientLimit, StreamDown, StreamRefused
from camagent.sources.guard import Guard
from camagent.sources.masks import Masker
from camagent.sources.pacing import Pacer
from camagent.sources.session import Session
from camagent.sources.status import SourceStatus, Tally
from camagent.sources.tap import Tap
from camagent.sources.urls import Address, address_of

if TYPE_CHECKING:
    from av.container import InputContainer

    from camagent.sources.session import Packet

OPEN_TIMEOUT_S = 10.0  # for the handshake, and again for the first media
FIRST_PACKET_S = 1.0  # where the time for opening has passed without media, it is not worth waiting another stall_timeout
FIRST_PROBE_S = 0.1  # a server that is being restarted is away now; a second later it may be back
PROBE_TIMEOUT_S = 1.0
WAIT_TURN_S = 5.0  # a wait is cut into turns of this length, so that one that is over is told from one that hangs
RESOLVE_S = 60.0  # name servers that do not answer: five seconds, twice, for each of them and each search domain
TURN_MARGIN_S = 15.0  # what a turn may take beside the waiting it is meant for: one decoder call, the session's end
# a handshake and the first media, and the same again where the connection could not be told from others
OPENING_S = RESOLVE_S + 4 * OPEN_TIMEOUT_S + TURN_MARGIN_S
_TRANSPORTS = {
    "tcp": {"rtsp_transport": "tcp"},
    "udp": {"rtsp_transport": "udp"},
    "auto": {"rtsp_transport": "udp+tcp", "rtsp_flags": "prefer_tcp"},  # a server that refuses TCP (461) is asked for UDP
}
_OPTIONS = {
    # The codec's parameters stand in the SDP; a third of a second of media is enough to confirm them (opening takes
    # 0.4 s instead of 1.2-5.5 s). Not fflags=nobuffer: it throws away the key frame that was gathered meanwhile.
    "analyzeduration": "300000",
    "probesize": "200000",
    "allowed_media_types": "video",  # audio would only cost, and its clock would shift the video's time line
    "max_delay": "100000",  # microseconds to wait for a late UDP packet; FFmpeg's 0.5 s halts the picture at every loss
    "buffer_size": "1048576",  # of the UDP sockets: a key frame comes in one burst
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",  # no answer of a camera may open a file or a web page
}
_AFTER: tuple[tuple[type[SourceError], After], ...] = (
    (StreamDown, After.DOWN),
    (StreamRefused, After.REFUSED),
    (StreamClientLimit, After.REFUSED),
    (SourceError, After.LOST),
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open RTSP session."""

    container: InputContainer
    address: Address
    watch: Guard
    took_s: float


class RtspSource:
    """One camera's stream. `run` and `frames` belong to one thread; `status` may be called from any."""

    def __init__(self, camera: Camera, *, clock: Clock, rng: Random, open_timeout_s: float = OPEN_TIMEOUT_S) -> None:
        check_name(camera.name, camera.decoder)
        address = address_of(camera)  # says at once what is wrong with it
        self._server = (address.host, address.port)
        self._camera, self._clock, self._rng, self._open_timeout_s = camera, clock, rng, open_timeout_s
        self._tally, self._masker = Tally(), Masker(camera.mask)
        self.tap: Tap | None = None
        self._pulse = Pulse()
        self._good_s = 0.0  # how long the newest session gave pictures

    def status(self) -> SourceStatus:
        """The source at this moment."""
        return self._tally.snapshot()

    def run(self, stop: threading.Event, slot: Slot[Frame], pulse: Pulse | None = None) -> None:
        """Keeps the slot supplied with due frames, over any number of sessions, until `stop` is set."""
        self._pulse = pulse or self._pulse
        backoff = Backoff(self._rng)
        while not stop.is_set():
            try:
                self._run_once(stop, slot)
            except SourceError as exc:
                wait_s = backoff.next_wait(self._good_s)
                self._tally.waiting(exc, wait_s)
                _log.warning("camera %s: %s; next try in %.1f s", self._camera.name, exc.what, wait_s)
                self._wait(stop, wait_s, Wait(next(after for kind, after in _AFTER if isinstance(exc, kind))))
        self._tally.ended()

    def frames(self) -> Iterator[Frame]:
        """Every frame of one session, from its first key frame on, without pacing or reconnecting.

        Raises:
            SourceError: the session did not come about, or broke.
        """
        self._tally.connecting()
        stop = threading.Event()
        with self._opened(stop) as opened:
            assert opened is not None  # only a stop makes it None, and nobody can set this one
            session = self._new_session(opened)
            yield from session.every(self._packets(session, opened, stop))
        self._tally.ended()

    def _run_once(self, stop: threading.Event, slot: Slot[Frame]) -> None:
        """One session from connecting to its end; returns only when `stop` is set.

        Raises:
            SourceError: why there was none, or why it is over.
        """
        self._tally.connecting()
        self._good_s = 0.0
        with self._opened(stop) as opened:
            if opened is None:
                return
            session = self._new_session(opened)
            try:
                session.run(self._packets(session, opened, stop), slot, stop)
            finally:
                if session.first_good is not None:
                    self._good_s = self._clock.monotonic() - session.first_good
            if not stop.is_set():
                raise rtsp_errors.ended(None, opened.address)

    def _new_session(self, opened: _Opened) -> Session:
        self._tally.sessions += 1
        _log.info("camera %s: %s opened in %.2f s", self._camera.name, opened.address.shown, opened.took_s)
        return Session(
            opened.container,
            self._camera,
            self._clock,
            self._tally,
            masker=self._masker,
            pacer=Pacer(self._camera.fps),
            opened_in_s=opened.took_s,
            tap=lambda: self.tap,
        )

    def _packets(self, session: Session, opened: _Opened, stop: threading.Event) -> Iterator[Packet]:
        """The session's packets until it ends in an orderly way or `stop` is set.

        Raises:
            SourceError: it broke, or nothing came for `stall_timeout`.
        """
        packets = session.packets()
        failure: av.FFmpegError | None = None
        while True:
            self._pulse.beat(self._camera.stall_timeout + TURN_MARGIN_S, "reading and decoding the stream")
            try:
                packet = next(packets, None)
            except av.FFmpegError as exc:
                failure = ffmpeg.without_secrets(exc, opened.address.shown)
                break
            if packet is None:
                break
            if packet.size:  # the empty one at the end is FFmpeg's own
                opened.watch.fed()
            yield packet
        if stop.is_set() or (failure is None and not opened.watch.stalled):
            return
        # outside the except block: the original's context names the address with its password
        if opened.watch.stalled or isinstance(failure, av.error.ExitError):
            limit_s = self._camera.stall_timeout
            raise rtsp_errors.silent_session(opened.address, packets=opened.watch.packets, limit_s=limit_s) from failure
        raise rtsp_errors.ended(failure, opened.address) from failure

    @contextmanager
    def _opened(self, stop: threading.Event) -> Iterator[_Opened | None]:
        """An open session with its guard, closed at the end; None when `stop` was set while others were opening theirs."""
        address = self._address()

        def stopped() -> bool:
            self._pulse.beat(OPENING_S, "opening the stream")
            return stop.is_set()

        began = self._clock.monotonic()
        with guard.turn(address.host, address.port, stopped, OPENING_S) as mine:
            self._pulse.beat(OPENING_S, "opening the stream")
            if not mine:
                yield None
                return
            container, line = self._connect(address)
        took_s = self._clock.monotonic() - began
        try:
            limit_s = self._camera.stall_timeout
            first_s = limit_s if took_s < self._open_timeout_s else min(FIRST_PACKET_S, limit_s)
            name = f"{self._camera.name}-guard"
            with Guard(line, stop, self._clock, limit_s=limit_s, first_s=first_s, name=name) as watch:
                yield _Opened(container, address, watch, took_s)
        finally:
            self._pulse.beat(OPENING_S, "closing the stream")
            container.close()  # not left to the garbage collector: the camera counts its clients

    def _address(self) -> Address:
        try:
            return address_of(self._camera)
        except ConfigError as exc:  # it was in order when the agent started: a credentials file is being replaced
            raise StreamRefused(exc.what, fix=exc.fix, evidence=exc.evidence) from exc

    def _connect(self, address: Address) -> tuple[InputContainer, guard.Line | None]:
        """Opens the stream, and finds the connection by which a blocked read can be ended from outside."""
        if guard.available():
            before = guard.open_sockets()
            container = self._open(address, None)
            line = guard.connection_since(before, address.host, address.port)
            if line is not None:
                return container, line
            container.close()
        return self._open(address, self._camera.stall_timeout), None

    def _open(self, address: Address, read_timeout_s: float | None) -> InputContainer:
        failure: av.FFmpegError | None = None
        began = self._clock.monotonic()
        with ffmpeg.overheard() as heard:
            try:
                return av.open(
                    address.url,
                    mode="r",
                    format="rtsp",
                    options={**_OPTIONS, **_TRANSPORTS[self._camera.transport]},
                    timeout=(self._open_timeout_s, read_timeout_s),
                )
            except av.FFmpegError as exc:
                failure = ffmpeg.without_secrets(exc, address.shown)
        # outside the except block: the original's context names the address with its password
        took_s = self._clock.monotonic() - began
        raise rtsp_errors.refused(failure, heard, address, self._open_timeout_s, took_s) from failure

    def _wait(self, stop: threading.Event, wait_s: float, wait: Wait) -> None:
        """Waits out the back-off, unless `stop` is set or a server that was away accepts connections again."""
        until = self._clock.monotonic() + wait_s
        pause_s = FIRST_PROBE_S if wait.probes else wait_s
        while (left_s := until - self._clock.monotonic()) > 0:
            self._pulse.beat(RESOLVE_S + TURN_MARGIN_S, "waiting for the next try")
            if stop.wait(min(left_s, pause_s, WAIT_TURN_S)):
                return
            if wait.probes and wait.probed(accepted=rtsp_errors.accepts(*self._server, PROBE_TIMEOUT_S)):
                return
            pause_s = PROBE_EVERY_S
