"""A look into a TUF repository with `tuf`'s own client: what it lists, proven fresh, whole and signed, or why it is refused.

    with looking(Site.of(url), Kept(folder), anchor, When(clock), Network(rules, stop)) as view:
        source = view.open(choose(view.listed, wish))

Every rule of acceptance is tuf.ngclient's. Ours are the network under it (small_file.py, transfer.py), the clock it judges
expiry by, what is kept over a power cut, and the words: tuf_words.py turns what it raises into refusals.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig  # type: ignore[attr-defined]

from firmware_pkg import catalog, disk, small_file, tuf_words
from firmware_pkg.addresses import Url
from firmware_pkg.catalog import Listed
from firmware_pkg.errors import RepositoryExpired, RepositoryInvalid
from firmware_pkg.order import Order, Rules
from firmware_pkg.transfer import download
from firmware_pkg.tuf_words import Evidence
from signing import limits, trust_time
from signing.errors import CodedError, printable
from signing.trust_time import Clock

MIB = 1024 * 1024
CONFIG = UpdaterConfig(
    root_max_length=limits.ROOT_BYTES, timestamp_max_length=16 * 1024, snapshot_max_length=MIB, targets_max_length=4 * MIB
)
READ_WHOLE = 64 * 1024  # bytes; what is longer than listed is another state's file, not an endless one: tuf sees it and says so

# hears of every root.json that the repository adds, before tuf does; raises to refuse it
Admit = Callable[[bytes, str], None]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a repository lies: two folders of a web server."""

    metadata: Url
    targets: Url

    @classmethod
    def of(cls, base: Url) -> Site:
        """The two folders that `camagent bundle publish` makes below `base`."""
        return cls(*(replace(base, segments=(*base.segments, name)) for name in ("metadata", "targets")))


@dataclass(frozen=True, slots=True)
class Anchor:
    """Whom to believe: the root in force here, and what is asked of every newer one that the repository shows."""

    root: bytes
    admit: Admit = lambda _data, _name: None


@dataclass(frozen=True, slots=True)
class Kept:
    """The metadata that was accepted last, `<folder>/<role>.json`: what a repository may never fall behind again.

    tuf works on a copy, and what it accepted is then written durably, where it changed: its own writes are not fsynced.
    """

    folder: Path

    def hand_out(self, work: Path) -> None:
        """Copies it into tuf's folder; what a killed process had no time to fsync is durable. Raises NoSpace, StateError."""
        with disk.refusing(self.folder):
            disk.make_folder(self.folder)
            if any(self.folder.iterdir()):
                disk.sweep(self.folder)
                disk.fsync_folder(self.folder)
            for path in self.folder.glob("*.json"):
                (work / path.name).write_bytes(path.read_bytes())

    def take_back(self, work: Path) -> None:
        """Keeps what tuf has accepted, with one fsync of the folder for all of it. Raises NoSpace or StateError."""
        with disk.refusing(self.folder):
            changed = [path for path in sorted(work.glob("*.json")) if not self._has(path)]
            for path in changed:
                _write_through(self.folder / f"{disk.UNFINISHED}{path.name}", path.read_bytes())
            for path in changed:
                (self.folder / f"{disk.UNFINISHED}{path.name}").replace(self.folder / path.name)
            if changed:
                disk.fsync_folder(self.folder)

    def _has(self, path: Path) -> bool:
        kept = self.folder / path.name
        return kept.exists() and kept.read_bytes() == path.read_bytes()


