"""When a picture was taken: the camera's own clock where it can be believed, else a de-jittered arrival.

Pure: packets and frames are told to it, and nothing here reads a stream. Two clocks run through it. The camera's time
line (`pts`) is tied to the camera's wall clock by RTCP (FFmpeg hands that over as `prft`) and to this machine's
monotonic clock by the arrival of packets. The wall clock of this machine is read anew for every frame, because somebody
may set it at any moment; every window and difference lives on the monotonic clock.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from camagent.clock import Clock
from camagent.frame import TimeSource

BELIEVED_PAST_S = 10.0  # an older claim is a camera whose clock was never set
BELIEVED_FUTURE_S = 1.0  # room for B-frames, whose packets may leave before the moment they are shown
WINDOW_S = 60.0  # the smallest delay of the last minute is the one without queueing
JUMP_S = 1.0  # the time line moved this much more (or less) than time did: it was set anew
AGREE_S = 0.01  # FFmpeg hangs the first report's time on the packet before the one it belongs to: two must agree
IN_TRANSIT = 64  # packets that may lie in a decoder; more are lost ones
_PRFT = struct.Struct("<qi")  # AVProducerReferenceTime: microseconds since 1970, flags


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a packet when it comes in."""

    at: float  # monotonic seconds
    taken: float | None = None  # the camera's wall clock, seconds since 1970
    live: bool = True  # False: gathered while the session was being opened


@dataclass(frozen=True, slots=True)
class Stamp:
    """A frame's time."""

    frame_time: float  # seconds since 1970
    source: TimeSource


def taken_from_prft(data: bytes) -> float | None:
    """Seconds since 1970 from a packet's `prft` side data, None where it is too short to be one."""
    return None if len(data) < _PRFT.size else float(_PRFT.unpack_from(data)[0]) / 1e6


class Transit:
    """Packets inside the decoder, by their time stamp: B-frames come out in another order than they went in."""

    def __init__(self) -> None:
        self._inside: dict[float, Arrival] = {}
        self._last: Arrival | None = None

    def enter(self, pts: float | None, arrival: Arrival) -> int:
        """Remembers a packet that goes into the decoder; returns how many it had to give up (lost in there)."""
        self._last = arrival
        if pts is None:
            return 0
        self._inside[pts] = arrival
        if len(self._inside) <= IN_TRANSIT:
            return 0
        del self._inside[next(iter(self._inside))]
        return 1

    def forget(self, pts: float | None) -> None:
        """The packet was refused by the decoder and will give no frame."""
        if pts is not None:
            self._inside.pop(pts, None)

    def clear(self) -> int:
        """The decoder was emptied; returns how many packets never came out as a frame."""
        lost = len(self._inside)
        self._inside.clear()
        return lost

    def leave(self, pts: float | None) -> tuple[Arrival | None, int]:
        """A frame came out: its packet's arrival, and how many earlier packets can no longer give one."""
        if pts is None:
            return self._last, 0
        arrival = self._inside.pop(pts, self._last)
        lost = [earlier for earlier in self._inside if earlier < pts]
        for earlier in lost:
            del self._inside[earlier]
        return arrival, len(lost)


class SmallestDelay:
    """The minimum over the last `WINDOW_S` of (arrival - pts): how late an undisturbed packet is, plus a constant."""

    def __init__(self) -> None:
        self._rising: deque[tuple[float, float]] = deque()  # (arrived, delay), delays rising: the first is the minimum

    def add(self, arrived: float, delay: float) -> None:
        """Takes in one packet; `arrived` never falls."""
        while self._rising and self._rising[-1][1] >= delay:
            self._rising.pop()
        self._rising.append((arrived, delay))
        while self._rising[0][0] < arrived - WINDOW_S:
            self._rising.popleft()

    @property
    def value(self) -> float | None:
        """Seconds, None before the first packet."""
        return self._rising[0][1] if self._rising else None


class FrameClock:
    """Dates the frames of one session."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delay = SmallestDelay()
        self._taken_offset: float | None = None  # camera's wall clock minus pts, as two packets in a row told it
        self._claimed: float | None = None  # the same from the newest packet alone
        self._last: tuple[float, float] | None = None  # (pts, arrived) of the packet before

    def saw(self, pts: float | None, arrival: Arrival) -> None:
        """Takes in a packet, in the order of arrival. Times in seconds."""
        if pts is None:
            return
        if self._last is not None and _jumped(pts - self._last[0], arrival.at - self._last[1]):
            self._delay, self._taken_offset, self._claimed = SmallestDelay(), None, None
        self._last = (pts, arrival.at)
        self._delay.add(arrival.at, arrival.at - pts)
        if arrival.taken is not None:
            before, self._claimed = self._claimed, arrival.taken - pts
            if before is not None and abs(self._claimed - before) <= AGREE_S:
                self._taken_offset = self._claimed

    def behind(self, pts: float | None, arrival: Arrival) -> float:
        """Seconds by which this packet came later than an undisturbed one."""
        smallest = self._delay.value
        return 0.0 if pts is None or smallest is None else arrival.at - pts - smallest

    def stamp(self, pts: float | None, arrival: Arrival) -> Stamp:
        """The time of the frame that this packet became."""
        to_wall = self._clock.wall() - self._clock.monotonic()
        arrived = arrival.at + to_wall
        taken = None if pts is None or self._taken_offset is None else pts + self._taken_offset
        if taken is not None and -BELIEVED_PAST_S <= taken - arrived <= BELIEVED_FUTURE_S:
            return Stamp(taken, "rtcp")
        delay = self._delay.value
        if pts is None or delay is None:
            return Stamp(arrived, "arrival")
        return Stamp(pts + delay + to_wall, "arrival")


def _jumped(pts_step: float, arrival_step: float) -> bool:
    """A network that stalls moves the arrival alone; a time line that was set anew moves the pts alone."""
    return abs(pts_step) > JUMP_S and abs(pts_step - arrival_step) > JUMP_S
