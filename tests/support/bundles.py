"""Signed bundles for everybody's tests, made in the test's own process within milliseconds, and hands to tamper with them.

    path = make_signed(tmp_path, signers=("release",))
    (tmp_path / "root.json").write_bytes(root_json(key("release")))

The model is real: it sees red and blue blobs, one per 16x16 cell of a 64x64 picture, and decodes with the head `fastestdet`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from math import atanh, log
from pathlib import Path
from typing import Any

import numpy as np

from firmware_pkg import archive, manifest, signed
from firmware_pkg.manifest import Manifest
from signing import keys, trust_edit
from signing.keys import Signer
from tests.signing.support import key, private_pem

SIDE, CELL = 64, 16
LABELS = ("red", "blue")
CREATED = "2026-11-23T00:00:00Z"


@cache
def blob_model(gain: float = 1.0, cost: int = 0) -> bytes:
    """An ONNX model for 1x3x64x64 RGB in 0..1. `gain` 0 sees nothing; other values only make another file of it.

    `cost`: bytes of weights that do nothing, for bundles of a certain size.
    """
    from onnx import TensorProto, helper, numpy_helper

    weight = np.zeros((5 + len(LABELS), 3, 1, 1), np.float32)
    weight[0, :, 0, 0] = np.array([1, -2, 1]) * min(gain, 1.0)  # objectness: red or blue, and neither white nor grey
    weight[5, :, 0, 0], weight[6, :, 0, 0] = (1, -1, -1), (-1, -1, 1)
    half, quarter = atanh(0.5), log(CELL / SIDE / (1 - CELL / SIDE))  # centre of the cell, size of a cell
    bias = np.array([gain * 1e-6, half, half, quarter, quarter, 0, 0], np.float32)
    arrays = {"w": weight, "b": bias, "low": np.float32(-2), "high": np.float32(1)}
    if cost:
        arrays["ballast"] = np.zeros(cost // 4, np.float32)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "w", "b"], ["raw"]),
        helper.make_node("Clip", ["raw", "low", "high"], ["grid"]),
    ]
    grid = SIDE // CELL
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("grid", TensorProto.FLOAT, [1, 5 + len(LABELS), grid, grid])],
        initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@cache
def blob_picture(red: int = 1, blue: int = 1) -> bytes:
    """A PNG with that many red blobs in the first row of cells and blue ones in the second (at most 4 each)."""
    import cv2

    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for column in range(red):
        picture[:CELL, column * CELL : (column + 1) * CELL] = (0, 0, 255)
    for column in range(blue):
        picture[CELL : 2 * CELL, column * CELL : (column + 1) * CELL] = (255, 0, 0)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def blob_document(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """bundle.json for `blob_model`, as a dictionary; `changes` replace its keys."""
    pictures = [
        {"label": label, "score": 1.0, "box_norm": [0, row * 0.25, 0.25, row * 0.25 + 0.25]} for row, label in enumerate(LABELS)
    ]
    golden = [{"image": "golden/blobs.png", "declared": {"red": 1, "blue": 1}, "expect": pictures}]
    document: dict[str, Any] = {
        "schema": 1, "name": "blobs", "version": "1.0.0", "rollback_index": 0, "created": CREATED, "expires": None,
        "compatible": ["*"], "requires": {"camagent": ">=0.0"}, "task": "detect",
        "input": {"width": SIDE, "height": SIDE, "scale": 0.00392157, "resize": "stretch"},
        "head": {"name": "fastestdet"}, "thresholds": {"min_score": 0.4}, "labels": list(LABELS),
        "artifacts": [{"path": "model.onnx", "backend": "onnx"}],
        "golden": golden if "golden/blobs.png" in files else [],
        "files": {name: len(data) for name, data in files.items()},
    }  # fmt: skip
    return document | changes


def make_unsigned(
    folder: Path, *, name: str = "blobs", version: str = "1.0.0", index: int = 0, golden: bool = True, gain: float = 1.0,
    model: bytes | None = None, extra: dict[str, bytes] | None = None, file: str | None = None, **changes: Any,
) -> Path:  # fmt: skip
    """As make_signed, without a signature."""
    files = {"model.onnx": blob_model(gain) if model is None else model, **(extra or {})}
    if golden:
        files["golden/blobs.png"] = blob_picture()
    document = blob_document(files, **{"name": name, "version": version, "rollback_index": index, **changes})
    path = folder / (file or f"{name}-{version}.cambundle")
    archive.write(path, parsed(document), files)
    return path


def make_signed(
    folder: Path, *, signers: Sequence[str | Signer] = ("release",), roots: Sequence[bytes] = (), **options: Any
) -> Path:
    """FOLDER/NAME-VERSION.cambundle, signed.

    Args:
        folder: where it is written; an existing file of that name is replaced.
        signers: names for tests.signing.support.key (the same name is the same key within a run), or signers.
        roots: root.json files to put in.
        options: of make_unsigned: name, version, index (rollback), golden (False: no picture), gain (0: a model that sees
            nothing), model (other bytes), extra (further files), file (another file name), and any key of bundle.json.
    """
    path = make_unsigned(folder, **options)
    for signer in signers:
        signed.add(path, key(signer) if isinstance(signer, str) else signer, roots)
    return path


def parsed(document: dict[str, Any]) -> Manifest:
    return manifest.parse(dumped(document))


def dumped(document: dict[str, Any]) -> bytes:
    import json

    return json.dumps(document, indent=1).encode() + b"\n"


def in_a_year() -> datetime:
    """By the system's clock; a whole second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)


