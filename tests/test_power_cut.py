"""A power cut at any system call leaves a state directory that starts, and no fsync is there for nothing.

Real processes live the histories of tests/support/histories.py under strace. Every prefix of what they did to the disk is
turned into the disks that a power cut could leave there; on each, the agent's own start must find a state that it may find,
and then do the next thing.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from firmware_pkg.store import STAGING
from signing import trust_edit
from signing.errors import CodedError
from tests.signing.support import LATER, key
from tests.support import bundles
from tests.support.histories import HISTORIES, History
from tests.support.lives_of_bundles import NAME, VERSIONS
from tests.support.power_cut import Disk, Picture, materialise
from tests.support.recording import Call, record
from tests.test_contracts import modules, relative

NAMES = tuple(HISTORIES)
SEEDS = range(2)
MANY_SEEDS = range(60)

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass
class Lived:
    """A history as it was recorded, and what the checks have seen so far."""

    history: History
    calls: list[Call]
    material: Path
    scratch: Path
    moments: list[Killed] = field(default_factory=list)  # see `killed`
    good: set[tuple[frozenset[tuple[str, bytes | None]], int, bool]] = field(default_factory=set)

    def try_out(self, picture: Picture, done: int, *, begun: bool) -> None:
        """Starts on that disk and goes on from there. Raises what the check raises."""
        seen = frozenset(picture.items()), done, begun
        if seen in self.good:
            return
        materialise(picture, self.scratch)
        session = self.history.open(self.scratch, self.material)
        try:
            reached = session.check(done, begun=begun)
            if reached is not None and reached + 1 < len(self.history.steps):
                session.do(reached + 1)
                session.check(reached + 1, begun=False)
        finally:
            session.close()
        self.good.add(seen)


@pytest.fixture(scope="module")
def quick_disk() -> Iterator[Path]:
    """Memory, so that the checks' own fsyncs cost nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="cut-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def material(quick_disk: Path) -> Path:
    folder = quick_disk / "material"
    folder.mkdir()
    first = bundles.root_json(key("release"))
    (folder / "root.json").write_bytes(first)
    for version, index in VERSIONS.items():
        bundles.make_signed(folder, name=NAME, version=version, index=index, golden=False, model=b"x" * 300)
    write_chain(folder, first)
    return folder


def write_chain(folder: Path, first: bytes) -> None:
    from signing.trust import read_root

    data = first
    for number in range(1, 5):
        (folder / f"{number}.root.json").write_bytes(data)
        data = trust_edit.rotate(read_root(data), [key("root")], expires=LATER + timedelta(days=number))


class Lives:
    """Each history is recorded when it is first asked for."""

    def __init__(self, folder: Path, material: Path) -> None:
        self._folder, self._material = folder, material
        self._lived: dict[str, Lived] = {}

    def __getitem__(self, name: str) -> Lived:
        if name not in self._lived:
            self._lived[name] = live(HISTORIES[name], self._folder, self._material)
        return self._lived[name]


@pytest.fixture(scope="module")
def lives(quick_disk: Path, material: Path) -> Lives:
    return Lives(quick_disk, material)


def live(history: History, folder: Path, material: Path) -> Lived:
    root, marks = folder / history.name / "disk", folder / history.name / "marks"
    root.mkdir(parents=True)
    command = child(history, material, marks, len(history.steps), [root])
    return Lived(history, record(command, root, marks), material, folder / history.name / "scratch")


def child(history: History, material: Path, marks: Path, steps: int, roots: Sequence[Path]) -> list[str | Path]:
    return [sys.executable, "-m", "tests.support.histories", history.name, material, marks, str(steps), *roots]


@dataclass(frozen=True)
class Cut:
    """Something is wrong when the power goes behind this call."""

    number: int
    call: Call
    step: str
    why: BaseException

    def __str__(self) -> str:
        return f"behind call {self.number} ({self.call}), step {self.step!r}: {repr(self.why)[:200]}"


