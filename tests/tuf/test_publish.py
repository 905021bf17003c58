"""`camagent bundle publish`: what it writes is a TUF repository to tuf's own client, at every moment of the writing too."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.ngclient import Updater  # type: ignore[attr-defined]

from camagent import cli
from firmware_pkg import disk
from firmware_pkg.publish import Changes, Lifetimes, Publication, Signers
from firmware_pkg.publish import publish as make
from firmware_pkg.publish_tree import Tree
from signing import key_files, trust_edit
from signing.trust import TrustRoot, read_root
from signing.trust_time import Clock
from tests.signing.support import changed, key, refused
from tests.support.bundles import in_a_year, make_signed, make_unsigned, root_json, write_key
from tests.support.tuf_world import folder_served
from tests.test_contracts import ROOT

ROLES = ("root", "timestamp", "snapshot", "targets")


def clock(days: float = 0) -> Clock:
    now = datetime.now(UTC) + timedelta(days=days)
    return Clock(now, now - timedelta(days=1000), synchronised=True)


@cache
def root_with(*signers: str, threshold: int = 1, online: tuple[str, ...] = ("online",)) -> TrustRoot:
    public = [key(name).public for name in signers or ("release",)]
    online_keys = [key(name).public for name in online]
    return read_root(trust_edit.init([key("root")], public, expires=in_a_year(), threshold=threshold, online_keys=online_keys))


BOTH = Signers([key("release")], [key("online")])
ONLINE = Signers(online=[key("online")])


@dataclass
class Shop:
    """Somebody who publishes, and tuf's own clients of it: one that is new each time, one that remembers."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def bundle(self, version: str = "1.0.0", **options: Any) -> Path:
        return make_signed(self.folder, version=version, **options)

    def publish(self, *bundles: Path, root: TrustRoot | None = None, signers: Signers = BOTH, **options: Any) -> Publication:
        remove = options.pop("remove", ())
        options.setdefault("clock", clock())
        return make(self.site, [root or root_with()], Changes(bundles, remove), signers, **options)

    def listed(self, root: TrustRoot | None = None, keeping: Path | None = None, fetch: bool = False) -> set[str]:
        """What plain tuf.ngclient finds, with its own network code; every target is downloaded where that is asked for."""
        memory = keeping or self.folder / "fresh"
        if keeping is None:
            shutil.rmtree(memory, ignore_errors=True)
        memory.mkdir(exist_ok=True)
        with folder_served(self.site) as server:
            updater = Updater(
                str(memory), f"{server.url}metadata/", str(self.folder), f"{server.url}targets/",
                bootstrap=(root or root_with()).data,
            )  # fmt: skip
            updater.refresh()
            targets = Metadata[Targets].from_file(str(memory / "targets.json")).signed.targets
            for path in targets if fetch else ():
                target = updater.get_targetinfo(path)
                assert target is not None
                got = Path(updater.download_target(target, str(self.folder / "got")))
                assert len(got.read_bytes()) == target.length
        return {path.rpartition("-")[2].removesuffix(".cambundle") for path in targets}

    def version(self, role: str) -> int:
        tree = Tree(self.site)
        return tree.highest(role)

    def timestamp(self) -> Timestamp:
        return Metadata[Timestamp].from_file(str(self.site / "metadata" / "timestamp.json")).signed


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# -- what it writes -------------------------------------------------------------------------------------------------------


def test_plain_tuf_accepts_what_is_published_and_fetches_it(shop: Shop) -> None:
    first = shop.publish(shop.bundle())
    assert first.missing == ()
    assert shop.listed(fetch=True) == {"1.0.0"}
    assert (shop.folder / "got").read_bytes() == (shop.folder / "blobs-1.0.0.cambundle").read_bytes()
    second = shop.publish(shop.bundle("1.1.0"), shop.bundle("2.0.0", compatible=["rk3588"], index=3))
    assert dict(second.versions) == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}
    assert shop.listed(fetch=True) == {"1.0.0", "1.1.0", "2.0.0"}
    about = next(one.about for one in second.listed if one.about.version == "2.0.0")
    assert (about.name, about.compatible, about.rollback_index) == ("blobs", ("rk3588",), 3)
    third = shop.publish(remove=[("blobs", "1.0.0")])
    assert {one.about.version for one in third.listed} == {"1.1.0", "2.0.0"} == shop.listed()


