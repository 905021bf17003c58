"""The store's files: what an install leaves, what a start puts right, what is refused. Power cuts are test_power_cut's."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from firmware_pkg import store as stores
from firmware_pkg.errors import GoldenFailed, NoSpace, NotStored, RollbackRefused, StateError, TrialFailed, UnsafePath
from firmware_pkg.slots import Refusal
from tests.support.shelf import Shelf

WHY = Refusal.of(GoldenFailed("it sees nothing", fix="build it again"), "1.1.0", 5.0)


def state_file(shelf: Shelf) -> Path:
    return shelf.folder / "blobs" / "slots.json"


def test_an_installed_bundle_is_one_file_under_its_digest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    slots = shelf.install("1.0.0")
    digest = shelf.bundle("1.0.0").digest
    assert slots.running is not None
    assert slots.running.digest == digest
    assert shelf.files() == {f"blobs/{digest}.cambundle", "blobs/slots.json"}
    assert shelf.read("1.0.0") == shelf.content("1.0.0")
    assert (shelf.folder / "blobs" / f"{digest}.cambundle").stat().st_mode & 0o777 & ~0o640 == 0
    assert shelf.store.names() == ("blobs",)


def test_it_is_found_again_by_the_next_process(tmp_path: Path) -> None:
    Shelf(tmp_path).confirm("1.0.0", index=2)
    again = Shelf(tmp_path)
    assert again.said == []
    slots = again.store.slots("blobs")
    assert (slots.state_body()["current"], slots.rollback_index) == ("1.0.0", 2)


def test_what_is_not_taken_vanishes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.store.stage(10) as staged:
        staged.write(b"0123456789")
        assert staged.path.exists()
    with pytest.raises(OSError, match="not open"), shelf.store.stage(10) as staged:
        staged.read()
    assert shelf.files() == set()
    assert shelf.store.names() == ()


def test_a_refused_install_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0", index=2)
    before = shelf.files()
    with pytest.raises(RollbackRefused):
        shelf.install("1.1.0", index=1)
    shelf.install("1.2.0", index=2)
    shelf.store.fail("blobs", shelf.bundle("1.2.0", index=2).digest, WHY)
    with_failed = shelf.files()
    with pytest.raises(TrialFailed):
        shelf.install("1.2.0", index=2)
    assert shelf.files() == with_failed
    assert before < with_failed
    assert shelf.install("1.2.0", index=2, force=True).trial is not None


def test_another_length_than_the_verified_one_is_not_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.store.stage() as staged:
        staged.write(shelf.content("1.0.0")[:-1])
        with pytest.raises(StateError, match="not what was verified"):
            shelf.store.install(staged, shelf.bundle("1.0.0"))
    assert shelf.files() == set()


def test_a_file_that_was_swapped_in_staging_is_not_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for planted in ("file", "link"):
        with shelf.store.stage() as staged:
            staged.write(shelf.content("1.0.0"))
            staged.path.unlink()
            if planted == "file":
                staged.path.write_bytes(shelf.content("9.9.9"))
            else:
                staged.path.symlink_to("/etc/passwd")
            with pytest.raises(UnsafePath, match="another file"):
                shelf.store.install(staged, shelf.bundle("1.0.0"))
    assert shelf.files() == set()
    assert Path("/etc/passwd").exists()


def test_a_link_or_a_folder_in_a_bundles_place_is_not_opened(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.install("1.0.0")
    path = shelf.folder / "blobs" / f"{shelf.bundle('1.0.0').digest}.cambundle"
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(NotStored):
        shelf.read("1.0.0")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateError, match="is no file"):
        shelf.read("1.0.0")
    path.unlink()
    with pytest.raises(NotStored):
        shelf.read("1.0.0")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".staging", "a/b", "x" * 49, "a\n"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(NotStored):
        shelf.store.slots(name)
    for digest in ("../../x", "0" * 63, "0" * 64 + "\n"):
        with pytest.raises(NotStored):
            shelf.store.open("blobs", digest)


def test_a_start_removes_what_nobody_speaks_of(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    sound = shelf.files()
    (shelf.folder / ".staging" / "half").write_bytes(b"x")
    (shelf.folder / "blobs" / ".new-1234").write_bytes(b"{")
    (shelf.folder / "blobs" / f"{'0' * 64}.cambundle").write_bytes(b"orphan")
    (shelf.folder / "other").mkdir()
    (shelf.folder / "other" / f"{'1' * 64}.cambundle").write_bytes(b"half made")
    again = Shelf(tmp_path)
    assert again.said == []
    assert again.files() == sound
    assert not (shelf.folder / "other").exists()


def test_a_bundle_whose_file_is_gone_is_told_and_forgotten(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    shelf.confirm("1.1.0")
    (shelf.folder / "blobs" / f"{shelf.bundle('1.1.0').digest}.cambundle").unlink()
    again = Shelf(tmp_path)
    assert len(again.said) == 1
    assert "blobs 1.1.0 is gone" in again.said[0]
    assert again.store.slots("blobs").state_body()["current"] == "1.0.0"
    assert Shelf(tmp_path).said == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b'{"schema": 1, "confirmed": ["x"]}', b'{"schema": 1, "more": 1}', b'{"schema": "1"}', b"\xff",
     b'{"schema": 1, "confirmed": ["' + b"0" * 64 + b'"]}', b"[" * 100_000],
)  # fmt: skip
def test_damaged_state_is_a_sentence_and_is_never_reset(tmp_path: Path, data: bytes) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    shelf.install("1.1.0")
    state_file(shelf).write_bytes(data)
    before = shelf.files()
    again = Shelf(tmp_path)
    assert len(again.said) == 1
    assert str(state_file(shelf)) in again.said[0]
    with pytest.raises(StateError, match="is damaged"):
        again.store.slots("blobs")
    with pytest.raises(StateError, match="is damaged"):
        again.install("1.2.0")
    assert state_file(shelf).read_bytes() == data
    assert again.files() == before


def test_a_newer_agents_state_is_left_untouched(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    newer = json.dumps({"schema": 2, "whatever": True}).encode()
    state_file(shelf).write_bytes(newer)
    before = shelf.files()
    again = Shelf(tmp_path)
    with pytest.raises(StateError, match="newer camagent") as caught:
        again.store.slots("blobs")
    assert (caught.value.evidence["schema there"], caught.value.evidence["schema known here"]) == ("2", "1")
    assert state_file(shelf).read_bytes() == newer
    assert again.files() == before


def test_a_damaged_name_does_not_stop_the_others(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    (shelf.folder / "broken").mkdir()
    (shelf.folder / "broken" / "slots.json").write_bytes(b"{")
    again = Shelf(tmp_path)
    assert len(again.said) == 1
    assert again.store.names() == ("blobs", "broken")
    assert again.install("1.1.0").trial is not None


def test_one_process_is_one_attempt_and_a_clean_stop_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    shelf.install("1.1.0")
    digest = shelf.bundle("1.1.0").digest
    for _ in range(3):
        shelf.store.attempt("blobs", digest)
    assert attempts(shelf) == ["boot-1"]
    again = Shelf(tmp_path, "boot-2")
    again.store.judge_at_start("blobs")
    again.store.attempt("blobs", digest)
    assert attempts(again) == ["boot-1", "boot-2"]
    again.store.stop_cleanly("blobs")
    again.store.stop_cleanly("blobs")
    assert attempts(again) == ["boot-1"]
    again.store.attempt("blobs", digest)
    assert attempts(again) == ["boot-1", "boot-2"]


def attempts(shelf: Shelf) -> list[str]:
    trial = shelf.store.slots("blobs").trial
    assert trial is not None
    return [attempt.boot_id for attempt in trial.attempts]


def test_three_dead_processes_bring_the_confirmed_bundle_back(tmp_path: Path) -> None:
    Shelf(tmp_path).confirm("1.0.0")
    Shelf(tmp_path).install("1.1.0")
    digest = Shelf(tmp_path).bundle("1.1.0").digest
    for _ in range(3):
        shelf = Shelf(tmp_path)
        assert shelf.store.judge_at_start("blobs").trial is not None
        shelf.store.attempt("blobs", digest)
    slots = Shelf(tmp_path).store.judge_at_start("blobs")
    assert slots.state_body()["current"] == "1.0.0"
    assert slots.last_refusal is not None
    assert slots.last_refusal.code == "TRIAL_FAILED"


def test_a_bundle_signed_anew_takes_its_own_place_and_an_unsigned_copy_does_not(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    newly = shelf.content("1.0.0").replace(b".", b"s")
    for content, signers, left in ((newly, ("k2",), newly), (shelf.content("1.0.0"), (), newly)):
        with shelf.store.stage() as staged:
            staged.write(content)
            slots = shelf.store.install(staged, shelf.bundle("1.0.0", signers=signers))
        assert slots.trial is None
        assert shelf.read("1.0.0") == left
    assert shelf.files() == {f"blobs/{shelf.bundle('1.0.0').digest}.cambundle", "blobs/slots.json"}


def test_a_name_that_no_camera_uses_is_only_stored(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.install("1.0.0")
    digest = shelf.bundle("1.0.0").digest
    shelf.store.attempt("blobs", digest)
    slots = shelf.store.shelve("blobs", digest)
    assert (slots.running, slots.state_body()["stored"]) == (None, ["1.0.0"])
    assert shelf.store.activate("blobs").trial is not None


def test_old_bundles_go_and_those_in_use_stay(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    for minor in range(1, 8):
        shelf.install(f"1.{minor}.0")
    slots = shelf.store.slots("blobs")
    assert slots.state_body()["stored"] == ["1.0.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0"]
    assert len(shelf.files()) == 6
    assert shelf.store.prune("blobs", 0).state_body()["stored"] == ["1.0.0", "1.7.0"]
    assert len(shelf.files()) == 3


def test_a_refusal_at_the_door_is_kept_for_known_names_only(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.store.note("strange", WHY)
    assert shelf.files() == set()
    shelf.confirm("1.0.0")
    shelf.store.note("blobs", WHY)
    assert shelf.store.slots("blobs").last_refusal == WHY


def test_what_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    written = state_file(shelf).stat().st_ino
    shelf.store.judge_at_start("blobs")
    shelf.store.confirm("blobs", shelf.bundle("1.0.0").digest)
    shelf.store.stop_cleanly("blobs")
    shelf.store.prune("blobs")
    assert state_file(shelf).stat().st_ino == written


def test_more_than_the_disk_holds_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    shelf.install("1.1.0")
    shelf.install("1.2.0")
    before = shelf.files()
    with pytest.raises(NoSpace) as caught, shelf.store.stage(1 << 50):
        pytest.fail("there cannot be a petabyte")
    assert int(caught.value.evidence["needed"].split()[0]) > 1 << 50
    assert shelf.files() == before  # what would not have helped was not thrown away


def test_threads_may_share_it(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.confirm("1.0.0")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                shelf.install(f"2.{number}.{step}")
                shelf.store.roll_back("blobs")
                shelf.store.slots("blobs").state_body()
        except NotStored:
            return  # another thread has rolled back meanwhile
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    slots = shelf.store.slots("blobs")
    assert {f"blobs/{ref.digest}{stores.SUFFIX}" for ref in slots.stored} | {"blobs/slots.json"} == shelf.files()