def cuts(lived: Lived, calls: Sequence[Call], seeds: Sequence[int], counts: Counter[str], first: int = 0) -> Iterator[Cut]:
    """Every cut point from call `first` on after which something is wrong."""
    disk, done, begun = Disk(), -1, False
    for number, call in enumerate(calls):
        disk.apply(call)
        if call.kind == "mark":
            word, _, step = call.path.partition(" ")
            if word not in {"begin", "done"}:
                continue
            begun, done = word == "begin", int(step) - (word == "begin")
        if number < first:
            continue
        name = lived.history.steps[done + begun]
        counts[name] += call.kind != "mark"
        for picture in disk.pictures(seeds):
            counts["pictures"] += 1
            try:
                lived.try_out(picture, done, begun=begun)
            except (AssertionError, CodedError) as exc:
                yield Cut(number, call, name, exc)


def explore(lived: Lived, seeds: Sequence[int]) -> None:
    counts: Counter[str] = Counter()
    found = list(cuts(lived, lived.calls, seeds, counts))
    points = ", ".join(f"{step} {counts[step]}" for step in lived.history.steps)
    total = counts.total() - counts["pictures"]
    print(f"{lived.history.name}: {total} cut points ({points})")
    print(f"{counts['pictures']} pictures, {len(lived.good)} of them different")
    assert not found, "\n".join(map(str, found[:10]))
    assert all(counts[step] for step in lived.history.steps if step != "start")


@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_at_any_call_leaves_a_state_that_starts(name: str, lives: Lives) -> None:
    explore(lives[name], SEEDS)


@pytest.mark.full(seconds=120)
@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_at_any_call_and_many_mixtures(name: str, lives: Lives) -> None:
    explore(lives[name], MANY_SEEDS)


# -- kill -9, then a new process, then the power cut ------------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    """A process was killed behind this call; the next one has found the disk so, and has told of it."""

    number: int
    disk: Disk
    told: object  # when it had started
    seen: object  # when it had done something


def lasting(picture: Picture) -> frozenset[tuple[str, bytes | None]]:
    """All but what every start clears away."""
    return frozenset((path, data) for path, data in picture.items() if STAGING not in path)


def killed(lived: Lived) -> list[Killed]:
    """Every moment at which something was not durable yet, and what the next process made of it."""
    if lived.moments:
        return lived.moments
    disk, before = Disk(), set()
    for number, call in enumerate(lived.calls):
        disk.apply(call)
        written = disk.written()
        found = lasting(written), lasting(disk.synced())
        if found[0] == found[1] or found in before:
            continue
        before.add(found)
        materialise(written, lived.scratch)
        session = lived.history.open(lived.scratch, lived.material)
        told = session.told()
        session.act()
        lived.moments.append(Killed(number, copy.deepcopy(disk), told, session.seen()))
        session.close()
    return lived.moments


def resumed(lived: Lived, moments: Sequence[Killed]) -> list[list[Call]]:
    """What a new process does to each of these disks when it starts, and then does something."""
    parent, marks = lived.scratch.parent / "killed", lived.scratch.parent / "resumed"
    roots = [parent / str(number) for number in range(len(moments))]
    for moment, root in zip(moments, roots, strict=True):
        materialise(moment.disk.written(), root)
    calls = record(child(lived.history, lived.material, marks, 1, roots), parent, marks)
    parts: list[list[Call]] = []
    for call in calls:
        if call.kind == "mark" and call.path.startswith("root "):
            parts.append([])
        else:
            prefix = f"{len(parts) - 1}/"
            parts[-1].append(
                replace(call, path=f"{call.path}/".removeprefix(prefix).rstrip("/"), to=call.to.removeprefix(prefix))
            )
    assert len(parts) == len(moments)
    return parts


def forgotten(lived: Lived, moment: Killed, calls: Sequence[Call], seeds: Sequence[int] | None = None) -> str | None:
    """What a power cut takes back of what the new process has told; None where nothing. Without seeds: one picture only."""
    disk = copy.deepcopy(moment.disk)
    for call in calls:
        disk.apply(call)
        told = moment.told if call.path == "done 0" else moment.seen if call.path == "acted" else None
        if told is None:
            continue
        for picture in (disk.synced(),) if seeds is None else disk.pictures(seeds):
            materialise(picture, lived.scratch)
            try:
                follow(lived, told)
            except (AssertionError, CodedError) as exc:
                return f"killed behind call {moment.number} ({lived.calls[moment.number]}), cut when {call.path}: {exc!r}"[:300]
    return None