def test_files_are_named_by_version_and_digest_and_can_be_read_by_a_web_server(shop: Shop) -> None:
    shop.publish(shop.bundle())
    names = sorted(path.relative_to(shop.site).as_posix() for path in shop.site.rglob("*") if path.is_file())
    (target,) = [name for name in names if name.startswith("targets/")]
    assert names == [
        "metadata/1.root.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "metadata/timestamp.json",
        target,
    ]
    assert target.endswith(".blobs-1.0.0.cambundle")
    for path in shop.site.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o444 == 0o444, path
        assert path.is_file() or mode & 0o111 == 0o111, path


def test_key_ids_are_those_of_the_trust_root(shop: Shop) -> None:
    shop.publish(shop.bundle())
    assert set(Metadata[Targets].from_file(str(shop.site / "metadata/1.targets.json")).signatures) == {key("release").public.id}
    assert set(Metadata[Timestamp].from_file(str(shop.site / "metadata/timestamp.json")).signatures) == {
        key("online").public.id
    }


def test_lifetimes(shop: Shop) -> None:
    made = shop.publish(shop.bundle(), lifetimes=Lifetimes(timedelta(hours=12), timedelta(days=3), timedelta(days=20)))
    hours = {name: (moment - datetime.now(UTC)) / timedelta(hours=1) for name, moment in made.expires.items()}
    assert 11.9 < hours["timestamp"] <= 12
    assert 71.9 < hours["snapshot"] <= 72
    assert 479 < hours["targets"] <= 480
    assert any("targets expires" in warning for warning in made.warnings)


# -- renewing, as cron does -----------------------------------------------------------------------------------------------


def test_the_timestamp_is_renewed_without_the_signers_key(shop: Shop) -> None:
    shop.publish(shop.bundle(), clock=clock(-6))
    memory = shop.folder / "memory"
    assert shop.listed(keeping=memory) == {"1.0.0"}
    made = shop.publish(signers=ONLINE)
    assert dict(made.versions) == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 2}
    assert shop.listed(keeping=memory) == {"1.0.0"}
    later = shop.publish(signers=ONLINE, clock=clock(10))
    assert (later.versions["snapshot"], later.versions["timestamp"]) == (2, 3), "the snapshot is past its half"
    assert shop.listed(keeping=memory) == {"1.0.0"}


def test_a_renewal_that_nobody_would_believe_is_refused(shop: Shop) -> None:
    shop.publish(shop.bundle(), lifetimes=Lifetimes(targets=timedelta(days=2)))
    refused("REPOSITORY_EXPIRED", lambda: shop.publish(signers=ONLINE, clock=clock(3)))
    root = root_with()
    second = read_root(trust_edit.add_signer(root, key("new").public, [key("root")], expires=in_a_year()))
    third = read_root(trust_edit.remove_signer(second, key("release").public.id, [key("root")], expires=in_a_year()))
    before = (shop.site / "metadata/timestamp.json").read_bytes()
    refused("REPOSITORY_SIGNATURE", lambda: make(shop.site, [root, second, third], Changes(), ONLINE, clock=clock()))
    assert (shop.site / "metadata/timestamp.json").read_bytes() == before
    refused("UNTRUSTED_SIGNER", lambda: make(shop.site, [root], Changes(), Signers(), clock=clock()), "neither")
    refused("NOT_LISTED", lambda: make(shop.folder / "empty", [root], Changes(), ONLINE, clock=clock()))


