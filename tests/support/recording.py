"""What a real process does to the disk below a folder, call by call, as strace sees it.

strace watches the process itself, so nothing that it does can be missed: a call that changes a disk and that is unknown here
fails the recording. The bytes of every write are in the record.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["create", "write", "truncate", "rename", "unlink", "mkdir", "rmdir", "fsync", "mark"]

AT_END = -1
TRACED = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,lseek,dup,dup2,dup3,"
    "truncate,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "fsync,fdatasync,sync_file_range,sync,syncfs,mknod,mknodat,io_uring_setup"
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_FD = re.compile(r"(\d+|AT_FDCWD)<([^>]*)>(\(deleted\))?")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changed what is below the root, or a mark that the process has set; paths are relative to the root."""

    kind: Kind
    path: str
    to: str = ""  # of a rename
    data: bytes = b""
    offset: int = 0  # of a write, AT_END for an appending one; the new length of a truncation

    def __str__(self) -> str:
        return f"{self.kind} {self.path}" + (f" -> {self.to}" if self.to else "")


def record(command: Sequence[str | Path], root: Path, marks: Path) -> list[Call]:
    """Runs the command under strace; what it did below `root`, and what it wrote to the file `marks`, in order."""
    log = marks.with_suffix(".strace")
    marks.touch()
    strace: list[str | Path] = [
        "strace",
        "-f",
        "-y",
        "-xx",
        "-s",
        str(1 << 20),
        "--seccomp-bpf",
        "-o",
        log,
        "-e",
        f"trace={TRACED}",
    ]
    done = subprocess.run([*strace, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return _Reader(root, marks).read(log.read_text())


class _Reader:
    """strace's lines -> calls. One thread writes at a time, so a line is a whole call."""

    def __init__(self, root: Path, marks: Path) -> None:
        self._root, self._marks = str(root), str(marks)
        self._position: dict[int, int | None] = {}  # where write(2) goes on; None: shared with another descriptor

    def read(self, log: str) -> list[Call]:
        calls = []
        for line in log.splitlines():
            found = _LINE.fullmatch(line)
            if found is None:
                assert "+++" in line or "---" in line, f"two threads at once, or a line unknown here: {line[:200]}"
            elif not found[3].startswith(("-", "?")):
                calls += self._call(found[1], found[2].split(", "), int(found[3]), found[4])
        return calls

    def _call(self, name: str, args: list[str], result: int, rest: str) -> list[Call]:
        match name:
            case "openat":
                return self._open(_fd_path(f"{result}{rest}"), args[2], result)
            case "dup" | "dup2" | "dup3":
                self._position[result] = self._position[int(args[0].split("<")[0])] = None
                return []
            case "lseek":
                fd = int(args[0].split("<")[0])
                self._position[fd] = AT_END if self._position.get(fd) == AT_END else result
                return []
            case "write" | "pwrite64":
                return self._write(args, result)
        paths = [path for path in self._paths(name, args) if self._inside(path)]
        if not paths:
            return []
        match name:
            case "ftruncate":
                return [Call("truncate", self._relative(paths[0]), offset=int(args[1]))]
            case "rename" | "renameat" | "renameat2":
                assert len(paths) == 2, f"a rename from or to another disk: {paths}"
                return [Call("rename", self._relative(paths[0]), self._relative(paths[1]))]
            case "unlink" | "mkdir" | "rmdir":
                return [Call(name, self._relative(paths[0]))]
            case "unlinkat" | "mkdirat":
                kind: Kind = "mkdir" if name == "mkdirat" else "rmdir" if "REMOVEDIR" in args[-1] else "unlink"
                return [Call(kind, self._relative(paths[0]))]
            case "fsync" | "fdatasync":
                return [Call("fsync", self._relative(paths[0]))]
        raise AssertionError(f"teach the simulator {name}: {args}")

    def _open(self, path: str, flags: str, fd: int) -> list[Call]:
        self._position[fd] = AT_END if "O_APPEND" in flags else 0
        if not self._inside(path) or not {"O_CREAT", "O_TRUNC", "O_TMPFILE"} & set(flags.split("|")):
            return []
        assert "O_TMPFILE" not in flags, f"teach the simulator {flags}"
        made = [Call("create", self._relative(path))] if "O_CREAT" in flags else []
        return made + ([Call("truncate", self._relative(path))] if "O_TRUNC" in flags else [])

    def _write(self, args: list[str], written: int) -> list[Call]:
        path, fd = _fd_path(args[0]), int(args[0].split("<")[0])
        data = _text(args[1])[:written]
        if path == self._marks:
            return [Call("mark", data.decode().strip())]
        at = int(args[3]) if len(args) > 3 else self._position.get(fd)
        if len(args) <= 3 and at not in {None, AT_END}:
            self._position[fd] = (at or 0) + written
        if not self._inside(path):
            return []
        assert at is not None, f"a write through a duplicated descriptor: {args[0]}"
        return [Call("write", self._relative(path), data=data, offset=at)]

    def _paths(self, name: str, args: list[str]) -> list[str]:
        """Every path that stands in the arguments, absolute."""
        found: list[str] = []
        base = ""
        for arg in args:
            if _FD.fullmatch(arg):
                base = _fd_path(arg)
            elif arg.startswith('"'):
                path = _text(arg).decode()
                assert path.startswith("/") or base, f"{name}: a path relative to nothing known"
                found.append(path if path.startswith("/") else f"{base}/{path}")
        return found or ([base] if base else [])

    def _inside(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _relative(self, path: str) -> str:
        return path[len(self._root) + 1 :]


def _text(arg: str) -> bytes:
    assert not arg.endswith("..."), "longer than strace was told to show"
    return bytes.fromhex(arg.strip('"').replace("\\x", ""))


def _fd_path(arg: str) -> str:
    found = _FD.match(arg.strip())
    if found is None or found[3]:
        return ""  # a pipe, or a file without a name
    return bytes.fromhex(found[2].replace("\\x", "")).decode() if found[2].startswith("\\x") else found[2]