def root_json(*signers: Signer, root: Signer | None = None, threshold: int = 1, expires: datetime | None = None) -> bytes:
    """The first root.json, by the root key `key("root")`; bundles need `threshold` of these signers (default: `release`).

    It expires in a year. The next roots: signing.trust_edit.add_signer(read_root(data), .., [key("root")], expires=..).
    """
    public = [signer.public for signer in signers or (key("release"),)]
    return trust_edit.init([root or key("root")], public, expires=expires or in_a_year(), threshold=threshold)


def write_key(folder: Path, name: str = "release") -> Path:
    """FOLDER/NAME.pem and NAME.pub.pem of `key(name)`; the path of the private one."""
    (folder / f"{name}.pub.pem").write_bytes(key(name).public.pem)
    (folder / f"{name}.pem").write_bytes(private_pem(key(name)))
    return folder / f"{name}.pem"


def write_root(folder: Path, data: bytes | None = None, name: str = "root.json") -> Path:
    """A root.json that trusts `release`, or the one given."""
    path = folder / name
    path.write_bytes(root_json() if data is None else data)
    return path


def key_id(name: str = "release") -> str:
    """Id of `key(name)`."""
    return keys.PublicKey(key(name).public.key).id


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member as it stands in the file; `declared`: the length in its header where that is another one."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    declared: int | None = None

    def bytes(self) -> bytes:
        """Header, content, padding."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode, info.type, info.linkname = len(self.data), 0o644, self.kind, self.link
        if self.declared is not None:
            info.size = self.declared
        block = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        return block + self.data + bytes(-len(self.data) % tarfile.BLOCKSIZE)


def members(path: Path) -> list[TarMember]:
    """What is in a bundle, in order."""
    found = []
    with tarfile.open(path) as tar:
        for info in tar:
            content = tar.extractfile(info)
            found.append(TarMember(info.name, content.read() if content else b"", info.type, info.linkname))
    return found


def packed(listed: Iterable[TarMember]) -> bytes:
    """A tar of these members, whatever they are, with its end marker."""
    data = b"".join(member.bytes() for member in listed)
    return data + archive.end(len(data))


def rewrite(path: Path, listed: Iterable[TarMember]) -> Path:
    """Replaces the file by a tar of these members."""
    path.write_bytes(packed(listed))
    return path


def changed(path: Path, name: str, data: bytes) -> Path:
    """Replaces one member's content, its header's length too; everything else stays."""
    return rewrite(path, [replace(member, data=data) if member.name == name else member for member in members(path)])


class Pipe(io.RawIOBase):
    """Bytes that come in pieces of at most `piece` and cannot be sought: a socket, a pipe, an upload."""

    def __init__(self, data: bytes, piece: int = 1000) -> None:
        self._source = io.BytesIO(data)
        self._piece = piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(memoryview(buffer)[: self._piece])
