"""A power cut at every system call: the disks that a recorded process could have left behind.

    disk = Disk()
    for call in record([sys.executable, "-m", "tests.support.histories", ..], root, marks):
        disk.apply(call)
        for picture in disk.pictures(seeds): ..     everything written; only what was fsynced; and what lies between

The model promises no more than POSIX does: bytes are durable after the fsync of their file, names after the fsync of their
folder. What is not may be there or not, each for itself; a rename is old or new; the last write may be torn.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.support.recording import AT_END, Call

Picture: TypeAlias = Mapping[str, bytes | None]  # path below the root -> content, None for a folder


@dataclass(eq=False)
class File:
    data: bytes = b""
    synced: bytes = b""
    pending: list[Call] = field(default_factory=list)  # writes and truncations since its last fsync

    def change(self, call: Call) -> None:
        self.data = _changed(self.data, call)
        self.pending.append(call)

    def sync(self) -> None:
        self.synced, self.pending = self.data, []

    def torn(self, chance: random.Random) -> bytes:
        """Some first part of what was written since the fsync, the last of it torn; or any part of it."""
        data = self.synced
        if self.pending and chance.random() < 0.3:
            for call in self.pending:
                data = _changed(data, call) if chance.random() < 0.5 else data
            return data
        whole = chance.randint(0, len(self.pending))
        for call in self.pending[:whole]:
            data = _changed(data, call)
        if whole < len(self.pending) and self.pending[whole].kind == "write":
            call = self.pending[whole]
            data = _changed(data, Call("write", "", data=call.data[: chance.randint(0, len(call.data))], offset=call.offset))
        return data


def _changed(data: bytes, call: Call) -> bytes:
    if call.kind == "truncate":
        return data[: call.offset].ljust(call.offset, b"\0")
    return data[: call.offset].ljust(call.offset, b"\0") + call.data + data[call.offset + len(call.data) :]


@dataclass(frozen=True, slots=True)
class Change:
    """What one call did to the names of one folder. `call` is the same for both sides of a move between folders."""

    call: int
    names: Mapping[str, File | Folder | None]

    def apply(self, names: dict[str, File | Folder]) -> None:
        for name, node in self.names.items():
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node


@dataclass(eq=False)
class Folder:
    names: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        change.apply(self.names)
        self.pending.append(change)

    def sync(self) -> None:
        self.synced, self.pending = dict(self.names), []

    def partly(self, happened: set[int]) -> dict[str, File | Folder]:
        """These of the changes since the fsync, in their order."""
        names = dict(self.synced)
        for change in self.pending:
            if change.call in happened:
                change.apply(names)
        return names

    def torn(self, chance: random.Random, happened: dict[int, bool]) -> dict[str, File | Folder]:
        """Some of the changes since the fsync, in any order."""
        names = dict(self.synced)
        for change in chance.sample(self.pending, len(self.pending)):
            if happened.setdefault(change.call, chance.random() < 0.5):
                change.apply(names)
        return names


class Disk:
    """What is below the root: as processes see it, and as it would be after a power cut."""

    def __init__(self) -> None:
        self._root = Folder()
        self._calls = 0

    def apply(self, call: Call) -> None:
        """One recorded call."""
        self._calls += 1
        if call.kind == "mark":
            return
        if call.kind in {"write", "truncate", "fsync"}:
            node = self._find(call.path)
            if call.kind == "fsync":
                node.sync()
            else:
                assert isinstance(node, File)
                node.change(replace(call, offset=len(node.data)) if call.offset == AT_END else call)
            return
        folder, name = self._parent(call.path)
        match call.kind:
            case "create":
                if name not in folder.names:
                    folder.change(Change(self._calls, {name: File()}))
            case "mkdir":
                folder.change(Change(self._calls, {name: Folder()}))
            case "unlink" | "rmdir":
                folder.change(Change(self._calls, {name: None}))
            case "rename":
                other, new = self._parent(call.to)
                node = folder.names[name]
                if other is folder:
                    folder.change(Change(self._calls, {name: None, new: node}))
                else:
                    folder.change(Change(self._calls, {name: None}))
                    other.change(Change(self._calls, {new: node}))

    def _find(self, path: str) -> File | Folder:
        node: File | Folder = self._root
        for part in path.split("/") if path else ():
            assert isinstance(node, Folder)
            node = node.names[part]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder)
        return folder, name

    def _late(self) -> set[int]:
        """The calls whose changes to names are not durable."""
        late: set[int] = set()
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            late |= {change.call for change in folder.pending}
            waiting += [node for node in folder.names.values() if isinstance(node, Folder)]
        return late

    def written(self) -> Picture:
        """Everything, as after kill -9."""
        return _flat(self._root, lambda folder: folder.names, lambda file: file.data)

    def synced(self) -> Picture:
        """Only what was fsynced."""
        return _flat(self._root, lambda folder: folder.synced, lambda file: file.synced)

    def pictures(self, seeds: Sequence[int]) -> Iterator[Picture]:
        """The disks that a power cut may leave now.

        Both ends; all names with no late bytes; of the late changes to names only one, and all but one; a mixture per seed.
        """
        yield self.written()
        yield self.synced()
        yield _flat(self._root, lambda folder: folder.names, lambda file: file.synced)
        late = self._late()
        for one in sorted(late) if len(late) > 1 else ():
            yield _flat(self._root, partial(Folder.partly, happened={one}), lambda file: file.synced)
            yield _flat(self._root, partial(Folder.partly, happened=late - {one}), lambda file: file.synced)
        for seed in seeds:
            chance = random.Random(f"{seed} {self._calls}")
            happened: dict[int, bool] = {}
            yield _flat(
                self._root,
                partial(Folder.torn, chance=chance, happened=happened),
                partial(File.torn, chance=chance),
            )


def _flat(
    root: Folder, names: Callable[[Folder], Mapping[str, File | Folder]], content: Callable[[File], bytes]
) -> dict[str, bytes | None]:
    flat: dict[str, bytes | None] = {}
    waiting = [("", root)]
    while waiting:
        above, folder = waiting.pop()
        for name, node in names(folder).items():
            if isinstance(node, Folder):
                flat[above + name] = None
                waiting.append((f"{above}{name}/", node))
            else:
                flat[above + name] = content(node)
    return flat


def materialise(picture: Picture, folder: Path) -> None:
    """Makes this the content of `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, data in sorted(picture.items()):
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)