# -- who may --------------------------------------------------------------------------------------------------------------


def test_roots_without_online_keys_stay_valid_and_cannot_publish(shop: Shop) -> None:
    plain = read_root(root_json())
    assert not plain.has_repository
    error = refused("REPOSITORY_KEYS", lambda: shop.publish(shop.bundle(), root=plain), "no keys for snapshot")
    assert "--online-key" in error.fix
    mended = read_root(trust_edit.rotate(plain, [key("root")], expires=in_a_year(), online_keys=[key("online").public]))
    make(shop.site, [plain, mended], Changes([shop.bundle()]), BOTH, clock=clock())
    assert shop.listed(root=plain) == {"1.0.0"}, "a client that knows the first root alone follows"


def test_nobody_else_signs(shop: Shop) -> None:
    refused("UNTRUSTED_SIGNER", lambda: shop.publish(shop.bundle(), signers=Signers([key("online")], [key("online")])))
    refused("UNTRUSTED_SIGNER", lambda: shop.publish(shop.bundle(), signers=Signers([key("release")], [key("release")])))
    assert not (shop.site / "metadata/timestamp.json").exists()


def test_expired_roots_publish_nothing(shop: Shop) -> None:
    refused("TRUST_EXPIRED", lambda: shop.publish(shop.bundle(), clock=clock(400)))


def test_bundles_are_verified_first(shop: Shop) -> None:
    cases = {
        "SIGNATURE_MISSING": make_unsigned(shop.folder, file="a"),
        "UNTRUSTED_SIGNER": shop.bundle(signers=("stranger",), file="b"),
        "BUNDLE_TRUNCATED": shop.bundle(file="c"),
    }
    cases["BUNDLE_TRUNCATED"].write_bytes(cases["BUNDLE_TRUNCATED"].read_bytes()[:5000])
    good = shop.bundle("3.0.0")
    for code, path in cases.items():
        error = refused(code, lambda path=path: shop.publish(good, path))  # type: ignore[misc]
        assert error.evidence["file"] == str(path)
    assert not (shop.site / "metadata/timestamp.json").exists()
    assert not list(shop.site.rglob(".new-*"))


def test_a_version_is_one_content_for_ever(shop: Shop) -> None:
    shop.publish(shop.bundle())
    refused("LISTED_ALREADY", lambda: shop.publish(shop.bundle(gain=0.5)))
    shop.publish(shop.bundle(signers=("release", "second")))  # the same content, with one signature more
    assert shop.listed(fetch=True) == {"1.0.0"}
    refused("NOT_LISTED", lambda: shop.publish(remove=[("blobs", "9")]))


# -- a threshold of several signers ---------------------------------------------------------------------------------------


def test_two_signers_on_two_machines(shop: Shop) -> None:
    root = root_with("release", "second", threshold=2)
    bundle = shop.bundle(signers=("release", "second"))
    first = shop.publish(bundle, root=root, signers=Signers([key("release")]))
    assert first.missing == (f"1 more of 2 signatures, by {key('second').public.id[:16]}", "an online key")
    assert not (shop.site / "metadata/timestamp.json").exists()
    again = shop.publish(root=root, signers=Signers([key("release")]))
    assert "1 more of 2" in again.missing[0], "one key is one signature"
    second = shop.publish(root=root, signers=Signers([key("second")]))
    assert second.missing == ("an online key",)
    assert shop.publish(root=root, signers=ONLINE).missing == ()
    assert shop.listed(root=root, fetch=True) == {"1.0.0"}
    assert not (shop.site / "draft/targets.json").exists()


