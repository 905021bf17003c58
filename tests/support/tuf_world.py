"""A TUF repository whose owner may do anything: every role is signed as it stands, whatever is wrong with it.

world = World()
with world.served() as url:
    world.targets.version += 1
    world.put("targets")              signed as it is; nothing else follows
    world.release()                   as an honest publisher does it
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from signing.key_files import SoftwareKey
from signing.trust_edit import ForTuf, _tuf_key
from tests.signing.support import key
from tests.support.http_server import Answer, Request, Server, head, serving

TOP = ("root", "timestamp", "snapshot", "targets")


def days(number: float) -> datetime:
    """So many days from now, a whole second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=number)


@dataclass
class World:
    """`files`: what a web server gives out. `asked`: every path that was asked for. `faults`: other answers, by path."""

    hashes: bool = False  # snapshot and timestamp name length and digest of what they list
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        later = days(30)
        self.signers: dict[str, list[SoftwareKey]] = {role: [key(f"world {role}")] for role in TOP}
        self.root = Root(expires=later, consistent_snapshot=True)
        for role in TOP:
            self.root.add_key(_tuf_key(self.signers[role][0].public), role)
        self.targets, self.snapshot, self.timestamp = Targets(expires=later), Snapshot(expires=later), Timestamp(expires=later)
        self.delegated: dict[str, Targets] = {}
        self.put("root", "targets", "snapshot")
        self.name_snapshot()
        self.put("timestamp")

    # -- keys ---------------------------------------------------------------------------------------------------------

    def appoint(self, role: str, names: Sequence[str], threshold: int = 1, signing: Sequence[str] | None = None) -> None:
        """Other keys for a role, and who signs; in force with the next root."""
        for key_id in list(self.root.roles[role].keyids):
            self.root.revoke_key(key_id, role)
        for name in names:
            self.root.add_key(_tuf_key(key(name).public), role)
        self.root.roles[role].threshold = threshold
        self.signers[role] = [key(name) for name in (names if signing is None else signing)]

    # -- one file at a time -------------------------------------------------------------------------------------------

    def next_root(self) -> bytes:
        """Root N+1, signed by whoever signs for `root`."""
        self.root.version += 1
        data = self.files[f"metadata/{self.root.version}.root.json"] = self.sign(self.root, "root")
        return data

    def put(self, *roles: str) -> None:
        """Signs roles as they are and puts them under their numbers."""
        for role in roles:
            signed = self.delegated[role] if role in self.delegated else getattr(self, role)
            number = "" if role == "timestamp" else f"{signed.version}."
            self.files[f"metadata/{number}{quote(role, '')}.json"] = self.sign(signed, role)

    def sign(self, signed: Any, role: str) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self.signers[role]:
            metadata.sign(ForTuf(signer), append=True)
        return metadata.to_bytes(JSONSerializer())

    def name_targets(self, *roles: str) -> None:
        """The snapshot lists these roles as they were put last."""
        for role in roles or ("targets", *self.delegated):
            signed = self.delegated.get(role, self.targets)
            self.snapshot.meta[f"{role}.json"] = self._meta(signed.version, f"metadata/{signed.version}.{quote(role, '')}.json")

    def name_snapshot(self) -> None:
        """The timestamp names the snapshot as it was put last."""
        version = self.snapshot.version
        self.timestamp.snapshot_meta = self._meta(version, f"metadata/{version}.snapshot.json")

    def _meta(self, version: int, path: str) -> MetaFile:
        return MetaFile.from_data(version, self.files[path], ["sha256"]) if self.hashes else MetaFile(version)

    # -- as an honest publisher ---------------------------------------------------------------------------------------

    def new_timestamp(self) -> None:
        self.timestamp.version += 1
        self.name_snapshot()
        self.put("timestamp")

    def new_snapshot(self) -> None:
        self.snapshot.version += 1
        self.name_targets()
        self.put("snapshot")
        self.new_timestamp()

    def release(self) -> None:
        """A new list, and everything that follows from it."""
        self.targets.version += 1
        self.put("targets", *self.delegated)
        self.new_snapshot()

    def add(self, path: str, content: bytes, role: str = "targets") -> None:
        """A target; not listed anywhere that is signed before `release`."""
        target = TargetFile.from_data(path, content, ["sha256"])
        (self.delegated.get(role) or self.targets).targets[path] = target
        folder, slash, name = path.rpartition("/")
        self.files[f"targets/{folder}{slash}{target.hashes['sha256']}.{name}"] = content

    def delegate(self, name: str, paths: Sequence[str], *, by: str = "targets", terminating: bool = False) -> None:
        """A role below another one."""
        above = self.delegated.get(by) or self.targets
        above.delegations = above.delegations or Delegations({}, {})
        assert above.delegations.roles is not None
        above.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, list(paths))
        self.signers[name] = [key(f"world {name}")]
        above.add_key(_tuf_key(self.signers[name][0].public), name)
        self.delegated.setdefault(name, Targets(expires=days(30)))

    # -- the web server -----------------------------------------------------------------------------------------------

    @contextmanager
    def served(self) -> Iterator[str]:
        """The URL of the folder."""
        with serving(self._answer) as server:
            yield server.url("/repo/")

    def metadata_asked(self) -> list[str]:
        return [path.removeprefix("metadata/") for path in self.asked if path.startswith("metadata/")]

    def _answer(self, server: Server, request: Request, wire: socket.socket) -> None:
        path = request.target.removeprefix("/repo/")
        self.asked.append(path)
        if path in self.faults:
            self.faults[path](server, request, wire)
            return
        content = self.files.get(path)
        if content is None:
            wire.sendall(head(404, "Content-Length: 0"))
        else:
            wire.sendall(head(200, f"Content-Length: {len(content)}") + content)


@dataclass
class FolderServer:
    """A folder as any web server gives it out. `faults`: other answers, by path below it."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    faults: dict[str, Answer] = field(default_factory=dict)

    def __call__(self, server: Server, request: Request, wire: socket.socket) -> None:
        path = unquote(request.target).lstrip("/")
        self.asked.append(path)
        fault = next((answer for part, answer in self.faults.items() if part in path), None)
        file = self.folder / path
        if fault is not None:
            fault(server, request, wire)
        elif file.is_file():
            content = file.read_bytes()
            wire.sendall(head(200, f"Content-Length: {len(content)}") + content)
        else:
            wire.sendall(head(404, "Content-Length: 0"))


@contextmanager
def folder_served(folder: Path) -> Iterator[FolderServer]:
    """A web server for a folder."""
    answers = FolderServer(folder)
    with serving(answers) as server:
        answers.url = server.url("/")
        yield answers
