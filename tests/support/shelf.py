"""A store on a bench: bundles by hand, and a time that moves by one second with every question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

from firmware_pkg import manifest
from firmware_pkg.slots import Slots
from firmware_pkg.store import Store
from firmware_pkg.verify import VerifiedBundle
from tests.support.bundles import blob_document, dumped


def clock() -> Callable[[], float]:
    seconds = count(1000)
    return lambda: float(next(seconds))


class Shelf:
    """A store, and verified bundles to put in: what they hold is nobody's business here."""

    def __init__(self, state_dir: Path, boot: str = "boot-1") -> None:
        self.folder = state_dir / "bundles"
        self.store = Store(self.folder, boot, clock())
        self.said = self.store.recover()

    def bundle(self, version: str, *, index: int = 0, name: str = "blobs", signers: tuple[str, ...] = ("k",)) -> VerifiedBundle:
        """A verified bundle; `content` makes the file that belongs to it."""
        document = dumped(blob_document({"model.onnx": b""}, name=name, version=version, rollback_index=index))
        digest = hashlib.sha256(document).hexdigest()
        return VerifiedBundle(manifest.parse(document), document, {}, digest, signers, (), len(self.content(version)))

    def content(self, version: str, size: int = 3000) -> bytes:
        return version.encode().ljust(size, b".")

    def install(self, version: str, *, index: int = 0, force: bool = False) -> Slots:
        with self.store.stage(3000) as staged:
            staged.write(self.content(version))
            return self.store.install(staged, self.bundle(version, index=index), force=force)

    def confirm(self, version: str, *, index: int = 0) -> Slots:
        """Installs and confirms."""
        self.install(version, index=index)
        return self.store.confirm("blobs", self.bundle(version, index=index).digest)

    def read(self, version: str, *, index: int = 0) -> bytes:
        with self.store.open("blobs", self.bundle(version, index=index).digest) as file:
            return file.read()

    def files(self) -> set[str]:
        """Everything below the folder, by its path."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}