def test_cron_does_not_wait_for_people(shop: Shop) -> None:
    root = root_with("release", "second", threshold=2)
    all_of_them = Signers([key("release"), key("second")], [key("online")])
    shop.publish(shop.bundle(signers=("release", "second")), root=root, signers=all_of_them)
    shop.publish(shop.bundle("1.1.0", signers=("release", "second")), root=root, signers=Signers([key("release")]))
    renewed = shop.publish(root=root, signers=ONLINE)
    assert renewed.missing == ()
    assert renewed.versions["timestamp"] == 2
    assert any("waits for 1 more" in warning for warning in renewed.warnings)
    assert shop.listed(root=root) == {"1.0.0"}
    more = shop.publish(shop.bundle("1.2.0", signers=("release", "second")), root=root, signers=all_of_them)
    assert {one.about.version for one in more.listed} == {"1.0.0", "1.1.0", "1.2.0"}, "a draft that grows keeps what is in it"


def test_who_signs_a_draft_signs_what_was_verified(shop: Shop) -> None:
    root = root_with("release", "second", threshold=2)
    shop.publish(shop.bundle(signers=("release", "second")), root=root, signers=Signers([key("release")]))
    draft = shop.site / "draft/targets.json"

    def lie(document: dict[str, Any]) -> None:
        next(iter(document["signed"]["targets"].values()))["custom"]["compatible"] = ["rk3588"]

    draft.write_bytes(changed(draft.read_bytes(), lie))
    refused("REPOSITORY_INVALID", lambda: shop.publish(root=root, signers=Signers([key("second")])), "rk3588")


# -- what lies there is suspected -----------------------------------------------------------------------------------------


def test_an_intruders_list_is_not_signed_anew(shop: Shop) -> None:
    shop.publish(shop.bundle())
    path = shop.site / "metadata/1.targets.json"
    path.write_bytes(changed(path.read_bytes(), lambda document: document["signed"]["targets"].clear()))
    refused("REPOSITORY_SIGNATURE", lambda: shop.publish(shop.bundle("1.1.0")))
    path.write_bytes(b"{")
    refused("REPOSITORY_INVALID", lambda: shop.publish(shop.bundle("1.1.0")))
    path.unlink()
    refused("REPOSITORY_INVALID", lambda: shop.publish(shop.bundle("1.1.0")), "1.targets.json")


def test_one_publisher_at_a_time(shop: Shop) -> None:
    with Tree(shop.site).alone():
        refused("STATE_UNUSABLE", lambda: shop.publish(shop.bundle()))
    shop.publish(shop.bundle())


# -- interrupted ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nobody cleans up after kill -9."""


WRITES = ("write_atomic", "place")


