from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing import digests, limits, statement
from signing.errors import CodedError
from tests.signing.support import FILES, changed, payload, refused, table

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
Change = Callable[[dict[str, Any]], object]


def predicate(found: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = found["predicate"]
    return part


def rooted(found: dict[str, Any]) -> dict[str, Any]:
    """The root digest made right again after a change."""
    digest = hashlib.sha256(b"".join(bytes.fromhex(entry["digest"]) for entry in predicate(found)["resources"]))
    found["subject"][0]["digest"]["sha256"] = digest.hexdigest()
    return found


def listing(*entries: tuple[str, str], method: str = "files", **serialization: object) -> bytes:
    algorithm = f"sha256-sharded-{serialization['shard_size']}" if method == "shards" else "sha256"

    def change(found: dict[str, Any]) -> None:
        predicate(found)["serialization"] = {"method": method, "hash_type": "sha256", "allow_symlinks": False, **serialization}
        predicate(found)["resources"] = [{"name": name, "algorithm": algorithm, "digest": digest} for name, digest in entries]
        rooted(found)

    return changed(payload(), change)


def test_names_come_in_code_point_order() -> None:
    built = json.loads(statement.build("m", dict.fromkeys(["a/b", "a-b", "a.b", "ä", "Z", "\U0001f600", "\uffff"], A)))
    names = [entry["name"] for entry in built["predicate"]["resources"]]
    assert names == ["Z", "a-b", "a.b", "a/b", "ä", "\uffff", "\U0001f600"]


def test_any_order_is_read() -> None:
    files = statement.parse(listing(("b", B), ("a", A))).files
    assert files == statement.parse(listing(("a", A), ("b", B))).files == {"a": A, "b": B}


def test_nothing_to_sign() -> None:
    refused("FILE_MISSING", lambda: statement.build("m", {}), "0 files", "at least 1")
    with pytest.raises(ValueError, match="no SHA-256"):
        statement.build("m", {"a": "F" * 64})


REFUSED: dict[str, tuple[str, Change]] = {
    "later statement": ("FORMAT_UNSUPPORTED", lambda d: d.update(_type="https://in-toto.io/Statement/v2")),
    "other statement": ("SIGNATURE_FORMAT", lambda d: d.update(_type="https://example.org/x")),
    "no type": ("SIGNATURE_FORMAT", lambda d: d.pop("_type")),
    "older predicate": ("FORMAT_UNSUPPORTED", lambda d: d.update(predicateType="https://model_signing/Digests/v0.1")),
    "other predicate": ("SIGNATURE_FORMAT", lambda d: d.update(predicateType="https://slsa.dev/provenance/v1")),
    "no predicate": ("SIGNATURE_FORMAT", lambda d: d.pop("predicate")),
    "more in the predicate": ("SIGNATURE_FORMAT", lambda d: predicate(d).update(camagent=1)),
    "other method": ("FORMAT_UNSUPPORTED", lambda d: predicate(d)["serialization"].update(method="tree")),
    "other hash": ("FORMAT_UNSUPPORTED", lambda d: predicate(d)["serialization"].update(hash_type="blake3")),
    "new parameter": ("FORMAT_UNSUPPORTED", lambda d: predicate(d)["serialization"].update(follow=True)),
    "ignored paths are text": ("SIGNATURE_FORMAT", lambda d: predicate(d)["serialization"].update(ignore_paths="a")),
    "symlinks are text": ("SIGNATURE_FORMAT", lambda d: predicate(d)["serialization"].update(allow_symlinks="no")),
    "two subjects": ("SIGNATURE_FORMAT", lambda d: d.update(subject=d["subject"] * 2)),
    "subject is text": ("SIGNATURE_FORMAT", lambda d: d.update(subject=["m"])),
    "no subject": ("SIGNATURE_FORMAT", lambda d: d.pop("subject")),
    "other root": ("SIGNATURE_FORMAT", lambda d: d["subject"][0]["digest"].update(sha256=A)),
    "no resources": ("SIGNATURE_FORMAT", lambda d: (predicate(d).update(resources=[]), rooted(d))),
    "resource is text": ("SIGNATURE_FORMAT", lambda d: predicate(d).update(resources=["a"])),
    "more in a resource": ("SIGNATURE_FORMAT", lambda d: predicate(d)["resources"][0].update(uri="x")),
    "hash of a resource": ("FORMAT_UNSUPPORTED", lambda d: predicate(d)["resources"][0].update(algorithm="blake2b")),
    "upper case": ("SIGNATURE_FORMAT", lambda d: predicate(d)["resources"][0].update(digest=A.upper())),
    "short digest": ("SIGNATURE_FORMAT", lambda d: predicate(d)["resources"][0].update(digest="ab")),
    "digest with newline": ("SIGNATURE_FORMAT", lambda d: predicate(d)["resources"][0].update(digest=A + "\n")),
    "doubled": (
        "SIGNATURE_FORMAT",
        lambda d: (predicate(d)["resources"].append(dict(predicate(d)["resources"][0])), rooted(d)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_statements_that_are_refused(name: str) -> None:
    code, change = REFUSED[name]
    refused(code, lambda: statement.parse(changed(payload(), change)))


UNSAFE = ["", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a/./b", "a//b", "a/", "..", "a\0b", "a\ud800", "//x"]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_are_never_allowed(name: str) -> None:
    refused("UNSAFE_PATH", lambda: statement.parse(listing((name, A), ("ok", B))))
    refused("UNSAFE_PATH", lambda: statement.build("m", {name: A}))


@pytest.mark.parametrize(
    "name", ["a b", "a\nb", "a\\b", "...", ".git", "-x", "a:b", "cam[/]", "\u202eexe", "e\u0301", "模型.bin", "a" * 255]
)
def test_names_that_are_merely_nasty(name: str) -> None:
    built = statement.build("m", {name: A})
    assert built.isascii()
    assert statement.parse(built).files == {name: A}


def test_long_names() -> None:
    longest = "/".join(["a" * 255] * 16) + "b"  # 4096
    assert statement.parse(statement.build("m", {longest: A})).names == {longest}
    refused("SIZE_LIMIT", lambda: statement.build("m", {longest + "c": A}), "4097", f"{limits.NAME_BYTES}")


def test_a_file_is_no_folder() -> None:
    refused("SIGNATURE_FORMAT", lambda: statement.parse(listing(("a", A), ("a/b/c", B))), "'a' is a file")


def test_a_single_file_may_be_called_dot_and_nothing_else_may() -> None:
    assert statement.parse(listing((".", A))).names == {"."}
    refused("UNSAFE_PATH", lambda: statement.parse(listing((".", A), ("b", B))))


def shards(*names: str, size: object = 10) -> statement.Statement:
    return statement.parse(listing(*[(name, A) for name in names], method="shards", shard_size=size))


def test_shards_cover_their_file() -> None:
    found = shards("b:0:3", "a:10:20", "a:0:10", "a:20:21", "c:d:0:10", "empty:0:0")
    assert {name: [(one.start, one.end) for one in pieces] for name, pieces in found.shards.items()} == {
        "a": [(0, 10), (10, 20), (20, 21)], "b": [(0, 3)], "c:d": [(0, 10)], "empty": [(0, 0)],
    }  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ("a:10:20",),
        ("a:0:10", "a:20:30"),
        ("a:0:10", "a:0:10"),
        ("a:0:5", "a:5:10"),
        ("a:0:11",),
        ("a:0:10", "a:10:10"),
        ("a",),
        ("a:0",),
        ("a:00:10",),
        ("a:-1:10",),
        ("a:0:x",),
        (":0:10",),
        ("a:0:" + "9" * 30,),
        ("a:5:0",),
    ],
)
def test_shards_with_gaps_or_overlaps(names: tuple[str, ...]) -> None:
    refused("SIGNATURE_FORMAT", lambda: shards(*names))


def test_shards_of_unsafe_files() -> None:
    refused("UNSAFE_PATH", lambda: shards("../a:0:10"))


@pytest.mark.parametrize("size", [0, -1, 0.5, True, "10", None, 1e300])
def test_shard_sizes_that_are_none(size: object) -> None:
    refused("SIGNATURE_FORMAT", lambda: shards("a:0:10", size=size))


def test_shard_sizes_are_whole_floats_in_the_public_tool() -> None:
    data = listing(("a:0:10", A), method="shards", shard_size=10).replace(b'"shard_size":10', b'"shard_size":10.0')
    assert b"10.0" in data
    assert statement.parse(data).names == {"a"}


def test_tables_are_compared_in_designs_order() -> None:
    signed = {name: found.sha256 for name, found in table().items()}
    digests.check_table(signed, table())
    without = {name: found for name, found in table().items() if name != "model.onnx"}
    extra = digests.digest_bytes(b"")
    refused("FILE_MISSING", lambda: digests.check_table(signed, without | {"x": extra}), "model.onnx", "3 files")
    refused(
        "EXTRA_FILE", lambda: digests.check_table(signed, table() | {".git/x": extra, "model.onnx": extra}), ".git/x", "4 files"
    )
    endings = table(dict(FILES) | {"bundle.json": FILES["bundle.json"].replace(b"\n", b"\r\n"), "golden/bus.jpg": b"x"})
    refused("LINE_ENDINGS_CHANGED", lambda: digests.check_table(signed, endings), "signed LF, found CR LF", "bundle.json")
    other = table(dict(FILES) | {"golden/bus.jpg": b"x"})
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: digests.check_table(signed, other), signed["golden/bus.jpg"], "1 bytes")


@pytest.mark.parametrize("signed, found, code", [
    (b"a\nb\n", b"a\r\nb\r\n", "LINE_ENDINGS_CHANGED"),
    (b"a\r\nb\r\n", b"a\nb\n", "LINE_ENDINGS_CHANGED"),
    (b"a\nb\n", b"a\r\nb\n", "LINE_ENDINGS_CHANGED"),
    (b"a\nb\n", b"a\r\nc\r\n", "PAYLOAD_DIGEST_MISMATCH"),
    (b"a\n\0", b"a\r\n\0", "PAYLOAD_DIGEST_MISMATCH"),
    (b"x" * limits.TEXT_BYTES + b"\n", b"x" * limits.TEXT_BYTES + b"\r\n", "PAYLOAD_DIGEST_MISMATCH"),
    (b"a", b"b", "PAYLOAD_DIGEST_MISMATCH"),
])  # fmt: skip
def test_line_endings(signed: bytes, found: bytes, code: str) -> None:
    refused(code, lambda: digests.check_file("f", digests.digest_bytes(signed).sha256, digests.digest_bytes(found)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_chunks_make_no_difference(chunks: list[bytes]) -> None:
    hasher = digests.Hasher()
    for chunk in chunks:
        hasher.update(memoryview(chunk))
    assert hasher.finish() == digests.digest_bytes(b"".join(chunks))


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=12).filter(
    lambda n: n not in {".", ".."}
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=5), min_size=1, max_size=8))
def test_round_trip_of_any_flat_folder(files: dict[str, bytes]) -> None:
    signed = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert statement.parse(statement.build("m", signed)).files == signed


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_json_in_any_place_gives_a_refusal_or_a_statement(data: st.DataObject) -> None:
    found = json.loads(payload())
    places = [(found, key) for key in found] + [(predicate(found), key) for key in predicate(found)]
    places += [(predicate(found)["serialization"], key) for key in predicate(found)["serialization"]]
    places += [(predicate(found)["resources"][0], key) for key in ("name", "algorithm", "digest")]
    place, name = data.draw(st.sampled_from(places))
    place[name] = data.draw(st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=2))
    try:
        statement.parse(json.dumps(found).encode())
    except CodedError as exc:
        exc.render()
