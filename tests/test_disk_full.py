"""A full disk at every stage: the code is NO_SPACE, what ran runs on, nothing is left lying about, and room helps.

The state directory lies on a tmpfs of 2 MiB, where the free space is set to the page. Every operation is tried with every
amount of free space up to the one that suffices, so the failure hits each of its writes in turn.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from camagent import owner
from camagent.errors import StateError as OwnerStateError
from firmware_pkg.errors import GoldenFailed, NoSpace
from firmware_pkg.slots import Refusal
from firmware_pkg.store import HEADROOM
from firmware_pkg.trust_store import TrustStore
from signing import trust_edit
from signing.trust import read_root
from tests.signing.support import LATER, key
from tests.support.bundles import root_json
from tests.support.shelf import Shelf

PAGE = os.sysconf("SC_PAGE_SIZE")
BUILT = datetime(2026, 11, 23, tzinfo=UTC)
BIG = 40_000  # bytes of a bundle: ten pages, so that its own writing fails half-way too


@dataclass
class SmallDisk:
    """2 MiB, of which as much is free as the test says."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def leave(self, pages: int) -> None:
        """Fills the disk up to that many free pages."""
        hog = self.folder / "hog"
        hog.unlink(missing_ok=True)
        hog.touch()
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize // PAGE
        with hog.open("wb") as file:
            file.write(b"x" * PAGE * (free - pages))
        assert os.statvfs(self.folder).f_bavail == pages

    def make_room(self) -> None:
        (self.folder / "hog").unlink()

    def clear(self) -> None:
        subprocess.run(["rm", "-rf", self.state, self.folder / "hog"], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def stocked(small_disk: SmallDisk) -> Shelf:
    """1.0.0 is confirmed, 1.1.0 on trial."""
    small_disk.clear()
    shelf = Shelf(small_disk.state)
    shelf.confirm("1.0.0")
    shelf.install("1.1.0")
    return shelf


def install_of_unknown_size(shelf: Shelf, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Nobody has said how large it will be, and the disk fills up meanwhile: the failure comes in the middle."""
    bundle = replace(shelf.bundle("1.2.0"), size=BIG)
    content = shelf.content("1.2.0", BIG)
    with shelf.store.stage() as staged:
        meanwhile()
        for start in range(0, BIG, 1000):
            staged.write(content[start : start + 1000])
        shelf.store.install(staged, bundle)


def refusal_of(call: Callable[[], object]) -> NoSpace | None:
    """The refusal, None where it went well."""
    try:
        call()
    except NoSpace as exc:
        return exc
    return None


def attempt(shelf: Shelf) -> None:
    slots = shelf.store.slots("blobs")
    assert slots.trial
    shelf.store.attempt("blobs", slots.trial.digest)


def fail(shelf: Shelf) -> None:
    why = Refusal.of(GoldenFailed("it sees nothing", fix="build it again"), "1.1.0", 1.0)
    shelf.store.fail("blobs", shelf.bundle("1.1.0").digest, why)


OPERATIONS: dict[str, Callable[[Shelf], object]] = {
    "attempt": attempt,
    "tested": lambda shelf: shelf.store.mark_tested("blobs", shelf.bundle("1.1.0").digest),
    "confirm": lambda shelf: shelf.store.confirm("blobs", shelf.bundle("1.1.0").digest),
    "fail": fail,
    "rollback": lambda shelf: shelf.store.roll_back("blobs"),
    "prune": lambda shelf: (shelf.store.roll_back("blobs"), shelf.store.prune("blobs", 0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_of_state_on_a_full_disk_changes_nothing_and_works_once_there_is_room(
    name: str, small_disk: SmallDisk
) -> None:
    refused = []
    for pages in range(4):
        shelf = stocked(small_disk)
        before, files = shelf.store.slots("blobs"), shelf.files()
        small_disk.leave(pages)
        refusal = refusal_of(partial(OPERATIONS[name], shelf))
        refused.append(refusal is not None)
        if refusal:
            assert refusal.code == "NO_SPACE"
            assert refusal.evidence["free"] == f"{pages * PAGE} bytes"
            assert shelf.store.slots("blobs") == before
            assert shelf.files() == files
            assert Shelf(small_disk.state).said == []  # a start on a full disk is one too
            small_disk.make_room()
            OPERATIONS[name](shelf)
        assert shelf.store.slots("blobs") != before
        assert Shelf(small_disk.state).store.slots("blobs") == shelf.store.slots("blobs")
    assert refused == [True, False, False, False]  # one page of slots.json


def test_an_install_fails_at_each_of_its_writes_and_leaves_no_trace(small_disk: SmallDisk) -> None:
    refused = []
    for pages in range(14):
        shelf = stocked(small_disk)
        before, files = shelf.store.slots("blobs"), shelf.files()
        refusal = refusal_of(partial(install_of_unknown_size, shelf, partial(small_disk.leave, pages)))
        refused.append(refusal is not None)
        if refusal:
            assert refusal.evidence["folder"].startswith(str(shelf.folder))
            assert shelf.store.slots("blobs") == before
            assert shelf.files() == files
            small_disk.make_room()
            install_of_unknown_size(shelf)
        slots = shelf.store.slots("blobs")
        assert (slots.state_body()["current"], slots.state_body()["previous"]) == ("1.2.0", "1.0.0")
        assert shelf.read("1.0.0") == shelf.content("1.0.0")
        assert shelf.read("1.2.0") == shelf.content("1.2.0", BIG)
    assert refused == [True] * 11 + [False] * 3  # ten pages of bundle and one of slots.json


def test_a_bundle_of_known_size_is_refused_before_its_first_byte(small_disk: SmallDisk) -> None:
    shelf = stocked(small_disk)
    small_disk.leave(HEADROOM // PAGE + 9)
    files = shelf.files()
    with pytest.raises(NoSpace) as caught, shelf.store.stage(BIG):
        pytest.fail("there is no room for it")
    assert caught.value.evidence["needed"] == f"{BIG + HEADROOM} bytes"
    assert shelf.files() == files
    small_disk.leave(HEADROOM // PAGE + 10)
    with shelf.store.stage(BIG):
        pass


def test_bundles_that_nobody_needs_make_room_oldest_first(small_disk: SmallDisk) -> None:
    small_disk.clear()
    shelf = Shelf(small_disk.state)
    shelf.confirm("1.0.0")
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        shelf.install(version)
    small_disk.leave(HEADROOM // PAGE + 1)
    with shelf.store.stage(2 * PAGE):
        assert shelf.store.slots("blobs").state_body()["stored"] == ["1.0.0", "1.2.0", "1.3.0"]
    assert shelf.read("1.0.0") == shelf.content("1.0.0")


def test_the_disk_of_a_first_start_is_full(small_disk: SmallDisk) -> None:
    """Folders cost nothing on a tmpfs, so the first bundle is what fails."""
    small_disk.leave(0)
    shelf = Shelf(small_disk.state)
    with pytest.raises(NoSpace):
        shelf.install("1.0.0")
    assert shelf.files() == set()
    small_disk.make_room()
    assert shelf.install("1.0.0").trial is not None


def test_no_inode_is_left(small_disk: SmallDisk) -> None:
    shelf = stocked(small_disk)
    before = shelf.store.slots("blobs")
    subprocess.run(["mount", "-o", f"remount,nr_inodes={inodes_in_use(small_disk)}", small_disk.folder], check=True)
    with pytest.raises(NoSpace):
        shelf.store.confirm("blobs", shelf.bundle("1.1.0").digest)
    with pytest.raises(NoSpace):
        shelf.install("1.2.0")
    assert shelf.store.slots("blobs") == before
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", small_disk.folder], check=True)
    assert shelf.install("1.2.0").state_body()["current"] == "1.2.0"


def inodes_in_use(small_disk: SmallDisk) -> int:
    found = os.statvfs(small_disk.folder)
    return found.f_files - found.f_ffree


def test_trust_on_a_full_disk_stays_a_sound_chain(small_disk: SmallDisk) -> None:
    first = read_root(root_json())
    roots = [first]
    for days in (1, 2):
        roots.append(read_root(trust_edit.rotate(roots[-1], [key("root")], expires=LATER + timedelta(days=days))))
    kept = []
    for pages in range(4):
        small_disk.clear()
        store = TrustStore(small_disk.state / "trust", None, BUILT)
        store.offer([first], first=True)
        small_disk.leave(pages)
        with suppress(NoSpace):
            store.offer(roots)
        known = TrustStore(small_disk.state / "trust", None, BUILT).known()
        assert [root.version for root in store.known()] == [root.version for root in known]
        kept.append(len(known))
        small_disk.make_room()
        store.offer(roots)
        assert len(TrustStore(small_disk.state / "trust", None, BUILT).known()) == 3
        assert not list((small_disk.state / "trust").glob(".new-*"))
    assert kept == [1, 2, 3, 3]  # one page each


def test_the_floor_on_a_full_disk_stays_where_it_is(small_disk: SmallDisk) -> None:
    store = TrustStore(small_disk.state / "trust", None, BUILT)
    store.raise_floor(BUILT + timedelta(days=1))
    small_disk.leave(0)
    with pytest.raises(NoSpace):
        store.raise_floor(BUILT + timedelta(days=2))
    assert store.floor == BUILT + timedelta(days=1)
    small_disk.make_room()
    store.raise_floor(BUILT + timedelta(days=2))
    assert TrustStore(small_disk.state / "trust", None, BUILT).floor == BUILT + timedelta(days=2)


def test_the_owners_state_on_a_full_disk_is_a_sentence_and_the_old_one_stays(small_disk: SmallDisk) -> None:
    held = owner.acquire(small_disk.state)
    small_disk.leave(0)
    with pytest.raises(OwnerStateError, match="No space left"):
        held.remember_detect("front", {"on": False})
    small_disk.make_room()
    held.release()
    again = owner.acquire(small_disk.state)
    assert again.run == held.run + 1
    again.release()


def test_a_start_on_a_full_disk_has_a_run_number_of_its_own(small_disk: SmallDisk) -> None:
    owner.acquire(small_disk.state).release()
    small_disk.leave(0)
    for expected in (2, 3):
        held = owner.acquire(small_disk.state)
        assert held.run == expected
        held.release()
    small_disk.make_room()
    again = owner.acquire(small_disk.state)
    assert again.run == 4
    again.release()


def test_the_very_first_start_needs_a_page(small_disk: SmallDisk) -> None:
    small_disk.state.mkdir()
    small_disk.leave(0)
    with pytest.raises(OwnerStateError, match="No space left"):
        owner.acquire(small_disk.state)
    small_disk.make_room()
    owner.acquire(small_disk.state).release()