def _write_through(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    fd = disk.create(path)
    try:
        disk.write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


class Fetcher(FetcherInterface):
    """tuf's way to the network: ours. `evidence` keeps what came, for the words of a refusal."""

    def __init__(self, folder: Url, network: Network, admit: Admit, evidence: Evidence) -> None:
        self._folder, self._network, self._admit, self._evidence = folder, network, admit, evidence

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A metadata file. Raises DownloadHTTPError where the server has none; DownloadFailed, Refused."""
        name = unquote(url.rpartition("/")[2])  # tuf has quoted it whole: a role may be called what it likes
        where = replace(self._folder, segments=(*self._folder.segments, name))
        try:
            data = small_file.fetch(where, max(max_length, READ_WHOLE), self._network.rules, stop=self._network.stop)
        except small_file.NotServed as exc:
            raise DownloadHTTPError(f"{name}: {exc}", exc.status) from exc
        self._evidence.note(name, data)
        if name.endswith(".root.json"):
            self._admit(data, name)
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Targets do not come this way: see View.open."""
        raise DownloadError(f"not by this way: {url}")


@dataclass(frozen=True, slots=True)
class When:
    """What is known of the time. `require_clock`: refuse, rather than judge at the floor, where the clock is below it."""

    clock: Clock
    require_clock: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """From where files may come, how patiently, and what ends it."""

    rules: Rules
    stop: threading.Event


@dataclass(slots=True)
class View:
    """A repository as it is now. Valid inside `looking`."""

    updater: Updater
    site: Site
    network: Network
    consistent: bool  # names of files begin with their digest
    expires: datetime  # when somebody must have renewed the timestamp
    versions: dict[str, int]
    listed: tuple[Listed, ...]
    refusal: Callable[[Exception], CodedError]  # what tuf raises, in our words

    def find(self, path: str) -> TargetFile | None:
        """What the repository says of a target, delegations included. Raises as `looking`."""
        try:
            return self.updater.get_targetinfo(path)
        except (RepositoryError, DownloadError) as exc:
            raise self.refusal(exc) from exc

    def open(self, target: TargetFile, progress: Callable[[int], None] | None = None) -> BinaryIO:
        """A target as a stream whose last bytes come only when length and digest are those that were signed.

        tuf's own download_target would write it to disk twice before the store writes it a third time; length and digest are
        the ones that tuf has verified, and the stream resumes where a connection breaks.

        Raises:
            DownloadFailed: from here or from a read.
            RepositoryInvalid: no SHA-256 is listed for it.
        """
        sha256 = target.hashes.get("sha256")
        if sha256 is None:
            evidence = {"listed": ", ".join(sorted(target.hashes)) or "no digest", "expected": "sha256"}
            fix = "publish it with 'camagent bundle publish'"
            raise RepositoryInvalid(f"{printable(target.path)} is listed without its SHA-256", evidence=evidence, fix=fix)
        folder, slash, name = target.path.rpartition("/")
        prefix = f"{sha256}." if self.consistent else ""
        order = Order(f"{self.site.targets.shown}/{folder}{slash}{prefix}{name}", sha256, target.length)
        return download(order, self.network.rules, progress=progress, stop=self.network.stop)


@contextmanager
def looking(site: Site, kept: Kept, anchor: Anchor, when: When, network: Network) -> Iterator[View]:
    """Brings what is known of a repository up to date and shows it. What was accepted is kept, also where the rest is refused.

    Raises:
        DownloadFailed: not reached, too slow, too much.
        RepositoryExpired, RepositoryRollback, RepositoryMixed, RepositorySignature, RepositoryKeys, RepositoryInvalid: see
            firmware_pkg.errors.
        TrustExpired, ClockUntrusted: of the root, and of the clock.
        NoSpace, StateError: what was accepted cannot be kept.
        Refused: whatever `anchor.admit` raises.
    """
    with ExitStack() as stack:
        with disk.refusing(Path(tempfile.gettempdir())):
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="camagent-tuf-")))
        kept.hand_out(work)
        stack.callback(kept.take_back, work)
        evidence = Evidence(kept.folder, anchor.root)
        fetcher = Fetcher(site.metadata, network, anchor.admit, evidence)

        def refusal(exc: Exception) -> CodedError:
            return tuf_words.refusal(exc, evidence, when.clock, require_clock=when.require_clock)

        try:
            with disk.refusing(work):
                updater = Updater(str(work), site.metadata.shown, fetcher=fetcher, config=CONFIG, bootstrap=anchor.root)
                judge_expiry_at(updater, when.clock.judged_at)
                updater.refresh()
        except (RepositoryError, DownloadError) as exc:
            raise refusal(exc) from exc
        _judge_clock(work, when)
        yield _view(updater, site, network, work, refusal)


def judge_expiry_at(updater: Updater, moment: datetime) -> None:
    """Sets the time for expiry. Tuf takes the wall clock, and has no way to be told another time but this private one.

    The one place that knows of it; a test fails where tuf moves it.
    """
    updater._trusted_set.reference_time = moment  # noqa: SLF001


def _judge_clock(work: Path, when: When) -> None:
    """What tuf did not ask: whether the clock may be below the floor at all."""
    expires = Metadata[Timestamp].from_file(str(work / "timestamp.json")).signed.expires
    what, strict = "the repository's timestamp", when.require_clock
    trust_time.judge(what, expires, when.clock, refusal=RepositoryExpired, require_clock=strict)


def _view(updater: Updater, site: Site, network: Network, work: Path, refusal: Callable[[Exception], CodedError]) -> View:
    root = Metadata[Root].from_file(str(work / "root.json")).signed
    timestamp = Metadata[Timestamp].from_file(str(work / "timestamp.json")).signed
    targets = Metadata[Targets].from_file(str(work / "targets.json")).signed
    versions = {
        "root": root.version, "timestamp": timestamp.version, "snapshot": timestamp.snapshot_meta.version,
        "targets": targets.version,
    }  # fmt: skip
    return View(
        updater, site, network, consistent=bool(root.consistent_snapshot), expires=timestamp.expires, versions=versions,
        listed=catalog.listed(targets.targets), refusal=refusal,
    )  # fmt: skip


__all__ = ["Anchor", "Kept", "Network", "Site", "View", "When", "judge_expiry_at", "looking"]
