"""Mutated bundles, seeded: none is accepted unless all that is signed is byte-equal, none crashes, fills memory or writes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_pkg.checklist import Checklist
from firmware_pkg.verify import Policy, VerifiedBundle, load, verify
from signing.errors import CodedError
from signing.keys import PublicKey
from signing.trust import read_root, trusted_keys
from tests.signing.support import LATER
from tests.support.bundles import Pipe, TarMember, make_signed, members, packed, root_json

SEED = 20261123
MEMORY = 64 << 20
Mutation = Callable[[random.Random, bytes, list[TarMember]], bytes]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A signer whose key and signatures are the same in every run: a mutation that fails can be made again from its number."""

    private: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


ROOT_KEY, FIRST, SECOND = (Fixed(ec.derive_private_key(SEED + n, ec.SECP256R1())) for n in range(3))


@cache
def original() -> bytes:
    """Two signers of two, roots inside, a text file, a file of several chunks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        noise = random.Random(SEED).randbytes(40_000)
        extra = {"labels.txt": b"red\nblue\n", "more/noise.bin": noise, "empty": b""}
        path = make_signed(Path(folder), signers=(FIRST, SECOND), roots=[root()], extra=extra)
        return path.read_bytes()


@cache
def root() -> bytes:
    return root_json(FIRST, SECOND, root=ROOT_KEY, threshold=2, expires=LATER)


@cache
def listed() -> tuple[TarMember, ...]:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(original())
        file.flush()
        return tuple(members(Path(file.name)))


def content(data: bytes) -> dict[str, str]:
    """Everything signed, as another reader of tar files sees it: name -> SHA-256."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
    return {name: hashlib.sha256(f.read()).hexdigest() for name, f in found.items() if f and not name.startswith("signatures/")}


# -- mutations ---------------------------------------------------------------------------------------------------------


def flip_bytes(rng: random.Random, data: bytes, _: list[TarMember]) -> bytes:
    raw = bytearray(data)
    for _bit in range(rng.choice((1, 1, 1, 2, 8, 64))):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def overwrite(rng: random.Random, data: bytes, _: list[TarMember]) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((1, 4, 12, 100, 512, 5000))
    return data[:at] + rng.choice((rng.randbytes(length), bytes(length), b"7" * length, b"\xff" * length)) + data[at + length :]


def truncate(rng: random.Random, data: bytes, _: list[TarMember]) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), rng.randrange(0, len(data), 512)))]


