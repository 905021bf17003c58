"""Attacks on a camera that takes bundles from a TUF repository: each has its code, and none of them installs anything.

The repository is written by `bundle publish`, served by a real HTTP server, and asked by `bundle install NAME --repository`.
Attackers hold the web server, and where it is said, a stolen key.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from camagent import cli
from firmware_pkg.order import Limits
from firmware_pkg.publish import Changes, Publication, Signers
from firmware_pkg.publish import publish as make
from signing import trust_edit
from signing.trust import TrustRoot, read_root
from signing.trust_edit import ForTuf
from signing.trust_time import Clock
from tests.signing.support import key
from tests.support.bundles import in_a_year, make_signed
from tests.support.tuf_world import FolderServer
from tests.test_refusals import evidence_keys, sections

QUICK = Limits(connect_s=5, read_s=5, total_s=20, rate=1024, window_s=1.0, first_tries=1, resumes=2, backoff_s=0.05)


@cache
def first_root() -> TrustRoot:
    signers, online = [key("release").public], [key("online").public]
    return read_root(trust_edit.init([key("root")], signers, expires=in_a_year(), online_keys=online))


@cache
def second_root() -> TrustRoot:
    """The release key is replaced."""
    made = trust_edit.successor(first_root(), [key("root")], expires=in_a_year(), signers=[key("new release").public])
    return read_root(made)


def at(moment_days: float = 0) -> Clock:
    now = datetime.now(UTC) + timedelta(days=moment_days)
    return Clock(now, now - timedelta(days=1000), synchronised=True)


@dataclass
class Scene:
    """A publisher with his folder, a web server with a copy of it, a camera, and a terminal."""

    folder: Path
    server: FolderServer
    capsys: pytest.CaptureFixture[str]

    @property
    def config(self) -> str:
        return str(self.folder / "camagent.toml")

    # -- the publisher ------------------------------------------------------------------------------------------------

    def publish(
        self, *versions: str, root: TrustRoot | None = None, signer: str = "release", online: str = "online", days: float = 0,
        site: str = "own", **options: Any,
    ) -> Publication:  # fmt: skip
        """Publishes these versions and puts the whole folder onto the web server."""
        paths = [make_signed(self.folder, version=version, signers=(signer,), **options) for version in versions]
        offline = [key(signer)] if versions else []
        made = make(self.folder / site, [root or first_root()], Changes(paths), Signers(offline, [key(online)]), clock=at(days))
        self.upload(site)
        return made

    def upload(self, site: str = "own") -> None:
        shutil.rmtree(self.web, ignore_errors=True)
        shutil.copytree(self.folder / site, self.web)

    # -- the web server -----------------------------------------------------------------------------------------------

    @property
    def web(self) -> Path:
        return self.server.folder

    def metadata(self, name: str) -> Path:
        return self.web / "metadata" / name

    def target(self, version: str) -> Path:
        (path,) = (self.web / "targets").rglob(f"*-{version}.cambundle")
        return path

    def sign(self, name: str, change: Callable[[Any], None], signer: str = "online") -> Path:
        """What somebody with a stolen key puts in the place of a file."""
        metadata: Metadata[Any] = Metadata.from_file(str(self.metadata(name)))
        change(metadata.signed)
        metadata.signatures.clear()
        metadata.sign(ForTuf(key(signer)))
        number = "" if metadata.signed.type == Timestamp.type else f"{metadata.signed.version}."
        path = self.metadata(f"{number}{metadata.signed.type}.json")
        path.write_bytes(metadata.to_bytes(JSONSerializer()))
        return path

    def meta_of(self, name: str, version: int) -> MetaFile:
        """How a file is named in what lists it."""
        return MetaFile.from_data(version, self.metadata(name).read_bytes(), ["sha256"])

    def lead_to(self, listing: MetaFile, version: int, *, over: int) -> None:
        """Snapshot and timestamp of that version which name this list, made of snapshot `over` by a stolen online key."""

        def follow(snapshot: Snapshot) -> None:
            snapshot.version, snapshot.meta["targets.json"] = version, listing

        self.sign(f"{over}.snapshot.json", follow)
        named = self.meta_of(f"{version}.snapshot.json", version)

        def name_it(timestamp: Timestamp) -> None:
            timestamp.version, timestamp.snapshot_meta = version, named

        self.sign("timestamp.json", name_it)

    # -- the camera ---------------------------------------------------------------------------------------------------

    def fetch(self, *more: str, url: str | None = None) -> int:
        words = ["bundle", "install", "blobs", "--repository", url or self.server.url, "-c", self.config, *more]
        return cli.run(words)

    def takes(self, version: str) -> None:
        """The camera takes that version."""
        assert self.fetch("--json") == 0
        body = json.loads(self.capsys.readouterr().out)
        assert (body["result"]["version"], body["result"]["outcome"]) == (version, "trial")

    def installed(self) -> dict[str, Any]:
        assert cli.run(["bundle", "list", "--json", "-c", self.config]) == 0
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)["bundles"]
        return {name: (slots["current"], slots["stored"]) for name, slots in found.items()}

    def refused(self, code: str, *sides: str, exit_code: int = 1) -> str:
        """The camera is offered something, says that code with both sides and a fix, and is as it was."""
        self.capsys.readouterr()
        before = self.installed()
        assert self.fetch() == exit_code
        err = self.capsys.readouterr().err
        assert f"error[{code}]: " in err, err
        assert "Traceback" not in err
        assert len(re.findall(r" = ", err)) >= 2, err
        assert re.search(r"\n  fix: \S+ \S+", err)
        for side in sides:
            assert side in err, err
        assert self.installed() == before
        if code.startswith("REPOSITORY_") and code in sections():
            assert set(evidence_keys(sections()[code])) == set(evidence_keys(err)), (
                f"docs/refusals.md shows another {code}: {err}"
            )
        return err
