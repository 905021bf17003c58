from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from camagent.audit import KEPT, ROTATE_BYTES, Audit
from camagent.clock import SystemClock
from camagent.service import Origin

PERSON = Origin("local", "uid 0, pid 1")


class FixedClock(SystemClock):
    def wall(self) -> float:
        return 1_800_000_000.1234


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "audit.jsonl", FixedClock())


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_line_says_who_what_when_and_the_outcome(audit: Audit) -> None:
    audit.note("install", origin=PERSON, name="fastestdet", version="1.0.0", digest="ab" * 32, signers=["k1", "k2"])
    audit.note("refuse", origin=Origin("http", "192.0.2.7"), name="x", code="UNTRUSTED_SIGNER")
    audit.note("confirm", origin="600 frames", name="fastestdet", version="1.0.0")
    first, second, third = lines(audit.path)
    assert first == {
        "time": 1800000000.123, "event": "install", "name": "fastestdet", "version": "1.0.0", "digest": "ab" * 32,
        "signers": ["k1", "k2"], "code": None, "origin": "local uid 0, pid 1",
    }  # fmt: skip
    assert (second["code"], second["origin"]) == ("UNTRUSTED_SIGNER", "http 192.0.2.7")
    assert third["origin"] == "600 frames"
    assert audit.path.stat().st_mode & 0o777 == 0o640
    assert (audit.lost, audit.problem) == (0, None)


def test_foreign_strings_cannot_make_lines_or_hide(audit: Audit) -> None:
    audit.note("refuse", origin=PERSON, name='a"}\n{"event":"install"', version="\x1b[2K\u202e", signers=["x" * 10_000] * 99)
    (entry,) = lines(audit.path)
    assert "\n" not in str(entry["name"])
    assert entry["version"] == "\\x1b[2K\\u202e"
    assert isinstance(entry["signers"], list)
    assert len(entry["signers"]) == 16
    assert audit.path.stat().st_size < 16_000


def test_it_is_rotated_and_bounded(audit: Audit) -> None:
    count = 0
    while not (audit.path.parent / f"audit.{KEPT}.jsonl").exists():
        audit.path.write_bytes(b'{"old":1}\n' * (ROTATE_BYTES // 10))
        audit.note("install", origin=PERSON, name=f"n{count}")
        count += 1
    audit.path.write_bytes(b'{"old":2}\n' * (ROTATE_BYTES // 10))
    audit.note("install", origin=PERSON, name="last")
    names = sorted(path.name for path in audit.path.parent.iterdir())
    assert names == ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl", "audit.4.jsonl", "audit.jsonl"]
    assert [entry["name"] for entry in lines(audit.path)] == ["last"]
    assert all(path.stat().st_size <= ROTATE_BYTES for path in audit.path.parent.iterdir())
    assert audit.tail(3)[0] == {"old": 2}
    assert audit.tail(1)[0]["name"] == "last"


def test_tail_goes_back_over_rotated_files_and_leaves_torn_lines_out(audit: Audit) -> None:
    (audit.path.parent / "audit.1.jsonl").write_bytes(b'{"n":1}\n{"n":2}\n')
    audit.path.write_bytes(b'{"n":3}\n{"n":4, "torn')
    audit.note("install", origin=PERSON, name="five")
    assert audit.path.read_bytes().count(b"\n") == 3, "the new line is not glued to the torn one"
    tail = audit.tail(3)
    assert [entry.get("n", entry.get("name")) for entry in tail] == [2, 3, "five"]
    assert audit.tail(0) == []


def test_a_disk_that_does_not_take_it_is_counted_and_told_never_raised(audit: Audit) -> None:
    audit.path.mkdir()
    audit.note("install", origin=PERSON, name="a")
    audit.note("install", origin=PERSON, name="b")
    assert audit.lost == 2
    assert "audit.jsonl cannot be written" in str(audit.problem)
    audit.path.rmdir()
    audit.note("install", origin=PERSON, name="c")
    assert audit.lost == 2
    assert str(audit.problem) == "None"


def test_a_full_disk_is_counted_and_the_next_line_stands_alone(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.note("install", origin=PERSON, name="a")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:20]))  # what a full disk does
    audit.note("install", origin=PERSON, name="b")
    monkeypatch.undo()
    assert audit.lost == 1
    audit.note("install", origin=PERSON, name="c")
    assert [entry["name"] for entry in audit.tail(9)] == ["a", "c"]


def test_a_planted_link_is_not_followed(audit: Audit, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    audit.path.symlink_to(victim)
    audit.note("install", origin=PERSON, name="a")
    assert audit.lost == 1
    assert victim.read_text() == "untouched"


def test_every_line_is_synced_before_note_returns(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    write, fsync = os.write, os.fsync

    def noted_write(fd: int, data: bytes) -> int:
        done.append("write")
        return write(fd, data)

    def noted_fsync(fd: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{fd}").resolve() == audit.path.parent else "file")
        fsync(fd)

    monkeypatch.setattr(os, "write", noted_write)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    audit.note("install", origin=PERSON)
    audit.note("install", origin=PERSON)
    assert done == ["write", "file", "folder", "write", "file"]


def test_threads_do_not_mix_their_lines(audit: Audit) -> None:
    def write(name: str) -> None:
        for _ in range(25):
            audit.note("install", origin=PERSON, name=name)

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(audit.path)) == 200
