"""The container: what is allowed in it, in which order, and that nothing else is ever opened."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_pkg import archive, limits
from firmware_pkg.errors import Refused
from firmware_pkg.tar_reader import Reader, SeekingReader
from tests.support.bundles import Pipe, TarMember, blob_document, dumped, packed, parsed
from tests.test_manifest import MODEL, encoded

MANIFEST = TarMember("bundle.json", encoded())
PAYLOAD = TarMember("model.onnx", MODEL)
SIGNATURE = TarMember(f"signatures/{'0' * 64}.sig", b"{}")
ROOT = TarMember("signatures/2.root.json", b"{}")
WHOLE = packed([MANIFEST, SIGNATURE, PAYLOAD])

READERS: dict[str, Callable[[bytes], Reader]] = {
    "streaming": lambda data: Reader(cast("BinaryIO", Pipe(data, 333))),
    "seeking": lambda data: SeekingReader(io.BytesIO(data)),
}


def contents(reader: Reader) -> dict[str, bytes]:
    """The whole bundle, as strictly as every user of the reader: front, order, declared lengths, names."""
    front, member = archive.read_front(reader)
    found = {}
    while member is not None:
        archive.require_declared_size(member, front.manifest)
        found[member.name] = b"".join(bytes(chunk) for chunk in reader.chunks())
        member = reader.next()
    archive.require_names(front.manifest, reader.names)
    return found


def skipped(reader: Reader) -> None:
    front, member = archive.read_front(reader)
    while member is not None:
        archive.require_declared_size(member, front.manifest)
        reader.skip()
        member = reader.next()
    archive.require_names(front.manifest, reader.names)


def refusals(data: bytes) -> set[str]:
    """The codes by every way of reading; one, or the ways disagree."""
    codes = set()
    for make in READERS.values():
        for way in (contents, skipped):
            with pytest.raises(Refused) as caught:
                way(make(data))
            assert caught.value.fix
            assert len(caught.value.evidence) >= 2, caught.value.render()
            codes.add(caught.value.code)
    return codes


def test_a_bundle_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cambundle"
    archive.write(
        path, parsed(blob_document({"a/b.bin": b"x" * 513, "model.onnx": b""})), {"a/b.bin": b"x" * 513, "model.onnx": b""}
    )
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["bundle.json", "a/b.bin", "model.onnx"]
    for make in READERS.values():
        assert contents(make(path.read_bytes())) == {"a/b.bin": b"x" * 513, "model.onnx": b""}
    assert archive.read_manifest(path)[0].name == "blobs"
    assert not (tmp_path / "a.cambundle.part").exists()


def test_what_other_tools_pack_is_read(tmp_path: Path) -> None:
    """GNU tar's own format and plain ustar: what `tar xf`, an edit and `tar cf` leave."""
    (tmp_path / "bundle.json").write_bytes(encoded())
    (tmp_path / "model.onnx").write_bytes(MODEL)
    for form in ("gnu", "ustar", "v7"):
        os.system(f"cd {tmp_path} && tar --format={form} -cf {form}.cambundle bundle.json model.onnx")
        assert contents(Reader(io.BytesIO((tmp_path / f"{form}.cambundle").read_bytes()))) == {"model.onnx": MODEL}


BIG_SIG = TarMember(SIGNATURE.name, declared=limits.SIGNATURE_BYTES + 1)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([MANIFEST, PAYLOAD, TarMember("extra")], "EXTRA_FILE"),
        ([MANIFEST], "FILE_MISSING"),
        ([MANIFEST, SIGNATURE], "FILE_MISSING"),
        ([MANIFEST, TarMember("model.onnx", MODEL + b"!")], "BUNDLE_TRUNCATED"),
        ([], "MANIFEST_INVALID"),
        ([PAYLOAD, MANIFEST], "MANIFEST_INVALID"),
        ([SIGNATURE, MANIFEST, PAYLOAD], "MANIFEST_INVALID"),
        ([TarMember("bundle.json", b"{}"), PAYLOAD], "MANIFEST_INVALID"),
        ([MANIFEST, PAYLOAD, SIGNATURE], "UNSAFE_PATH"),
        ([MANIFEST, PAYLOAD, MANIFEST], "UNSAFE_PATH"),
        ([MANIFEST, MANIFEST, PAYLOAD], "UNSAFE_PATH"),
        ([MANIFEST, PAYLOAD, PAYLOAD], "UNSAFE_PATH"),
        ([MANIFEST, SIGNATURE, SIGNATURE, PAYLOAD], "UNSAFE_PATH"),
        ([MANIFEST, PAYLOAD, TarMember("model.onnx/a")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("model.onnx/a"), PAYLOAD], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("bundle.json/a")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("signatures")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("signatures/readme.txt")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("signatures/0.root.json")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("signatures/a/b.sig")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("signatures/.sig")], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("../model.onnx", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("/etc/passwd", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("./model.onnx", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("a//b", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("a\\b", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("a\u202eb", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("a\x1b[2Jb", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("a\udcffb", MODEL)], "UNSAFE_PATH"),
        ([MANIFEST, TarMember("", MODEL)], "UNSAFE_PATH"),
        ([TarMember("bundle.json", declared=limits.MANIFEST_BYTES + 1)], "SIZE_LIMIT"),
        ([MANIFEST, BIG_SIG], "SIZE_LIMIT"),
        ([MANIFEST, TarMember("signatures/1.root.json", declared=2**19 + 1)], "SIZE_LIMIT"),
        ([MANIFEST, TarMember("model.onnx", declared=limits.MEMBER_BYTES + 1)], "SIZE_LIMIT"),
        ([MANIFEST, TarMember("model.onnx", declared=2**70)], "SIZE_LIMIT"),
        ([MANIFEST, TarMember("model.onnx", declared=-5)], "SIZE_LIMIT"),
        ([MANIFEST, *(TarMember(f"signatures/{i}.sig") for i in range(17))], "SIZE_LIMIT"),
        ([MANIFEST, *(TarMember(f"f{i}") for i in range(limits.MEMBERS))], "SIZE_LIMIT"),
    ],
)  # fmt: skip
def test_a_container_that_is_not_as_it_must_be_is_refused(members: list[TarMember], code: str) -> None:
    assert refusals(packed(members)) == {code}


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.DIRTYPE, "folder"),
        (tarfile.FIFOTYPE, "pipe"), (tarfile.CHRTYPE, "device"), (tarfile.BLKTYPE, "device"), (tarfile.CONTTYPE, "type"),
        (tarfile.XHDTYPE, "pax"), (tarfile.XGLTYPE, "pax"), (tarfile.GNUTYPE_LONGNAME, "GNU long name"),
        (tarfile.GNUTYPE_LONGLINK, "GNU long link"), (tarfile.GNUTYPE_SPARSE, "sparse"), (b"Z", "type"),
    ],
)  # fmt: skip
def test_only_regular_files_are_allowed_and_no_extension_is_followed(kind: bytes, word: str) -> None:
    for members in ([TarMember("bundle.json", kind=kind, link="x")], [MANIFEST, TarMember("model.onnx", MODEL, kind, "../x")]):
        data = packed(members)
        assert refusals(data) == {"UNSAFE_PATH"}
        with pytest.raises(Refused) as caught:
            contents(Reader(io.BytesIO(data)))
        assert word in caught.value.evidence["found"]