def splice(rng: random.Random, data: bytes, _: list[TarMember]) -> bytes:
    """Blocks taken out, doubled or swapped: headers lose their contents."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    a, b = sorted((rng.randrange(len(blocks)), rng.randrange(len(blocks))))
    match rng.randrange(3):
        case 0:
            del blocks[a:b]
        case 1:
            blocks[a:a] = blocks[a:b]
        case _:
            blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def append(rng: random.Random, data: bytes, _: list[TarMember]) -> bytes:
    return data + rng.choice((b"\0", bytes(512), bytes(20_000), rng.randbytes(700), data))


def reorder(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    rng.shuffle(found)
    return packed(found)


def swap_files(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    """Payload in another order: nothing that is signed changes, so this one is accepted."""
    front, payload = found[:4], found[4:]
    rng.shuffle(payload)
    return packed(front + payload)


def leave_out(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    if rng.random() < 0.2:
        return packed([member for member in found if not member.name.endswith(".sig")])
    for _one in range(rng.choice((1, 1, 2))):
        del found[rng.randrange(len(found))]
    return packed(found)


def double(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    found.insert(rng.randrange(len(found) + 1), rng.choice(found))
    return packed(found)


NAMES = (
    "/etc/passwd", "../../evil", "a/../../evil", "./model.onnx", "model.onnx/", "more", "more/noise.bin/x", "signatures", "",
    "signatures/x.sig", "signatures/evil", "signatures/2.root.json", "signatures/../x", "bundle.json/x", ".git/config", " ",
    "a\\..\\b", "\u202egpj.exe", "a\nb", "con\x01", "x" * 100, "d/" * 40 + "x", "\udcff\udcfe", "模型.bin", "BUNDLE.JSON",
    "C:\\x", "~/x", "-rf",
)  # fmt: skip


def foreign(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    member = TarMember(rng.choice(NAMES), rng.randbytes(rng.choice((0, 1, 600))))
    found.insert(rng.randrange(len(found) + 1), member)
    return packed(found)


def rename(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    at = rng.randrange(len(found))
    found[at] = replace(found[at], name=rng.choice((*NAMES, *(m.name for m in found))))
    return packed(found)


def retype(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    """Links, devices, folders, sparse files, pax and GNU headers: in place of a file, or before it."""
    kind = rng.choice([b"\0", *(bytes([c]) for c in b"1234567xgLKSNVMDZ")])
    at = rng.randrange(len(found))
    data = rng.choice((found[at].data, b"", b"30 path=../../../../etc/evil\n\0", b"20 size=99999999999\n", rng.randbytes(100)))
    member = replace(found[at], kind=kind, link=rng.choice(("/etc/passwd", "bundle.json", "../x", "")), data=data)
    if rng.random() < 0.5:
        found[at] = member
    else:
        found.insert(at, member)
    return packed(found)


SIZES = (-1, -512, 1, 511, 513, 1 << 20, (1 << 20) + 1, 512 << 20, (512 << 20) + 1, 1 << 33, 1 << 40, 2**63, 2**70, -(2**70))


def lie_about_lengths(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    at = rng.randrange(len(found))
    found[at] = replace(found[at], declared=rng.choice(SIZES))
    return packed(found)


def header_fields(rng: random.Random, data: bytes, found: list[TarMember]) -> bytes:
    """Nonsense in one field of one header, with a checksum that is right."""
    member = rng.choice(found)
    at = data.index(member.name.encode() + b"\0")
    start, length = rng.choice(((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
    block = bytearray(data[at : at + 512])
    block[start : start + length] = rng.choice(
        (rng.randbytes(length), b"\xff" * length, b"\x80" + bytes(length - 1), b"9" * length)
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + 512 :]


def json_nonsense(rng: random.Random) -> bytes:
    depth = rng.choice((10, 1000, 100_000))
    many = b",".join(b'"f%d":1' % i for i in range(20_000))
    return rng.choice((
        b"[" * depth, b'{"a":' * depth, b'{"a":1,"a":2}', b'{"schema":1e999}', b'{"schema":' + b"9" * 5000 + b"}", b"NaN",
        b"null", b'"\\ud800"', b"\xff\xfe{}", b"", b"{}", b'{"schema": 1, "files": {' + many + b"}}", b"[" + b"1," * 100_000,
        b'{"x":"' + b"\\u0000" * 1000 + b'"}', b"\xef\xbb\xbf{}", b'{"mediaType":' + b"[" * 500 + b"]" * 500 + b"}",
    ))  # fmt: skip


def manifest_nonsense(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    raw = found[0].data
    document = json.loads(raw)
    match rng.randrange(4):
        case 0:
            raw = json_nonsense(rng)
        case 1:
            document[rng.choice(list(document))] = rng.choice(
                (None, -1, 1e308, "", "x" * 300, [], {}, [[]], {"a": {}}, True, 2**64)
            )
            raw = json.dumps(document).encode()
        case 2:
            document["files"][rng.choice(("/x", "../x", "a\0b", "bundle.json", "signatures/x.sig", "x" * 300, "new.bin"))] = 5
            raw = json.dumps(document).encode()
        case _:
            at = rng.randrange(len(raw))
            raw = raw[:at] + rng.choice((b"\xc0\x80", b"\xed\xa0\x80", b"\r", b" ", b"\0", b'"')) + raw[at:]
    return packed([replace(found[0], data=raw), *found[1:]])


def signature_nonsense(rng: random.Random, _: bytes, found: list[TarMember]) -> bytes:
    """In one .sig, in the root, or in every .sig: then no good one is left to count."""
    every = [at for at in (1, 2, 3) if found[at].name.endswith(".sig")]
    places = rng.choice(([1], [2], [3], every, every))
    kind = rng.randrange(6)
    for at in places:
        found[at] = replace(found[at], data=_nonsense(rng, kind, found, at))
    return packed(found)


def _nonsense(rng: random.Random, kind: int, found: list[TarMember], at: int) -> bytes:
    raw = found[at].data
    cut = rng.randrange(len(raw))
    match kind:
        case 0:
            return json_nonsense(rng)
        case 1 | 2 if found[at].name.endswith(".sig"):
            document = json.loads(raw)
            envelope = document["dsseEnvelope"]
            odd = ("", "=", "====", "A", "AA=A", "A" * 100_000, "é", "AAA\n", "-_-_", envelope["payload"] + "=", "\u0660")
            if kind == 1:
                envelope["payload"] = rng.choice(odd)
            else:
                envelope["signatures"][0]["sig"] = rng.choice(odd)
            return json.dumps(document).encode()
        case 3:
            return raw[:cut] + rng.choice((b"\xff", b"\\", b'"', b"}", b"", b"0")) + raw[cut + 1 :]
        case 4:
            return found[rng.choice((0, 1, 2, 3))].data
        case _:
            return raw[:cut]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes, flip_bytes, overwrite, truncate, splice, append, reorder, swap_files, leave_out, double, foreign, rename,
    retype, lie_about_lengths, header_fields, manifest_nonsense, signature_nonsense, signature_nonsense,
)  # fmt: skip


# -- the test ----------------------------------------------------------------------------------------------------------


class Sandbox:
    """Every file that is opened for writing, or made, while it is watched: there must be none."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.watching = False
        sys.addaudithook(self._hear)  # cannot be taken away again, so there is one for the whole process

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.watching:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.written.append(str(arguments[0]))
        elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "shutil.move", "os.truncate"):
            self.written.append(f"{event} {arguments}")


