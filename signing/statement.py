"""The in-toto statement of OpenSSF Model Signing v1.0: which files, which digests. Bytes in, values out; nothing is opened."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from signing.digests import require_safe_name
from signing.encoding import JsonObject, first_doubled, member, only_keys, read_json_object
from signing.refusals import FileMissing, FormatUnsupported, SignatureFormat

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
FILES, SHARDS = "files", "shards"
SINGLE_FILE = "."  # what releases before 1.0 of the public tool call the only file of a model that is one file
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHARD = re.compile(r"(?P<path>.+):(?P<start>0|[1-9][0-9]{0,17}):(?P<end>0|[1-9][0-9]{0,17})", re.ASCII | re.DOTALL)
_WHERE = "the signed statement"
_UPDATE = "sign with a tool that writes OpenSSF Model Signing v1.0: camagent, or model-signing 1.0 and newer"
_AGAIN = "sign again: the tool that wrote this made a mistake, or somebody else wrote it"


@dataclass(frozen=True, slots=True)
class Shard:
    """Bytes start..end of a file, and their SHA-256."""

    start: int
    end: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody signed: names and digests. `files` is empty where whole files are not listed (method shards)."""

    subject: str
    files: Mapping[str, str]  # name -> lowercase hex SHA-256
    shards: Mapping[str, tuple[Shard, ...]]  # name -> its bytes without gap, in order
    ignore_paths: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """All signed file names."""
        return frozenset(self.files) | frozenset(self.shards)

    def same_content(self, other: Statement) -> bool:
        """True when both list the same names and digests; subject and order are somebody's taste."""
        return self.files == other.files and self.shards == other.shards


def build(subject: str, files: Mapping[str, str], ignore_paths: Sequence[str] = ()) -> bytes:
    """The payload that is signed, for method `files`; resources in code-point order of their names.

    Raises:
        FileMissing: there is no file to sign.
        UnsafePath: a name is never allowed.
        ValueError: a digest is no lowercase SHA-256 (a mistake of the caller's).
    """
    if not files:
        evidence = {"found": "0 files", "expected": "at least 1"}
        raise FileMissing("there is nothing to sign", evidence=evidence, fix="check the folder and the ignored paths")
    resources = []
    for name in sorted(files):
        require_safe_name(name)
        if not _HEX.fullmatch(files[name]):
            raise ValueError(f"{name}: {files[name]!r} is no SHA-256 in lowercase hex")
        resources.append({"name": name, "algorithm": "sha256", "digest": files[name]})
    subject = subject.encode("utf-8", "backslashreplace").decode(
        "utf-8"
    )  # informational; a name that is no UTF-8 would not parse
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject, "digest": {"sha256": _root_digest([files[name] for name in sorted(files)])}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": FILES,
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignore_paths),
            },
            "resources": resources,
        },
    }
    return json.dumps(statement, separators=(",", ":")).encode("ascii")


