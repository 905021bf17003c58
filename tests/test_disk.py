"""Writing so that it stands: what the calls of disk.py leave, and how their errors read. Power cuts are test_power_cut's."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from firmware_pkg import disk
from firmware_pkg.errors import NoSpace, StateError


def test_write_atomic_replaces_and_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "state"
    disk.write_atomic(path, b"old")
    disk.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    assert [found.name for found in tmp_path.iterdir()] == ["state"]


def test_write_atomic_leaves_no_litter_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        disk.write_atomic(tmp_path / "target", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_new_file_never_follows_or_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("victim", "link", "dangling"):
        with pytest.raises(FileExistsError):
            disk.create(tmp_path / name)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_folders_are_made_with_those_above(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b" / "c"
    disk.make_folder(made)
    disk.make_folder(made)
    assert stat.S_IMODE(made.stat().st_mode) & ~0o750 == 0
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"exists|directory"):
        disk.make_folder(tmp_path / "file")


def test_place_takes_the_file_away(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "x").write_bytes(b"bundle")
    disk.place(tmp_path / "from" / "x", tmp_path / "to" / "y")
    assert not list((tmp_path / "from").iterdir())
    assert (tmp_path / "to" / "y").read_bytes() == b"bundle"


def test_sweep_takes_only_what_is_unfinished(tmp_path: Path) -> None:
    for name in (".new-1", ".new-2", "slots.json", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    assert disk.sweep(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"slots.json", ".hidden"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_what_is_needed_and_what_is_free(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoSpace) as caught, disk.refusing(tmp_path, 12345):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == "NO_SPACE"
    assert caught.value.evidence["needed"] == "12345 bytes"
    assert caught.value.evidence["free"].endswith(" bytes")
    assert int(caught.value.evidence["free"].split()[0]) > 0
    assert caught.value.fix


def test_any_other_error_is_the_state_directorys(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught, disk.refusing(tmp_path):
        (tmp_path / "none" / "file").write_bytes(b"")
    assert caught.value.evidence["path"] == str(tmp_path / "none" / "file")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_full_disk_of_which_nothing_is_known_is_still_a_sentence(tmp_path: Path) -> None:
    assert "unknown" in disk.no_space(tmp_path / "none", None).evidence["free"]


def test_the_boot_has_a_name() -> None:
    assert len(disk.boot_id()) == 36
    assert disk.boot_id() == disk.boot_id()
