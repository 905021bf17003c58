"""The outbox in process: lanes, order, journal and flash, limits, restart. The broker's side is test_mqtt_delivery's."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from camagent.config import Mqtt
from camagent.outbox import Lane, OpenMessage, Outbox, Outcome
from camagent.outbox.records import Stored, pack_message
from tests.support.outboxes import Bench, FakeClock


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_events_overtake_detections_and_each_lane_keeps_its_order(bench: Bench) -> None:
    box = bench.open()
    for number, lane in enumerate(("detections", "events", "detections", "events")):
        bench.put(box, number, lane)
    assert bench.take_all(box) == [1, 3, 0, 2]
    box.close()


def test_what_was_in_flight_goes_out_again_first(bench: Bench) -> None:
    box = bench.open()
    for number in range(4):
        bench.put(box, number)
    first, second = box.take(), box.take()
    assert first is not None
    assert second is not None
    box.settle(second.key, "acknowledged")
    box.give_back()
    assert bench.take_all(box) == [0, 2, 3]
    box.close()


def test_in_good_times_there_is_no_file_on_flash_and_the_journal_is_emptied(bench: Bench) -> None:
    box = bench.open()
    for number in range(200):
        bench.put(box, number)
        bench.settle_all(box)
        bench.clock.now += 0.1
        box.tick()
    assert not (bench.state / "outbox").exists()
    assert (bench.run / "outbox.journal").stat().st_size == 0
    assert box.snapshot().lanes["detections"].acknowledged == 200
    box.close()
    assert not (bench.state / "outbox").exists()


def test_a_message_open_for_two_seconds_takes_all_open_ones_to_flash_and_an_ack_brings_them_back(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 0)
    box.take()
    bench.put(box, 1, "events")
    bench.clock.now += 1.9
    box.tick()
    assert not box.snapshot().on_flash
    bench.clock.now += 0.2
    box.tick()
    bench.put(box, 2)
    state = box.snapshot()
    assert (state.on_flash, state.spilled, state.messages) == (True, 3, 3)
    assert state.oldest_s == pytest.approx(2.1)
    assert (bench.run / "outbox.journal").stat().st_size < 200  # marks only: the messages stand on flash
    box.give_back()
    assert bench.take_all(box) == [1, 0, 2]
    for key in (1, 2, 3):
        box.settle(key, "acknowledged")
    box.tick()
    assert not box.snapshot().on_flash
    assert list((bench.state / "outbox").iterdir()) == []
    box.close()


def test_a_sender_that_has_caught_up_leaves_flash_without_a_quiet_moment(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 0)
    bench.clock.now += 3
    box.tick()
    for number in range(1, 10):
        bench.put(box, number)
    old = [box.take() for _ in range(9)]
    for entry in old:
        assert entry is not None
        box.settle(entry.key, "acknowledged")
    last = box.take()
    assert last is not None
    bench.clock.now += 0.1
    box.tick()
    state = box.snapshot()
    assert (state.on_flash, state.messages) == (False, 1)
    again = bench.reopen_after_kill(box)
    assert bench.take_all(again) == [9]
    again.close()


def test_kill_with_open_messages_loses_none_and_repeats_no_acknowledged_one(bench: Bench) -> None:
    box = bench.open()
    for number in range(20):
        bench.put(box, number)
    for _ in range(5):
        entry = box.take()
        assert entry is not None
        if entry.message.payload != bench.payload(2):
            box.settle(entry.key, "acknowledged")
    again = bench.reopen_after_kill(box)
    assert again.snapshot().recovered == 16
    assert bench.take_all(again) == [2, *range(5, 20)]
    again.close()


def test_a_power_cut_costs_nothing_that_was_on_flash(bench: Bench) -> None:
    box = bench.open()
    for number in range(50):
        bench.put(box, number)
    bench.clock.now += 2.5
    box.tick()
    for _ in range(10):
        entry = box.take()
        assert entry is not None
        box.settle(entry.key, "acknowledged")
    bench.clock.now += 1.5
    box.tick()
    shutil.rmtree(bench.run)  # tmpfs
    again = bench.reopen_after_kill(box)
    assert bench.take_all(again) == list(range(10, 50))
    again.close()


def test_a_clean_stop_puts_what_is_open_on_flash_for_the_run_folder_may_go(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 7)
    box.close()
    shutil.rmtree(bench.run)
    again = bench.open()
    assert bench.take_all(again) == [7]
    again.close()


def test_keys_are_never_used_twice_over_restarts(bench: Bench) -> None:
    for number in range(5):
        box = bench.open()
        bench.put(box, number)
        bench.clock.now += 3
        box.tick()
        entry = box.take()
        assert entry is not None
        if number % 2:
            box.settle(entry.key, "acknowledged")
            box.tick()
        box.close()
    again = bench.open()
    assert bench.take_all(again) == [2, 3, 4]
    again.close()


def test_full_drops_the_oldest_detections_first_then_events_and_counts_them(bench: Bench) -> None:
    box = bench.open()
    size = 50_000
    for number in range(5):
        bench.put(box, number, "events", size=size)
    for number in range(5, 30):
        bench.put(box, number, size=size)
    bench.clock.now += 3
    box.tick()
    state = box.snapshot()
    assert state.bytes <= 1 << 20
    lost = bench.outcomes["dropped"]
    assert lost == state.lanes["detections"].dropped >= 10
    assert state.lanes["events"].messages == 5
    for number in range(30, 60):
        bench.put(box, number, "events", size=size)
    state = box.snapshot()
    assert state.lanes["detections"].messages == 0
    assert state.lanes["events"].dropped > 0
    assert state.messages + bench.outcomes["dropped"] == 60
    got = bench.take_all(box)
    assert got == sorted(got)
    assert got[-1] == 59
    assert bench.by_camera["front", "dropped"] == bench.outcomes["dropped"]
    box.close()


def test_a_dropped_message_in_flight_is_neither_lost_nor_counted_twice(bench: Bench) -> None:
    box = bench.open()
    size = 60_000
    bench.put(box, 0, size=size)
    bench.put(box, 1, size=size)
    bench.clock.now += 3
    box.tick()
    first = box.take()
    assert first is not None
    for number in range(2, 40):
        bench.put(box, number, size=size)
    bench.clock.now += 3
    box.tick()
    again = bench.reopen_after_kill(box)
    state = again.snapshot()
    assert state.messages + bench.outcomes["dropped"] == 40
    got = bench.take_all(again)
    assert got[0] == 0  # it was being sent when its segment went: the journal kept it
    assert got == sorted(got)
    again.close()


def test_a_message_larger_than_the_outbox_is_counted_and_nothing_else_is_dropped(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 0)
    bench.put(box, 1, size=2 << 20)
    assert bench.outcomes == Counter(too_large=1)
    assert bench.take_all(box) == [0]
    box.close()


@pytest.mark.parametrize("cut", [1, 11, 12, 30])
def test_a_record_torn_by_kill_in_mid_write_is_passed_over(bench: Bench, cut: int) -> None:
    box = bench.open()
    for number in range(3):
        bench.put(box, number)
    journal = bench.run / "outbox.journal"
    torn = pack_message(Stored(99, 0.0, 0.0, OpenMessage("detections", "t", b"x" * 50)))[:cut]
    with journal.open("ab") as file:
        file.write(torn)
    again = bench.reopen_after_kill(box)
    assert again.snapshot().damaged == 0
    assert bench.take_all(again) == [0, 1, 2]
    again.close()


@pytest.mark.parametrize("where", ["journal", "segment"])
def test_damage_in_the_middle_costs_one_message_and_is_told(bench: Bench, where: str) -> None:
    box = bench.open()
    for number in range(10):
        bench.put(box, number)
    path = bench.run / "outbox.journal"
    if where == "segment":
        bench.clock.now += 3
        box.tick()
        path = next((bench.state / "outbox").glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[data.index(bench.payload(4)) + 1] ^= 0xFF
    path.write_bytes(data)
    again = bench.reopen_after_kill(box)
    assert again.snapshot().damaged == 1
    assert bench.take_all(again) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    again.close()


def test_damage_under_a_running_outbox_is_counted_as_loss(bench: Bench) -> None:
    box = bench.open()
    for number in range(10):
        bench.put(box, number)
    bench.clock.now += 3
    box.tick()
    path = next((bench.state / "outbox").glob("*.seg"))
    data = bytearray(path.read_bytes())
    for number in (4, 9):
        data[data.index(bench.payload(number)) + 1] ^= 0xFF
    with path.open("r+b") as file:
        file.write(data)
    got = bench.take_all(box)
    assert got == [0, 1, 2, 3, 5, 6, 7, 8]
    assert box.snapshot().damaged == 2
    assert bench.outcomes["dropped"] == 2
    for key in range(1, 11):
        box.settle(key, "acknowledged")
    assert box.empty
    box.close()


def test_a_wall_clock_step_changes_nothing(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 0)
    bench.clock.wall_offset += 365 * 86400
    box.tick()
    assert not box.snapshot().on_flash
    bench.clock.wall_offset -= 2 * 365 * 86400
    bench.clock.now += 2.5
    box.tick()
    state = box.snapshot()
    assert state.on_flash
    assert state.oldest_s == pytest.approx(2.5)
    box.close()


def test_the_age_of_a_backlog_survives_a_restart(bench: Bench) -> None:
    box = bench.open()
    bench.put(box, 0)
    bench.clock.now += 100
    box.tick()
    again = bench.reopen_after_kill(box)
    bench.clock.now += 5
    assert again.snapshot().oldest_s == pytest.approx(105)
    again.close()


def test_the_last_seq_of_every_camera_is_known_to_the_next_run(bench: Bench) -> None:
    box = bench.open()
    assert box.previous() is None
    box.note_seq("front", 7, 1)
    box.note_seq("back", 7, 12)
    box.note_seq("front", 7, 2)
    again = bench.reopen_after_kill(box)
    assert again.previous() == (7, {"front": 2, "back": 12})
    again.note_seq("front", 8, 1)
    assert again.previous() == (7, {"front": 2, "back": 12})
    third = bench.reopen_after_kill(again)
    assert third.previous() == (8, {"front": 1})
    third.close()


def test_refused_and_set_aside_are_told_by_camera_and_outcome(tmp_path: Path) -> None:
    told: list[tuple[str, Outcome, int]] = []
    box = Outbox(tmp_path, tmp_path / "run", Mqtt(), FakeClock(), lambda *what: told.append(what))
    lanes: tuple[Lane, ...] = ("events", "detections")
    for lane in lanes:
        box.put(OpenMessage(lane, "t", b"{}", camera=lane))
    one, two = box.take(), box.take()
    assert one is not None
    assert two is not None
    box.settle(one.key, "refused")
    box.settle(two.key, "set_aside")
    box.settle(two.key, "acknowledged")  # late news of what is no longer open
    assert told == [("events", "refused", 1), ("detections", "set_aside", 1)]
    box.close()