def _root_digest(digests: Sequence[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def check_version(payload: bytes) -> JsonObject:
    """The statement as JSON, of a version and method that are known here. Its content is not looked at yet.

    Raises:
        SignatureFormat: no in-toto statement about a model.
        FormatUnsupported: one of a version, method or hash that is unknown here.
    """
    found = read_json_object(payload, _WHERE)
    _expect("statement type", member(found, "_type", str, _WHERE), STATEMENT_TYPE, "https://in-toto.io/Statement")
    _expect("predicate type", member(found, "predicateType", str, _WHERE), PREDICATE_TYPE, "https://model_signing/")
    serialization = member(member(found, "predicate", dict, _WHERE), "serialization", dict, _WHERE)
    _expect("method", member(serialization, "method", str, _WHERE), (FILES, SHARDS), "")
    _expect("hash", member(serialization, "hash_type", str, _WHERE), "sha256", "")
    unknown = set(serialization) - {"method", "hash_type", "allow_symlinks", "ignore_paths", "shard_size"}
    if unknown:
        _expect("parameter of the method", min(unknown), "allow_symlinks, ignore_paths, shard_size", "")
    return found


def _expect(what: str, found: str, known: str | tuple[str, ...], family: str) -> None:
    """A later relative of what we know is unsupported; a stranger is no document of ours."""
    if found == known or (isinstance(known, tuple) and found in known):
        return
    evidence = {"found": found, "known here": known if isinstance(known, str) else " or ".join(known)}
    if found.startswith(family):
        raise FormatUnsupported(f"the {what} of this signature is unknown here", evidence=evidence, fix=_UPDATE)
    raise SignatureFormat(f"this signature is not about a model: its {what} is another one", evidence=evidence, fix=_UPDATE)


def parse(payload: bytes) -> Statement:
    """The whole statement, checked against itself.

    Raises:
        SignatureFormat: it contradicts the format or itself (root digest, doubled names, gaps between shards).
        FormatUnsupported: see check_version.
        UnsafePath: it names a file that is never allowed.
        SizeLimit: it names a file with too long a name.
    """
    found = check_version(payload)
    subjects = member(found, "subject", list, _WHERE)
    if len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise _wrong("subjects", f"{len(subjects)}", "1")
    name = member(subjects[0], "name", str, _WHERE)
    root = member(member(subjects[0], "digest", dict, _WHERE), "sha256", str, _WHERE)
    predicate = member(found, "predicate", dict, _WHERE)
    only_keys(predicate, {"serialization", "resources"}, "the predicate")
    serialization = predicate["serialization"]
    resources = _resources(member(predicate, "resources", list, _WHERE), serialization)
    if (actual := _root_digest([digest for _, digest in resources])) != root:
        raise _wrong("root digest", root, f"{actual}, from the digests that it lists")
    if serialization["method"] == SHARDS:
        files: dict[str, str] = {}
        shards = _group_shards(resources, _shard_size(serialization))
    else:
        files, shards = dict(resources), {}
        if len(files) != len(resources):
            raise _wrong("names", f"{first_doubled(name for name, _ in resources)!r} twice", "each name once")
    _require_tree(files or shards)
    return Statement(name, MappingProxyType(files), MappingProxyType(shards), _ignored(serialization))


def _wrong(what: str, found: str, expected: str) -> SignatureFormat:
    evidence = {"found": found, "expected": expected}
    return SignatureFormat(f"{_WHERE} contradicts itself or the format: {what}", evidence=evidence, fix=_AGAIN)


def _resources(listed: list[Any], serialization: JsonObject) -> list[tuple[str, str]]:
    if not listed:
        raise _wrong("resources", "an empty list", "at least one file")
    sharded = serialization["method"] == SHARDS
    algorithm = f"sha256-sharded-{_shard_size(serialization)}" if sharded else "sha256"
    found = []
    for entry in listed:
        if not isinstance(entry, dict):
            raise _wrong("resources", f"an entry of type {type(entry).__name__}", "objects")
        only_keys(entry, {"name", "algorithm", "digest"}, "a resource of the statement")
        name, digest = member(entry, "name", str, _WHERE), member(entry, "digest", str, _WHERE)
        stated = member(entry, "algorithm", str, _WHERE)
        if stated != algorithm and not (sharded and stated == "sha256"):
            raise FormatUnsupported(
                f"{name!r} is listed with a hash that is unknown here",
                evidence={"found": stated, "known here": algorithm},
                fix=_UPDATE,
            )
        if not _HEX.fullmatch(digest):
            raise _wrong(f"digest of {name!r}", digest[:80], "64 lowercase hex digits")
        if name != SINGLE_FILE:
            require_safe_name(name)
        found.append((name, digest))
    if len(found) > 1 and any(name == SINGLE_FILE for name, _ in found):
        require_safe_name(SINGLE_FILE)
    return found


def _shard_size(serialization: JsonObject) -> int:
    size = serialization.get("shard_size")  # the public tool writes 1000.0: its JSON passes through a protobuf Struct
    if isinstance(size, bool) or not isinstance(size, int | float) or not 1 <= size <= 2**53 or size != int(size):
        raise _wrong("shard_size", str(size), "a whole number of bytes")
    return int(size)


def _group_shards(resources: list[tuple[str, str]], size: int) -> dict[str, tuple[Shard, ...]]:
    grouped: dict[str, list[Shard]] = {}
    for name, digest in resources:
        match = _SHARD.fullmatch(name)
        if not match:
            raise _wrong("a shard's name", repr(name), "path:start:end")
        require_safe_name(match["path"])
        grouped.setdefault(match["path"], []).append(Shard(int(match["start"]), int(match["end"]), digest))
    for name, shards in grouped.items():
        shards.sort(key=lambda shard: (shard.start, shard.end))
        starts = [index * size for index in range(len(shards))]
        whole = all(shard.end == start + size for shard, start in zip(shards[:-1], starts, strict=False))
        last = shards[-1].end - shards[-1].start
        if [shard.start for shard in shards] != starts or not whole or not (0 < last <= size or shards[-1].end == 0):
            ranges = " ".join(f"{shard.start}:{shard.end}" for shard in shards[:6])
            raise _wrong(f"shards of {name!r}", ranges, f"the whole file in pieces of {size} bytes, each once")
    return {name: tuple(shards) for name, shards in grouped.items()}


def _require_tree(files: Mapping[str, object]) -> None:
    """No name may be a file and also the folder of another."""
    for name in files:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if (folder := "/".join(parts[:depth])) in files:
                raise _wrong("names", f"{folder!r} is a file and {name!r} lies in it", "a file or a folder")


def _ignored(serialization: JsonObject) -> tuple[str, ...]:
    listed = serialization.get("ignore_paths", [])
    if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
        raise _wrong("ignore_paths", type(listed).__name__, "a list of names")
    if not isinstance(serialization.get("allow_symlinks", False), bool):
        raise _wrong("allow_symlinks", str(serialization["allow_symlinks"]), "true or false")
    return tuple(listed)
