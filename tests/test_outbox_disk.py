"""A disk that is full or read-only, a process that may not write: the agent lives on, says so, and counts what it loses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.outbox import Outbox
from tests.support.outboxes import Bench


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Bench]:
    """state_dir on a tmpfs of 256 KiB."""
    bench = Bench(tmp_path)
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", bench.state], capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    try:
        yield bench
    finally:
        subprocess.run(["umount", "-l", bench.state], check=True)


def tick(bench: Bench, box: Outbox, seconds: float) -> None:
    bench.clock.now += seconds
    box.tick()


def test_a_full_disk_is_told_and_messages_stay_in_the_journal(small_disk: Bench) -> None:
    bench = small_disk
    box = bench.open()
    for number in range(60):
        bench.put(box, number, size=8_000)
    tick(bench, box, 2.5)
    state = box.snapshot()
    assert state.problem is not None
    assert state.problem.code == "outbox-disk-full"
    assert state.messages == 60
    for number in range(60, 70):
        bench.put(box, number, size=8_000)
    again = bench.reopen_after_kill(box)
    assert again.snapshot().messages == 70
    assert bench.take_all(again) == list(range(70))
    for key in range(1, 71):
        again.settle(key, "acknowledged")
    tick(bench, again, 6)
    assert again.empty
    bench.put(again, 70)
    tick(bench, again, 6)
    assert again.snapshot().problem is None
    again.close()


def test_room_on_the_disk_is_used_again(small_disk: Bench) -> None:
    bench = small_disk
    hog = bench.state / "hog"
    hog.write_bytes(b"x" * 250_000)
    box = bench.open()
    for number in range(20):
        bench.put(box, number, size=4_000)
    tick(bench, box, 2.5)
    assert box.snapshot().problem is not None
    hog.unlink()
    tick(bench, box, 5.5)
    state = box.snapshot()
    assert (state.problem, state.on_flash, state.messages) == (None, True, 20)
    assert bench.take_all(box) == list(range(20))
    box.close()


def test_beyond_the_journals_bound_the_oldest_go_and_are_counted(small_disk: Bench) -> None:
    bench = small_disk
    (bench.state / "hog").write_bytes(b"x" * 256_000)
    box = bench.open()
    for number in range(400):
        bench.put(box, number, size=8_000)
        tick(bench, box, 0.1)
    state = box.snapshot()
    assert state.bytes <= 1 << 20
    assert state.messages + bench.outcomes["dropped"] == 400
    got = bench.take_all(box)
    assert got == list(range(400 - len(got), 400))
    assert not list((bench.state / "outbox").glob("*.seg"))  # failed attempts leave nothing behind
    box.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_backlog_loses_nothing_while_the_journal_has_room(small_disk: Bench) -> None:
    bench = small_disk
    box = bench.open()
    for number in range(100):
        bench.put(box, number, size=4_000)
        tick(bench, box, 0.1)
    state = box.snapshot()
    assert state.problem is not None
    assert state.on_flash
    assert state.messages == 100
    again = bench.reopen_after_kill(box)
    assert bench.take_all(again) == list(range(100))
    again.close()


def test_a_state_dir_that_is_no_folder_does_not_stop_delivery(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.state.rmdir()
    bench.state.write_bytes(b"")
    box = bench.open()
    for number in range(5):
        bench.put(box, number)
    tick(bench, box, 3)
    state = box.snapshot()
    assert state.problem is not None
    assert state.problem.code == "outbox-disk-failed"
    assert bench.take_all(box) == list(range(5))
    box.close()


def test_a_read_only_state_dir_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", bench.state], capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting a read-only file system needs root")
    try:
        box = bench.open()
        bench.put(box, 0)
        tick(bench, box, 3)
        state = box.snapshot()
        assert state.problem is not None
        assert state.problem.code == "outbox-read-only"
        assert bench.take_all(box) == [0]
        box.close()
    finally:
        subprocess.run(["umount", "-l", bench.state], check=True)


def test_a_run_folder_that_takes_nothing_is_told_and_delivery_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run.write_bytes(b"")
    box = bench.open()
    bench.put(box, 0)
    state = box.snapshot()
    assert state.problem is not None
    assert state.problem.code == "outbox-journal-failed"
    assert bench.take_all(box) == [0]
    box.close()


CHILD = """
import resource, signal, sys
from pathlib import Path
from tests.support.outboxes import Bench
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
bench = Bench(Path(sys.argv[1]))
box = bench.open()
for number in range(40):
    bench.put(box, number, size=1_000)
bench.clock.now += 3
box.tick()
state = box.snapshot()
assert state.problem is not None and state.problem.code == "outbox-disk-full", state.problem
assert state.messages == 40
assert bench.take_all(box) == list(range(40))
box.close()
print("lived on")
"""


def test_a_file_size_limit_is_survived(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "lived on\n", done.stderr


def _write_bytes() -> int:
    found = re.search(r"^write_bytes: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_spilling_writes_little_more_than_the_messages(tmp_path: Path) -> None:
    """Ten seconds of an outage: 300 messages of 600 bytes, synced once a second, drained; journal on tmpfs."""
    bench = Bench(tmp_path)
    bench.run = Path("/dev/shm") / f"camagent-{os.getpid()}-amplification"
    box = bench.open()
    before = _write_bytes()
    for number in range(300):
        bench.put(box, number, size=600)
        tick(bench, box, 1 / 30)
    written = _write_bytes() - before
    own = box.snapshot().flash_bytes
    payload = 300 * 600
    while (entry := box.take()) is not None:
        box.settle(entry.key, "acknowledged")
        tick(bench, box, 1 / 300)
    box.close()
    for path in bench.run.iterdir():
        path.unlink()
    bench.run.rmdir()
    print(f"payload {payload} B, records {own} B (x {own / payload:.2f}), write_bytes {written} B (x {written / payload:.2f})")
    assert own / payload < 1.5
    assert written / payload < 3.0
