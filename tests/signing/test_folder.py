from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signing import envelope, folder, limits, statement
from signing.errors import CodedError
from tests.signing.support import key, refused
from tests.signing.test_statement import listing, shards

SOME = {
    "model.bin": b"\0\1\2weights",
    "labels.txt": b"person\ncar\n",
    "sub/deep/x.bin": b"",
    ".env": b"A=1\n",
    ".cache/w": b"w",
}


def fill(place: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "m"
    place.mkdir()
    return fill(place, SOME)


def names(signature: bytes) -> set[str]:
    return set(statement.parse(envelope.read(signature).payload).names)


def test_a_folder_is_signed_and_verified(model: Path) -> None:
    signature = folder.sign_model(model, key())
    assert folder.verify_model(model, signature, key().public).names == set(SOME) == names(signature)


def test_signing_twice_lists_the_same(model: Path) -> None:
    one, two = (envelope.read(folder.sign_model(model, key())).payload for _ in range(2))
    assert one == two


def test_every_single_bit_of_every_file_counts(model: Path) -> None:
    signature = folder.sign_model(model, key())
    for name, data in SOME.items():
        for bit in range(8 * len(data)):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            (model / name).write_bytes(bad)
            with pytest.raises(CodedError):
                folder.verify_model(model, signature, key().public)
        (model / name).write_bytes(data)
    folder.verify_model(model, signature, key().public)


def test_each_change_has_its_own_code(model: Path) -> None:
    signature = folder.sign_model(model, key())

    def verify() -> object:
        return folder.verify_model(model, signature, key().public)

    (model / "labels.txt").write_bytes(b"person\r\ncar\r\n")
    refused("LINE_ENDINGS_CHANGED", verify, "labels.txt", "signed LF, found CR LF")
    (model / "model.bin").write_bytes(b"other")
    refused("LINE_ENDINGS_CHANGED", verify)
    (model / "labels.txt").write_bytes(SOME["labels.txt"])
    refused("PAYLOAD_DIGEST_MISMATCH", verify, "model.bin", "signed", "5 bytes")
    (model / "new").write_bytes(b"")
    refused("EXTRA_FILE", verify, "new", "5 files", "6 files")
    (model / "sub/deep/x.bin").unlink()
    refused("FILE_MISSING", verify, "sub/deep/x.bin")


def test_git_files_at_the_top_are_left_out_and_nothing_else_is(model: Path) -> None:
    fill(model, {".git/HEAD": b"", ".github/ci.yml": b"", ".gitignore": b"", ".gitattributes": b"", "sub/.gitignore": b""})
    signature = folder.sign_model(model, key())
    assert names(signature) == {*SOME, "sub/.gitignore"}
    (model / ".git/config").write_bytes(b"later")
    folder.verify_model(model, signature, key().public)


def test_ignored_paths_in_every_spelling(model: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for spelling in ("sub", "sub/", "./sub", str(model / "sub"), model / "sub", "sub/deep/.."):
        signature = folder.sign_model(model, key(), ignore=[spelling, tmp_path / "elsewhere", "../x", ".", ""])
        assert names(signature) == set(SOME) - {"sub/deep/x.bin"}, spelling
        folder.verify_model(model, signature, key().public)
    (model / "sub/more").write_bytes(b"")
    folder.verify_model(model, signature, key().public)


def test_what_is_signed_is_read_even_where_it_is_ignored(model: Path) -> None:
    signature = folder.sign_model(model, key())
    folder.verify_model(model, signature, key().public, ignore=["sub", "model.bin"])
    (model / "model.bin").write_bytes(b"x")
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: folder.verify_model(model, signature, key().public, ignore=["model.bin"]))


def test_a_statement_that_ignores_everything_still_lets_no_stranger_in(model: Path) -> None:
    signed = {name: folder.digest_file(model / name, name).sha256 for name in SOME}
    signature = envelope.sign(statement.build("m", signed, [".", "", "..", "/", str(model)[:1]]), key())
    folder.verify_model(model, signature, key().public)
    (model / "new").write_bytes(b"")
    refused("EXTRA_FILE", lambda: folder.verify_model(model, signature, key().public), "new")


def test_the_signature_may_lie_inside(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = model / "sub" / "model.sig"
    inside.write_bytes(folder.sign_model(model, key(), output=inside))
    assert names(inside.read_bytes()) == set(SOME)
    folder.verify_model(model, inside.read_bytes(), key().public)  # recorded as ignored
    moved = inside.rename(model / "other.sig")
    monkeypatch.chdir(model.parent)
    folder.verify_model(Path("m"), moved.read_bytes(), key().public, signature_path=Path("m/other.sig"))


def test_unsigned_files_on_request(model: Path) -> None:
    signature = folder.sign_model(model, key())
    (model / "new").symlink_to("/etc/passwd")
    folder.verify_model(model, signature, key().public, ignore_unsigned=True)
    (model / "model.bin").unlink()
    refused("FILE_MISSING", lambda: folder.verify_model(model, signature, key().public, ignore_unsigned=True), "model.bin")


def test_a_name_that_leads_out_is_never_opened(model: Path) -> None:
    (model.parent / "secret").write_bytes(b"a")
    signature = envelope.sign(listing(("../secret", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")), key())
    for ignore_unsigned in (True, False):
        refused(
            "UNSAFE_PATH",
            partial(folder.verify_model, model, signature, key().public, ignore_unsigned=ignore_unsigned),
        )


@pytest.mark.parametrize("target", ["model.bin", "/etc/hostname", ".", "nowhere", "link"])
def test_links_are_never_followed(model: Path, target: str) -> None:
    signature = folder.sign_model(model, key())
    (model / "link").symlink_to(target)
    refused("UNSAFE_PATH", lambda: folder.sign_model(model, key()), "a symbolic link", "a regular file")
    refused("UNSAFE_PATH", lambda: folder.verify_model(model, signature, key().public), "a symbolic link")


@pytest.mark.parametrize("ignore_unsigned", [False, True])
def test_a_signed_file_that_became_a_link(model: Path, ignore_unsigned: bool) -> None:
    signature = folder.sign_model(model, key())

    def verify() -> object:
        return folder.verify_model(model, signature, key().public, ignore_unsigned=ignore_unsigned)

    (model / "model.bin").rename(model.parent / "model.bin")
    (model / "model.bin").symlink_to(model.parent / "model.bin")
    refused("UNSAFE_PATH", verify, "a symbolic link")
    (model / "model.bin").unlink()
    (model.parent / "model.bin").rename(model / "model.bin")
    (model / "sub").rename(model.parent / "sub")
    (model / "sub").symlink_to(model.parent / "sub")
    refused("UNSAFE_PATH", verify, "a symbolic link")


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def test_pipes_and_sockets_are_refused_without_waiting_for_them(short: Path) -> None:
    os.mkfifo(short / "pipe")
    refused("UNSAFE_PATH", lambda: folder.sign_model(short, key()), "a pipe")
    refused("UNSAFE_PATH", lambda: folder.sign_model(short / "pipe", key()), "a pipe")
    (short / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(short / "sock"))
        refused("UNSAFE_PATH", lambda: folder.sign_model(short, key()), "a socket")


def test_names_that_are_no_utf8(model: Path) -> None:
    (model / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    error = refused("UNSAFE_PATH", lambda: folder.sign_model(model, key()), "no UTF-8")
    error.render().encode("utf-8")


def test_a_file_where_a_folder_was_and_the_reverse(model: Path) -> None:
    signature = folder.sign_model(model, key())
    (model / "model.bin").unlink()
    (model / "model.bin").mkdir()
    refused("UNSAFE_PATH", lambda: folder.verify_model(model, signature, key().public), "a folder")
    (model / "model.bin").rmdir()
    fill(model, {"model.bin": SOME["model.bin"]})
    (model / "sub/deep/x.bin").unlink()
    (model / "sub/deep").rmdir()
    (model / "sub/deep").write_bytes(b"")
    refused("FILE_MISSING", lambda: folder.verify_model(model, signature, key().public), "sub/deep/x.bin")


def test_an_empty_model_is_not_signed(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    refused("FILE_MISSING", lambda: folder.sign_model(tmp_path, key()), "0 files")
    refused("FILE_MISSING", lambda: folder.sign_model(tmp_path / "none", key()), "No such file")


def test_folders_nested_without_end(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * (limits.FOLDER_DEPTH + 1))
    deepest.mkdir(parents=True)
    fill(deepest.parent, {"ok": b""})
    refused(
        "SIZE_LIMIT",
        lambda: folder.sign_model(tmp_path, key()),
        f"{limits.FOLDER_DEPTH + 1} levels",
        f"{limits.FOLDER_DEPTH} levels",
    )


@pytest.mark.parametrize("kind", ["P-384", "P-521"])
def test_the_other_curves_of_the_format(model: Path, kind: str) -> None:
    signature = folder.sign_model(model, key("x", kind))
    folder.verify_model(model, signature, key("x", kind).public)
    refused("UNTRUSTED_SIGNER", lambda: folder.verify_model(model, signature, key("y", kind).public))


def test_ed25519_signs_no_model(model: Path) -> None:
    refused("KEY_TYPE_UNSUPPORTED", lambda: folder.sign_model(model, key("x", "Ed25519")), "Ed25519", "P-256")
    refused("KEY_TYPE_UNSUPPORTED", lambda: folder.verify_model(model, b"", key("x", "Ed25519").public), "Ed25519", "P-256")


def test_one_file_is_a_model_too(model: Path) -> None:
    path = model / "model.bin"
    signature = folder.sign_model(path, key())
    assert names(signature) == {"model.bin"}
    folder.verify_model(path, signature, key().public)
    refused("FILE_MISSING", lambda: folder.verify_model(model / "labels.txt", signature, key().public), "model.bin")
    path.write_bytes(b"x")
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: folder.verify_model(path, signature, key().public))


def test_one_file_called_dot_by_older_tools(model: Path) -> None:
    path = model / "model.bin"
    signature = envelope.sign(listing((".", folder.digest_file(path, "x").sha256)), key())
    folder.verify_model(path, signature, key().public)
    refused("UNSAFE_PATH", lambda: folder.verify_model(model, signature, key().public), "a folder")


def test_shards_are_checked_one_by_one(tmp_path: Path) -> None:
    from hashlib import sha256

    (tmp_path / "a").write_bytes(b"0123456789abc")
    whole = [("a:0:10", sha256(b"0123456789").hexdigest()), ("a:10:13", sha256(b"abc").hexdigest())]
    signature = envelope.sign(listing(*whole, method="shards", shard_size=10), key())
    assert folder.verify_model(tmp_path, signature, key().public).names == {"a"}
    (tmp_path / "a").write_bytes(b"0123456789abX")
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: folder.verify_model(tmp_path, signature, key().public), "bytes 10 to 13")
    (tmp_path / "a").write_bytes(b"0123456789abc+")
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: folder.verify_model(tmp_path, signature, key().public), "13 bytes", "14 bytes")
    (tmp_path / "a").write_bytes(b"0123456789abc")
    (tmp_path / "empty").write_bytes(b"")  # shards cannot list it, so nobody signed it
    refused("EXTRA_FILE", lambda: folder.verify_model(tmp_path, signature, key().public), "empty")
    assert not shards("a:0:10").files


NAMES = st.lists(
    st.sampled_from(["a", "b c", "ä", "模型", "-", "(copy)", "\u202ex", "new\nline", ".h", "a:0:1", "*"]),
    min_size=1,
    max_size=3,
)


PATHS = NAMES.map(lambda parts: "/".join([*(f"{part}{depth}" for depth, part in enumerate(parts)), "f"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(PATHS, st.binary(max_size=9), min_size=1, max_size=5))
def test_round_trip_of_any_folder(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    place = fill(tmp_path_factory.mktemp("any"), files)
    signature = folder.sign_model(place, key())
    assert folder.verify_model(place, signature, key().public).names == set(files)