def follow(lived: Lived, told: object) -> None:
    session = lived.history.open(lived.scratch, lived.material)
    try:
        session.follows(told)
    finally:
        session.close()


def after_kills(lived: Lived, seeds: Sequence[int] | None) -> None:
    moments = killed(lived)
    parts = zip(moments, resumed(lived, moments), strict=True)
    lost = [said for moment, calls in parts if (said := forgotten(lived, moment, calls, seeds))]
    print(f"{lived.history.name}: killed at {len(moments)} moments")
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_process_left_is_durable_once_the_next_one_has_told_of_it(name: str, lives: Lives) -> None:
    after_kills(lives[name], None)


@pytest.mark.full(seconds=60)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_process_left_is_durable_in_every_mixture(name: str, lives: Lives) -> None:
    after_kills(lives[name], SEEDS)


# -- and no fsync is there for nothing --------------------------------------------------------------------------------

SYNCING = {
    *("os.fsync", "os.fdatasync", "fsync_folder", "disk.fsync_folder", "disk.place", "make_folder", "disk.make_folder"),
    *("write_atomic", "disk.write_atomic"),
}
# no power cut at a desk takes a camera down
ON_A_WORKSTATION = {
    "firmware_pkg/publish_tree.py",
    "firmware_pkg/signed.py",
    "signing/key_files.py",
    "camagent/cli/model_optimize.py",
}


def syncs(calls: Sequence[Call]) -> list[int]:
    return [number for number, call in enumerate(calls) if call.kind == "fsync"]


def sites_of(calls: Sequence[Call], number: int) -> str:
    """Where in the project this fsync was asked for: the line, and the lines that called."""
    return next(call.path.removeprefix("site ") for call in reversed(calls[:number]) if call.path.startswith("site "))


def lines_that_sync() -> set[str]:
    """Every line of the agent that asks for an fsync, by itself or through disk.py."""
    found = set()
    for path in modules():
        if relative(path).startswith("signing/") or relative(path) in ON_A_WORKSTATION:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in SYNCING:
                found.add(f"{relative(path)}:{node.lineno}")
    return found


def test_without_any_single_fsync_something_is_lost(lives: Lives) -> None:
    needed: dict[str, str] = {}
    spare = []
    recorded = 0
    for lived in map(lives.__getitem__, NAMES):
        for number in syncs(lived.calls):
            recorded += 1
            site = sites_of(lived.calls, number)
            cut = next(cuts(lived, without(lived.calls, number), (), Counter(), first=number), None)
            needed[site] = str(cut)
            if cut is None:
                spare.append(f"{lived.history.name}: {lived.calls[number]} at {site}")
    for lived in map(lives.__getitem__, NAMES):  # some matter only where a process was killed before
        moments = killed(lived)
        for moment, calls in zip(moments, resumed(lived, moments), strict=True):
            for number in syncs(calls):
                site = sites_of(calls, number)
                if site not in needed and (said := forgotten(lived, moment, without(calls, number))):
                    needed[site] = said
    for site, said in sorted(needed.items()):
        print(f"without {site}: {said}")
    print(f"{recorded} fsyncs recorded in {len(NAMES)} histories, asked for in {len(needed)} ways")
    assert not spare, "\n".join(spare)
    shown = {line for site in needed for line in site.split(" < ")}
    assert lines_that_sync() <= shown, f"never shown to be needed: {sorted(lines_that_sync() - shown)}"


def without(calls: Sequence[Call], number: int) -> list[Call]:
    return [*calls[:number], *calls[number + 1 :]]


@pytest.mark.full(seconds=60)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("store", "write_atomic"), ("store", "fsync_folder"), ("store", "settle"), ("trust", "write_atomic"),
        ("owner", "fsync_folder"), ("audit", "_append"), ("audit", "_sync_folder"), ("outbox", "_sync"), ("outbox", "write"),
    ],
)  # fmt: skip
def test_a_process_that_really_leaves_out_an_fsync_is_caught(
    name: str, function: str, quick_disk: Path, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAVE_OUT_FSYNC_IN", function)
    lived = live(HISTORIES[name], quick_disk / f"without-{function}", material)
    assert next(cuts(lived, lived.calls, (), Counter()), None) is not None
