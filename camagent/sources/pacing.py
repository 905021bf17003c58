"""Which frames are worth decoding and which are handed over. Pure: times in, answers out; all times in seconds."""

from __future__ import annotations

from collections import deque

GOPS = 4  # intervals between key frames over which their rate is measured
RATE_TOLERANCE = 1.02  # a camera's "one key frame a second" is 0.99 or 1.01
OVERDUE = 1.5  # intervals of `fps`
SMOOTHING = 0.2  # weight of the newest interval in the source's frame interval
STARVED_S = 1.0  # on top of two intervals: a time line that stands still is paced by arrival
WAITED_S = 0.005  # a read that took this long waited for the network: nothing was lying ready any more
OVERLOAD_S = 5.0  # over such a stretch a decoder that keeps up waits for packets more than ..
OVERLOAD_WAITED = 0.02  # .. this share of the time, or is not
OVERLOAD_BEHIND_S = 1.0  # .. this late
GATHERED_SLACK_S = 0.2
GATHERED_LIMIT_S = 1.0


class Pacer:
    """Picks frames at `fps` by their own time stamps, in the order they are shown.

    A frame is due from half a source interval before its moment, so that the nearest frame is taken; moments keep to
    a fixed grid, so that 12.5 frames a second become exactly 10. After a gap the grid starts anew: no catching up.
    """

    def __init__(self, fps: float) -> None:
        self._interval = 1.0 / fps
        self._next: float | None = None
        self._last: float | None = None
        self._step: float | None = None
        self._due_at: float | None = None  # monotonic

    def due(self, pts: float | None, arrived: float, step_s: float | None = None) -> bool:
        """True when the frame shown at `pts` (on the stream's line) that came at `arrived` (monotonic) is wanted.

        `step_s` is the interval of the frames that are asked about, where the caller knows it.
        """
        starved = self._due_at is None or arrived - self._due_at > 2 * self._interval + STARVED_S
        if pts is not None:
            due = self._on_grid(pts, step_s, starved=starved)
        else:
            due = self._due_at is None or arrived - self._due_at >= self._interval
        if due:
            self._due_at = arrived
        return due

    def _on_grid(self, pts: float, step_s: float | None, *, starved: bool) -> bool:
        step = None if self._last is None else pts - self._last
        self._last = pts
        if self._next is None or step is None or step < 0 or starved:
            self._next = pts + self._interval
            return True
        if step > 0:
            self._step = step if self._step is None else self._step + SMOOTHING * (step - self._step)
        if pts < self._next - min(step_s or self._step or 0.0, self._interval) / 2:
            return False
        late = pts - self._next
        self._next = self._next + self._interval if late < self._interval else pts + self._interval
        return True


class KeyPlan:
    """Measures how often key frames come, and says when they alone are enough for `fps`."""

    def __init__(self, fps: float) -> None:
        self._interval = 1.0 / fps
        self._keys: deque[float] = deque(maxlen=GOPS + 1)

    def key(self, at: float | None) -> None:
        """A key frame begins at `at` on the stream's line; a line that runs backwards starts the measurement anew."""
        if at is None:
            return
        if self._keys and at <= self._keys[-1]:
            self._keys.clear()
        self._keys.append(at)

    def overdue(self, at: float | None) -> bool:
        """True when, at this moment of the stream's line, the next key frame should have come for `fps` to be kept."""
        return at is not None and bool(self._keys) and at - self._keys[-1] > self._interval * OVERDUE

    @property
    def interval_s(self) -> float | None:
        """Mean seconds from key frame to key frame over the last GOPs, None before the second one."""
        if len(self._keys) < 2:
            return None
        return (self._keys[-1] - self._keys[0]) / (len(self._keys) - 1)

    @property
    def enough(self) -> bool:
        """True when `fps` is at most the measured key-frame rate."""
        interval = self.interval_s
        return interval is not None and len(self._keys) > GOPS and interval <= self._interval * RATE_TOLERANCE


class Gathered:
    """Tells the packets that piled up while a session was being opened from those that come live.

    The first read that has to wait ends the pile. Where decoding is too slow for reads ever to wait, the pile ends
    with the stretch of time that opening took, and in any case after a second.
    """

    def __init__(self, opened_in_s: float) -> None:
        self._span = opened_in_s + GATHERED_SLACK_S
        self._first: float | None = None
        self._over = False

    def live(self, pts: float | None, waited_s: float, since_open_s: float) -> bool:
        """True when the packet (and every later one) came live; `waited_s` is how long its read took."""
        if self._over:
            return True
        if self._first is None:
            self._first = pts
        spanned = pts is not None and self._first is not None and abs(pts - self._first) > self._span
        self._over = waited_s >= WAITED_S or spanned or since_open_s > GATHERED_LIMIT_S
        return self._over


class Overload:
    """Notices a decoder that the stream is too much for: reads never wait, and packets are read ever later.

    Without it the lag would grow in the network's buffers until the camera hangs up, and every picture be old.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._waited_s = 0.0

    def noticed(self, now: float, waited_s: float, behind_s: float) -> bool:
        """Takes in one packet: when it was read, how long the read waited, how much later than usual it came."""
        self._waited_s += waited_s
        if self._since is None:
            self._since = now
        stretch = now - self._since
        if stretch < OVERLOAD_S:
            return False
        share, self._since, self._waited_s = self._waited_s / stretch, now, 0.0
        return share < OVERLOAD_WAITED and behind_s > OVERLOAD_BEHIND_S