@cache
def sandbox() -> Sandbox:
    return Sandbox()


def judge(data: bytes, policy: Policy) -> tuple[str, VerifiedBundle | None, bytes]:
    """The code (or "accepted"), what was verified, and what was poured into the kept file."""
    kept: list[io.BytesIO] = []

    def keep(_: VerifiedBundle) -> BinaryIO:
        assert not kept, "asked twice"
        kept.append(io.BytesIO())
        return kept[0]

    try:
        found = verify(cast("BinaryIO", Pipe(data, 70_000)), policy, Checklist(), keep=keep)
    except CodedError as exc:
        refusal = exc
    else:
        assert len(kept) == 1
        return "accepted", found, kept[0].getvalue()
    assert refusal.fix, refusal.render()
    assert all(line.isprintable() for line in refusal.render().splitlines())
    return refusal.code, None, b""


def campaign(count: int, seed: int) -> Counter[str]:
    first = read_root(root())
    policy = Policy(trusted=trusted_keys([first]), roots=(first,), unsigned="not-allowed")
    whole: Mapping[str, str] = content(original())
    outcomes: Counter[str] = Counter()
    assert judge(original(), policy)[0] == "accepted"
    watch = sandbox()
    watch.written.clear()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        mutation = MUTATIONS[number % len(MUTATIONS)]
        data = mutation(rng, original(), list(listed()))
        watch.watching = True
        code, found, kept = judge(data, policy)
        loaded = "accepted"
        try:
            files = load(io.BytesIO(data), policy, lambda manifest: list(manifest.files)).files
        except CodedError as exc:
            loaded = exc.code
        watch.watching = False
        assert loaded == code, f"{mutation.__name__} {number}: streamed {code}, loaded {loaded}"
        if found is not None:
            assert dict(found.files) == whole, f"{mutation.__name__} {number}: accepted, and not what was signed"
            assert kept == data
            assert content(data) == whole
            assert {name: hashlib.sha256(part).hexdigest() for name, part in files.items()} | {
                "bundle.json": whole["bundle.json"]
            } == whole
        outcomes[code] += 1
        outcomes[f"{mutation.__name__}: {code}"] += 1
    assert not watch.written, watch.written
    return outcomes


ALWAYS = frozenset({
    "accepted", "UNSAFE_PATH", "SIZE_LIMIT", "BUNDLE_TRUNCATED", "MANIFEST_INVALID", "PAYLOAD_DIGEST_MISMATCH", "FILE_MISSING",
    "EXTRA_FILE", "THRESHOLD_NOT_MET", "UNSIGNED_NOT_ALLOWED",
})  # fmt: skip
IN_THE_END = ALWAYS | {"SIGNATURE_FORMAT", "SIGNATURE_ENCODING", "TRUST_MISSING", "TRUST_ROTATION"}


def check(outcomes: Counter[str], wanted: frozenset[str]) -> None:
    """The mutations reach what they reached when this was written, and few of them are harmless."""
    seen = {code for code in outcomes if ": " not in code}
    assert seen >= wanted, f"not reached any more: {sorted(wanted - seen)}"
    assert outcomes["swap_files: accepted"] > 0
    assert outcomes["accepted"] < sum(outcomes[code] for code in seen) / 4


@pytest.mark.parametrize("part", range(3))
def test_no_mutated_bundle_is_accepted_crashes_or_writes(part: int) -> None:
    check(campaign(504, SEED + part), ALWAYS)


@pytest.mark.full(seconds=100)
def test_twenty_thousand_mutated_bundles() -> None:
    outcomes = campaign(20_000, SEED + 9)
    check(outcomes, IN_THE_END)
    print({code: outcomes[code] for code in sorted(outcomes) if ": " not in code})


@pytest.mark.parametrize("count", [90, pytest.param(2_000, marks=pytest.mark.full(seconds=35))])
def test_no_mutated_bundle_costs_memory(count: int) -> None:
    """Around each single verification, streamed into a sink that keeps nothing."""
    first = read_root(root())
    policy = Policy(trusted=trusted_keys([first]), roots=(first,))
    worst = 0
    tracemalloc.start()
    try:
        for number in range(count):
            rng = random.Random(f"memory {number}")
            data = MUTATIONS[number % len(MUTATIONS)](rng, original(), list(listed()))
            source = Pipe(data, 1 << 20)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                with open(os.devnull, "wb") as sink:  # noqa: PTH123
                    verify(cast("BinaryIO", source), policy, Checklist(), keep=lambda _, sink=sink: sink)  # type: ignore[misc]
            except CodedError:
                pass
            worst = max(worst, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert worst < MEMORY, f"{worst >> 20} MiB"