def test_pax_headers_that_rename_or_lengthen_are_never_followed() -> None:
    record = b"22 path=../etc/passwd\n"
    assert refusals(packed([TarMember("x", record, tarfile.XHDTYPE), MANIFEST, PAYLOAD])) == {"UNSAFE_PATH"}
    assert refusals(packed([MANIFEST, TarMember("x", b"16 size=9999999\n", tarfile.XHDTYPE), PAYLOAD])) == {"UNSAFE_PATH"}


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.full(seconds=3))])
def test_every_truncation_is_refused(step: int) -> None:
    end = len(WHOLE.rstrip(b"\0"))
    end += -end % 512 + 1024  # the end marker included: what follows is padding that nobody needs
    for length in sorted({*range(0, end, step), *range(0, end, 512), end - 1}):
        for make in READERS.values():
            with pytest.raises(Refused) as caught:
                contents(make(WHOLE[:length]))
            assert caught.value.code == "BUNDLE_TRUNCATED", f"cut at {length}: {caught.value.render()}"
    assert contents(Reader(io.BytesIO(WHOLE[:end]))) == {"model.onnx": MODEL}


def test_data_behind_the_end_is_refused() -> None:
    assert refusals(WHOLE + b"x") == {"SIZE_LIMIT"}
    assert refusals(WHOLE + bytes(limits.TRAILING_BYTES)) == {"SIZE_LIMIT"}
    assert refusals(WHOLE + packed([TarMember("evil")])) == {"SIZE_LIMIT"}
    broken = packed([MANIFEST, PAYLOAD])
    marker = len(broken.rstrip(b"\0")) // 512 * 512 + 512
    assert refusals(broken[: marker + 512] + b"x" * 512) == {"BUNDLE_TRUNCATED"}


def test_the_whole_may_not_be_larger_than_a_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_BYTES", 4096)
    assert refusals(packed([MANIFEST, TarMember("model.onnx", bytes(2000))])) == {"BUNDLE_TRUNCATED"}
    assert refusals(packed([MANIFEST, TarMember("model.onnx", bytes(4000))])) == {"SIZE_LIMIT"}


def test_the_signatures_together_have_a_limit() -> None:
    listed = [TarMember(f"signatures/{i}.sig", bytes(limits.SIGNATURE_BYTES)) for i in range(16)]
    listed += [TarMember(f"signatures/{i}.root.json", bytes(2**19)) for i in range(1, 18)]
    assert refusals(packed([MANIFEST, *listed])) == {"SIZE_LIMIT"}


def test_a_giant_length_reserves_no_memory() -> None:
    import tracemalloc

    data = packed([TarMember("bundle.json", dumped(blob_document({"model.onnx": b""}) | {"files": {"model.onnx": 400 << 20}})),
                   TarMember("model.onnx", declared=400 << 20)])  # fmt: skip
    tracemalloc.start()
    assert refusals(data) == {"BUNDLE_TRUNCATED"}
    reader = SeekingReader(io.BytesIO(data))
    archive.read_front(reader)
    with pytest.raises(Refused):
        reader.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def feed(pipe: int, data: bytes) -> None:
    os.write(pipe, data)
    os.close(pipe)


def test_the_container_is_poured_out_byte_for_byte(tmp_path: Path) -> None:
    """From a real pipe, into a file without a buffer."""
    data = packed([MANIFEST, SIGNATURE, ROOT, TarMember("model.onnx", MODEL)])
    ours, theirs = os.pipe()
    writer = threading.Thread(target=feed, args=(theirs, data))
    writer.start()
    with os.fdopen(ours, "rb", buffering=0) as source, (tmp_path / "kept").open("wb", buffering=0) as sink:
        reader = Reader(cast("BinaryIO", source))
        _, member = archive.read_front(reader)
        assert member is not None
        assert (tmp_path / "kept").stat().st_size == 0
        reader.pour_into(cast("BinaryIO", sink))
        assert reader.next() is None
    writer.join()
    assert (tmp_path / "kept").read_bytes() == data


@given(st.binary(max_size=1100))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    for make in READERS.values():
        with pytest.raises(Refused):
            contents(make(data))
