"""A reader that hangs is replaced: what is counted, how often, and that nobody waits for what the hanging one holds."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from camagent.clock import SystemClock
from camagent.config import Camera
from camagent.frame import Frame
from camagent.pulse import Promise
from camagent.reader import READER_STUCK, REPLACEMENTS, Reader, may_replace
from camagent.slot import Slot
from camagent.sources import SourceStatus, guard
from camagent.watchdog import Overdue, Watchdog
from tests.support.broker import wait_for
from tests.test_vigil_agent import become_a_pipe, short_clip


def test_three_may_hang_at_a_time() -> None:
    assert [may_replace(hanging) for hanging in range(5)] == [True, True, True, False, False]


def test_counters_go_on_where_the_source_before_has_left_them() -> None:
    earlier = SourceStatus(packets=10, decoded=9, corrupt=1, reconnects=2, last_frame=5.0, codec="h264")
    now = SourceStatus(state="running", packets=3, decoded=3, codec="hevc")
    found = now.after(earlier)
    assert (found.packets, found.decoded, found.corrupt, found.reconnects) == (13, 12, 1, 2)
    assert (found.state, found.codec, found.last_frame) == ("running", "hevc", None)
    assert now.after(SourceStatus()) is now


def test_readers_that_hang_are_left_behind_until_there_are_too_many(tmp_path: Path) -> None:
    """The calls that hang are real: opening a pipe that nobody writes to. What the watchdog would notice is told here."""
    clip, errors = short_clip(tmp_path), Counter[str]()
    slot: Slot[Frame] = Slot()
    died: list[BaseException] = []
    watchdog = Watchdog(SystemClock(), lambda _: None, lambda: None)
    reader = Reader(
        Camera(name="porch", url=str(clip)), SystemClock(), slot, watchdog, died=lambda _, exc: died.append(exc), errors=errors
    )
    reader.start()
    wait_for(lambda: reader.status().decoded, what="a frame")
    become_a_pipe(clip)
    time.sleep(2.5)  # the clip takes a second, then it is opened again
    before = reader.status().decoded
    late = Overdue("porch-reader", Promise(0.0, 1.0, "reading a file"), 99.0)
    assert [replaced(reader, late) for _ in range(REPLACEMENTS + 1)] == [True] * REPLACEMENTS + [False]
    assert errors[READER_STUCK] == REPLACEMENTS
    assert reader.status().decoded >= before
    reader.stop()
    assert reader._replace(late), "who stops waits for nobody"

    def all_come_back() -> bool:
        """Somebody writes, again and again, for on a busy machine one may only now begin to wait for it."""
        with contextlib.suppress(OSError):  # nobody waits at this moment
            os.close(os.open(clip, os.O_WRONLY | os.O_NONBLOCK))
        return not any(stage.alive for stage in [*reader._left_behind, reader._stage])

    wait_for(all_come_back, 60, "their end")  # and none of them is taken for the camera's end
    assert len(died) <= 1, "the last one may say that the pipe is no video; those left behind are not asked"


def replaced(reader: Reader, late: Overdue) -> bool:
    """What the watchdog asks for; the next reader then hangs in opening the same pipe."""
    answer = reader._replace(late)
    wait_for(lambda: (reader._stage.pulse.promise or late.promise).doing == "opening the source anew", what="the next reader")
    return answer


def test_nobody_waits_for_a_turn_that_somebody_hangs_in() -> None:
    entered, leave, order = threading.Event(), threading.Event(), list[str]()

    def hang() -> None:
        with guard.turn("192.0.2.1", 554, lambda: False, 60.0) as mine:
            assert mine
            entered.set()
            leave.wait(60)

    stuck = threading.Thread(target=hang, daemon=True)
    stuck.start()
    assert entered.wait(10)
    with guard.turn("192.0.2.1", 554, lambda: True, 60.0) as mine:
        assert not mine, "who is stopped does not wait"
    with guard.turn("192.0.2.1", 554, lambda: False, 0.5) as mine:
        order.append("ahead")
        assert mine
    with guard.turn("192.0.2.1", 554, lambda: False, 0.5) as mine:
        assert mine, "and the next one finds a free turn"
    leave.set()
    stuck.join(10)
    assert order == ["ahead"]


def test_devices_can_be_barred_and_the_cpu_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from camagent import backends
    from camagent.errors import BackendError, NpuHung

    monkeypatch.setattr(backends, "_barred", [])
    backends.bar_devices("front-worker: an inference has not come back for 11 s")
    with pytest.raises(NpuHung, match="left alone until a reboot") as caught:
        backends.open_backend("rknn", b"", backends.BackendOptions())
    assert caught.value.reason == "npu-hung"
    assert "reboot" in caught.value.fix
    with pytest.raises(Exception) as other:  # noqa: PT011  whatever ONNX Runtime says of no bytes
        backends.open_backend("onnx", b"", backends.BackendOptions())
    assert not isinstance(other.value, NpuHung)
    backends.bar_devices("")
    with pytest.raises(BackendError) as free:
        backends.open_backend("no-such-npu", b"", backends.BackendOptions())
    assert not isinstance(free.value, NpuHung)


def test_the_clock_is_asked_of_timesyncd_where_the_kernel_may_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from camagent import vitals

    monkeypatch.setenv("CAMAGENT_SYSROOT", str(tmp_path))
    assert vitals._timesyncd() is None
    folder = tmp_path / "run/systemd/timesync"
    folder.mkdir(parents=True)
    assert vitals._timesyncd() is False
    (folder / "synchronized").touch()
    assert vitals._timesyncd() is True
    assert vitals.clock_synchronised() is not None
