"""A Service that reads what it is given, keeps what it was asked, and can be made slow: the real one is tested elsewhere."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

from camagent.errors import Busy
from camagent.service import Origin, SelfTestWish, Tell
from firmware_pkg.errors import BundleTruncated, NotStored
from signing.refusals import TrustMissing, UntrustedSigner

CHUNK = 64 * 1024
STEPS = ("container", "signer", "digests")


def package(size: int, name: str = "fastestdet", version: str = "1.0.0", signer: str = "good") -> bytes:
    """What `FakeService.install` takes: a line that says what follows, and so many bytes."""
    return f"{name} {version} {signer} {size}\n".encode() + bytes(range(256)) * (size // 256) + bytes(size % 256)


class FakeService:
    def __init__(self) -> None:
        self._one = threading.Lock()
        self.may_go_on = threading.Event()  # install waits for it after the first line
        self.reading = threading.Event()
        self.forget()

    def forget(self) -> None:
        """As new; for tests that share one."""
        self.installed: list[tuple[str, str, str]] = []  # name, version, sha256 of the payload
        self.origins: list[Origin] = []
        self.asked: list[tuple[Any, ...]] = []
        self.read = 0
        self.lingers_s = 0.0  # between the end of a body and the answer
        self.defect: Exception | None = None
        self.may_go_on.set()
        self.reading.clear()

    def status(self) -> dict[str, Any]:
        return {"agent": "cam-01", "version": "0.1.0"}

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        if not self._one.acquire(blocking=False):
            raise Busy("another bundle is being worked on", fix="wait")
        try:
            return self._install(source, origin, tell, force)
        finally:
            self._one.release()

    def _install(self, source: BinaryIO, origin: Origin, tell: Tell, force: bool) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("install", force))
        self.reading.set()
        if self.defect:
            raise self.defect
        head = source.readline(1000)
        name, version, signer, size = head.decode().split() if head.endswith(b"\n") else ("?", "?", "good", "1")
        tell({"step": {"id": "container", "status": "pass", "measured": {"bytes": int(size)}}})
        if signer != "good":
            refusal = UntrustedSigner(
                "nobody here knows this signer", evidence={"found": signer, "trusted": "good"}, fix="sign"
            )
            tell({"step": {"id": "signer", "status": "fail", "measured": {"code": refusal.code, "what": refusal.what}}})
            raise refusal
        assert self.may_go_on.wait(60)
        digest, self.read = hashlib.sha256(), 0
        while part := source.read(CHUNK):
            digest.update(part)
            self.read += len(part)
            tell({"progress": {"done": self.read, "of": int(size)}})
        time.sleep(self.lingers_s)
        if self.read < int(size):
            raise BundleTruncated("it ends early", evidence={"declared": size, "there": self.read}, fix="send it again")
        tell({"state": "testing"})
        self.installed.append((name, version, digest.hexdigest()))
        return {"name": name, "version": version, "digest": digest.hexdigest(), "outcome": "trial"}

    def fetch(self, name: str, url: str, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("fetch", name, url, force))
        tell({"state": "asking the repository"})
        return {"name": name, "version": "1.1.0", "digest": "00", "outcome": "trial"}

    def activate(self, name: str, version: str | None, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("activate", name, version, force))
        tell({"state": "testing"})
        return {"name": name, "version": version or "1.0.0", "digest": "00", "outcome": "trial"}

    def rollback(self, name: str, origin: Origin, tell: Tell) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("rollback", name))
        if name == "unknown":
            raise NotStored(f"there is no bundle {name}", evidence={"stored": "fastestdet"}, fix="see bundle list")
        assert self.may_go_on.wait(60)
        return {"name": name, "version": "0.9.0", "outcome": "current"}

    def bundles(self) -> dict[str, Any]:
        slots = {
            "current": "1.0.0",
            "trial": None,
            "previous": None,
            "stored": ["1.0.0"],
            "rollback_index": 0,
            "last_refusal": None,
        }
        return {"bundles": {"fastestdet": slots}}

    def install_trust(self, roots: Sequence[bytes], origin: Origin, *, dry_run: bool = False) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("trust", tuple(roots), dry_run))
        if roots[0] == b"none":
            raise TrustMissing("this holds no root", evidence={"bytes": 4}, fix="send a root.json")
        losing = [{"name": "fastestdet", "version": "1.0.0"}] if len(roots) > 1 else []
        return {"in_force": len(roots), "added": [len(roots)], "expires": 2e9, "revoked": [], "losing": losing}

    def selftest(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        self.origins.append(origin)
        self.asked.append(("selftest", wish.camera))
        if wish.camera == "unknown":
            raise NotStored("there is no camera unknown", evidence={"cameras": "front"}, fix="name one of them")
        tell({"state": "watching camera front"})
        assert self.may_go_on.wait(60)
        return {"schema": "camagent.selftest/1", "verdict": "healthy", "camera": wish.camera}