def die_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The process dies before its write of that number; the number of writes so far."""
    done = 0

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def write(*arguments: Any) -> None:
            nonlocal done
            if done == number:
                raise Killed
            done += 1
            real(*arguments)

        return write

    for name in WRITES:
        monkeypatch.setattr(disk, name, dying(getattr(disk, name)))
    return lambda: done


@cache
def rotated(root: TrustRoot) -> TrustRoot:
    online = [key("online2").public]
    return read_root(trust_edit.rotate(root, [key("root")], expires=in_a_year(), online_keys=online))


PUBLISHES: dict[str, Callable[[Shop], Publication]] = {
    "a new bundle": lambda shop: shop.publish(shop.bundle("1.1.0")),
    "a renewal": lambda shop: shop.publish(signers=ONLINE, clock=clock(20)),
    "a new root": lambda shop: shop.publish(
        shop.bundle("1.1.0"), root=rotated(root_with()), signers=Signers([key("release")], [key("online"), key("online2")])
    ),
}


@pytest.mark.parametrize("what", PUBLISHES)
def test_an_interruption_at_any_write_leaves_a_sound_repository(shop: Shop, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start, number = shop.folder / "start", 0
    shop.publish(shop.bundle())
    shop.bundle("1.1.0")
    shutil.copytree(shop.site, start)
    memory = shop.folder / "memory"
    while True:
        for folder in (shop.site, memory):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, shop.site)
        if what != "a renewal":
            assert shop.listed(keeping=memory) == {"1.0.0"}
        with monkeypatch.context() as patch:
            writes = die_at(number, patch)
            try:
                PUBLISHES[what](shop)
            except Killed:
                assert writes() == number
            else:
                break
        if what != "a renewal":  # which happens in twenty days, when the state before has expired
            assert shop.listed() <= {"1.0.0", "1.1.0"}
            shop.listed(keeping=memory, fetch=True)
        PUBLISHES[what](shop)
        if what != "a renewal":
            assert shop.listed(keeping=memory, fetch=True) == {"1.0.0", "1.1.0"} == shop.listed()
        number += 1
    assert number >= {"a new bundle": 4, "a renewal": 2, "a new root": 5}[what]


def test_a_renewal_that_is_interrupted_can_be_done_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.publish(shop.bundle(), clock=clock(-16))
    with monkeypatch.context() as patch:
        die_at(1, patch)
        with pytest.raises(Killed):
            shop.publish(signers=ONLINE)
    assert shop.version(Snapshot.type) == 2
    assert shop.timestamp().snapshot_meta.version == 1
    made = shop.publish(signers=ONLINE)
    assert made.versions["snapshot"] == 3
    assert shop.listed() == {"1.0.0"}


# -- the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    (shop.folder / "root.json").write_bytes(root_with("release", "second", threshold=2).data)
    for name in ("release", "second", "online"):
        write_key(shop.folder, name)

    def run(*words: object) -> tuple[int, str, str]:
        given = ["bundle", "publish", str(shop.site), *map(str, words), "--root", str(shop.folder / "root.json")]
        code = cli.run(given)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_from_the_first_signature_to_cron(shop: Shop, command: Callable[..., tuple[int, str, str]]) -> None:
    release, second, online = (str(shop.folder / f"{name}.pem") for name in ("release", "second", "online"))
    bundle = shop.bundle(signers=("release", "second"))
    code, out, _ = command(bundle, "--key", release, "--online-key", online)
    assert (code, out.split(":")[0]) == (1, "not published yet")
    code, out, _ = command("--key", second, "--online-key", online, "--json")
    body = json.loads(out)
    assert (code, body["schema"], body["published"], body["missing"]) == (0, "camagent.publication/1", True, [])
    assert [(one["name"], one["version"]) for one in body["bundles"]] == [("blobs", "1.0.0")]
    code, out, _ = command("--online-key", online)
    assert code == 0
    assert "published" in out
    assert "timestamp 2" in out
    code, _, err = command("--online-key", online, "--expires-timestamp", "soon")
    assert (code, err.split(":")[0]) == (2, "error[USAGE]")
    code, _, err = command("--online-key", release)
    assert (code, err.split(":")[0]) == (1, "error[UNTRUSTED_SIGNER]")


def test_the_manuals_commands(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/tuf-repository.md, as it stands: from the keys to a bundle that is taken out again."""
    monkeypatch.chdir(shop.folder)
    text = (ROOT / "docs/tuf-repository.md").read_text("utf-8")
    block = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0]
    for line in block.strip().splitlines():
        if "fastestdet" in line and "--remove" not in line:
            version = re.findall(r"fastestdet-(\S+)\.cambundle", line)[0]
            signer = key_files.load_private(Path("keys/release.pem"), None)
            make_signed(shop.folder, name="fastestdet", version=version, signers=(signer,))
        assert cli.run(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert shop.listed(root=read_root(Path("root.json").read_bytes()), fetch=True) == {"1.1.0"}


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bundle", "publish", "--help"]) == 0
    assert "Example: camagent bundle publish" in capsys.readouterr().out


def test_roles_are_all_there(shop: Shop) -> None:
    shop.publish(shop.bundle())
    assert all((shop.site / "metadata" / f"{'' if role == 'timestamp' else '1.'}{role}.json").exists() for role in ROLES)
    assert Metadata[Root].from_file(str(shop.site / "metadata/1.root.json")).signed.consistent_snapshot
