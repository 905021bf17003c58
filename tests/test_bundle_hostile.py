"""Somebody else can write where the agent works: files are swapped and planted between one step and the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from firmware_pkg.errors import Refused
from tests.support.bundles import blob_model, blob_picture, make_signed, members, rewrite, write_root
from tests.test_bundles import LOCAL, Desk, desk_tell


def external_model(location: str) -> bytes:
    """The blob model with its weights in another file, as `onnx` writes it."""
    import onnx

    model = onnx.load_from_string(blob_model())
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            onnx.external_data_helper.set_external_data(tensor, location)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["w.bin", "../w.bin", "/etc/hostname"])
def test_a_signed_model_that_reaches_for_another_file_is_refused_and_never_opens_it(tmp_path: Path, location: str) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    root, work = write_root(tmp_path), tmp_path / "work"
    work.mkdir()
    for place in (work / "w.bin", tmp_path / "w.bin"):
        place.write_bytes(bytes(4096))
    (work / "blobs.png").write_bytes(blob_picture())
    path = make_signed(tmp_path, model=external_model(location), golden=False)
    trace = tmp_path / "trace"
    done = subprocess.run(
        [strace, "-f", "-e", "trace=open,openat,openat2", "-o", trace, sys.executable, "-m", "camagent", "infer", path,
         "blobs.png", "--trust", root, "--json"],
        cwd=work, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "error[MANIFEST_INVALID]" in done.stderr
    assert "a tensor with external data" in done.stderr
    opened = trace.read_text(errors="replace")
    assert "blobs-1.0.0.cambundle" in opened, "the trace sees what is opened"
    assert "w.bin" not in opened
    assert "/etc/hostname" not in opened


def test_a_file_that_is_swapped_while_it_is_installed_is_refused_or_the_signed_one(tmp_path: Path) -> None:
    """The path is exchanged again and again; what was opened is what is hashed and stored, or nothing is."""
    desk = Desk(tmp_path)
    good = make_signed(tmp_path, version="1.0.0")
    evil = make_signed(tmp_path, version="1.0.0", gain=0.5, signers=("stranger",), file="evil.cambundle")
    target, stop = tmp_path / "target.cambundle", threading.Event()
    shutil.copy(good, target)

    def swap() -> None:
        while not stop.is_set():
            for source in (evil, good):
                copy = tmp_path / "copy"
                shutil.copy(source, copy)
                copy.replace(target)

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = set()
    try:
        for _ in range(40):
            try:
                outcomes.add(desk.install(target)["outcome"])
            except Refused as exc:
                outcomes.add(exc.code)
    finally:
        stop.set()
        thread.join()
    assert outcomes <= {"trial", "UNTRUSTED_SIGNER"}
    stored = list((tmp_path / "state" / "bundles" / "blobs").glob("*.cambundle"))
    assert [path.read_bytes() for path in stored] == [good.read_bytes()]


def test_a_file_that_changes_under_the_reader_is_never_stored(tmp_path: Path) -> None:
    """Written over in place after its signatures were read: the digests speak."""
    desk = Desk(tmp_path)
    path = make_signed(tmp_path, extra={"zeros.bin": bytes(4 * 1024 * 1024)})
    original = path.read_bytes()

    class Overwriting:
        """Reads the file, and changes what has not been read yet."""

        def __init__(self) -> None:
            self._file = path.open("rb")
            self._done = False

        def readinto(self, buffer: Any) -> int:
            count: int = self._file.readinto(buffer)
            self._overwrite()
            return count

        def read(self, size: int = -1) -> bytes:
            data = self._file.read(size)
            self._overwrite()
            return data

        def _overwrite(self) -> None:
            if not self._done and self._file.tell() > len(original) // 2:
                self._done = True
                with path.open("r+b") as file:
                    file.seek(len(original) - 100_000)
                    file.write(b"\xff" * 1000)

    source = Overwriting()
    with pytest.raises(Refused) as caught, source._file:
        desk.bundles.install(source, LOCAL, desk_tell)  # type: ignore[arg-type]
    assert caught.value.code == "PAYLOAD_DIGEST_MISMATCH"
    assert not list((tmp_path / "state" / "bundles").rglob("*.cambundle"))


def test_links_planted_in_the_store_lead_nowhere(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = tmp_path / "state" / "bundles"
    for number in range(50):
        (folder / ".staging" / f"{number:032x}").symlink_to(outside)
    stored = max((folder / "blobs").glob("*.cambundle"), key=lambda path: path.stat().st_mtime_ns)
    stored.rename(tmp_path / "moved")
    stored.symlink_to(tmp_path / "moved")
    desk.start()
    assert desk.runs() == "1.0.0", "a link is no stored bundle"
    desk.install(make_signed(tmp_path, version="3.0.0"))
    assert outside.read_bytes() == b"mine"


def test_a_member_order_that_hides_a_file_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = make_signed(tmp_path)
    front, *rest = members(path)
    rewrite(path, [front, rest[-1], *rest[:-1]])
    with pytest.raises(Refused) as caught:
        desk.install(path)
    assert caught.value.code == "UNSAFE_PATH"
