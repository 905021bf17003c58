"""Attacks on a camera that takes bundles from a TUF repository: each has its code, and none of them installs anything.

The repository is written by `bundle publish`, served by a real HTTP server, and asked by `bundle install NAME --repository`.
Attackers hold the web server, and where it is said, a stolen key.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater  # type: ignore[attr-defined]

from camagent import cli, fetching, vitals
from firmware_pkg.order import Limits
from firmware_pkg.publish import Changes, Publication, Signers
from firmware_pkg.publish import publish as make
from firmware_pkg.tuf_client import judge_expiry_at
from signing import trust_edit
from signing.trust import TrustRoot, read_root
from signing.trust_edit import ForTuf
from signing.trust_time import Clock
from tests.signing.support import key
from tests.support.bundles import in_a_year, make_signed
from tests.support.http_server import Request, Server, head, serving
from tests.support.tls import Authority
from tests.support.tuf_world import FolderServer, days, folder_served
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


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(vitals, "clock_synchronised", lambda: True)  # the kernel's word: it differs from machine to machine
    monkeypatch.setattr(fetching, "LIMITS", QUICK)
    (tmp_path / "root.json").write_bytes(first_root().data)
    camera = '[[camera]]\nname = "front"\nurl = "x.mp4"\nbundle = "blobs"\n'
    agent = f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\ntrust = "{tmp_path}/root.json"\ndevice = "rk3568"\n'
    (tmp_path / "camagent.toml").write_text(f'{agent}[web]\nlisten = ""\n{camera}')
    with folder_served(tmp_path / "web") as server:
        yield Scene(tmp_path, server, capsys)


# -- the way it is meant to be --------------------------------------------------------------------------------------------


def test_the_newest_version_that_fits_is_taken(scene: Scene) -> None:
    scene.publish("1.0.0", "1.9.0", "1.10.0")
    scene.publish("3.0.0", compatible=["rk3588"])
    scene.takes("1.10.0")
    assert scene.fetch() == 0
    assert "nothing newer" in scene.capsys.readouterr().out
    scene.publish("1.11.0", compatible=["rk3566", "rk3588"])
    scene.takes("1.11.0")
    assert len([path for path in scene.server.asked if path.startswith("targets/")]) == 2


def test_an_older_listing_never_takes_a_camera_back(scene: Scene) -> None:
    scene.publish("1.0.0", "2.0.0")
    scene.takes("2.0.0")
    root = first_root()
    make(
        scene.folder / "own",
        [root],
        Changes(remove=[("blobs", "2.0.0")]),
        Signers([key("release")], [key("online")]),
        clock=at(),
    )
    scene.upload()
    assert scene.fetch("--json") == 0
    result = json.loads(scene.capsys.readouterr().out)["result"]
    assert (result["outcome"], result["version"], result["listed"]) == ("unchanged", "2.0.0", "1.0.0")


def test_what_is_kept_of_the_metadata(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    (folder,) = (scene.folder / "state/tuf").iterdir()
    assert {path.name for path in folder.iterdir()} == {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert scene.fetch() == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before, (
        "flash is written where something changed"
    )


def test_nothing_of_that_name_or_for_this_device(scene: Scene) -> None:
    scene.publish("1.0.0", compatible=["rk3588"])
    scene.refused("NOT_LISTED", "1.0.0 for rk3588", "rk3568")
    words = ["bundle", "install", "../x", "--repository", scene.server.url, "-c", scene.config]
    assert cli.run(words) == 2


# -- rollback -------------------------------------------------------------------------------------------------------------


def test_rollback_to_an_old_copy_of_everything(scene: Scene) -> None:
    scene.publish("1.0.0")
    old = scene.folder / "old"
    shutil.copytree(scene.web, old)
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    scene.upload("old")
    scene.refused("REPOSITORY_ROLLBACK", "seen before = 2", "offered = 1")


def test_rollback_of_the_snapshot_by_a_stolen_online_key(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    first = meta_of(scene, "1.snapshot.json", 1)

    def back(timestamp: Timestamp) -> None:
        timestamp.version, timestamp.snapshot_meta = 3, first

    scene.sign("timestamp.json", back)
    scene.refused("REPOSITORY_ROLLBACK", "(snapshot 2)", "(snapshot 1)")


def meta_of(scene: Scene, name: str, version: int) -> MetaFile:
    return MetaFile.from_data(version, scene.metadata(name).read_bytes(), ["sha256"])


def test_rollback_of_the_list_by_a_stolen_online_key(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    old_list = meta_of(scene, "1.targets.json", 1)

    def back(snapshot: Snapshot) -> None:
        snapshot.version, snapshot.meta["targets.json"] = 3, old_list

    scene.sign("2.snapshot.json", back)
    new = meta_of(scene, "3.snapshot.json", 3)

    def follow(timestamp: Timestamp) -> None:
        timestamp.version, timestamp.snapshot_meta = 3, new

    scene.sign("timestamp.json", follow)
    scene.refused("REPOSITORY_ROLLBACK", "targets.json 2", "targets.json 1")


def test_the_memory_outlives_a_damaged_download_and_every_process(scene: Scene) -> None:
    """Every command here is a process's whole life with the state directory: nothing is remembered in memory."""
    test_rollback_to_an_old_copy_of_everything(scene)
    scene.refused("REPOSITORY_ROLLBACK")
    scene.metadata("timestamp.json").write_bytes(b"{}")
    scene.refused("REPOSITORY_INVALID")
    scene.upload("old")
    scene.refused("REPOSITORY_ROLLBACK")
    scene.upload("own")
    assert scene.fetch() == 0


# -- freeze ---------------------------------------------------------------------------------------------------------------


def test_freeze_is_noticed_when_the_timestamp_expires(scene: Scene) -> None:
    scene.publish("1.0.0", days=-8)
    scene.refused("REPOSITORY_EXPIRED", "timestamp 1 has expired", "--online-key")


def test_freeze_of_the_snapshot_or_the_list(scene: Scene) -> None:
    scene.publish("1.0.0", days=-31)
    scene.sign("timestamp.json", lambda timestamp: setattr(timestamp, "expires", days(5)))
    scene.refused("REPOSITORY_EXPIRED", "snapshot 1 has expired")


def test_a_clock_that_is_not_synchronised_is_doubted_before_the_repository(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.publish("1.0.0", days=-8)
    monkeypatch.setattr(vitals, "clock_synchronised", lambda: False)
    scene.refused("CLOCK_UNTRUSTED", "not synchronised", "timedatectl")
    scene.publish()
    scene.takes("1.0.0")


def test_expiry_is_judged_at_the_floor_where_the_clock_is_below_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera without a battery starts in 1970: what had expired when its software was built has expired."""
    scene.publish("1.0.0", days=-3)  # still good by the true clock
    floor = datetime.now(UTC) + timedelta(days=10)
    monkeypatch.setattr("camagent.trust_desk.BUILD_TIME", floor)
    scene.refused("REPOSITORY_EXPIRED", f"judged at = {floor:%Y-%m-%d}")


def test_require_clock_refuses_where_the_clock_is_below_the_floor(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publish("1.0.0")
    path = Path(scene.config)
    path.write_text(path.read_text().replace("[agent]\n", "[agent]\nrequire_clock = true\n"))
    monkeypatch.setattr("camagent.trust_desk.BUILD_TIME", datetime.now(UTC) + timedelta(days=1))
    scene.refused("CLOCK_UNTRUSTED")


def test_tuf_can_be_told_the_time(tmp_path: Path) -> None:
    """The one private attribute that is used: tuf has no other way. Where this fails, see tuf_client.judge_expiry_at."""
    updater = Updater(str(tmp_path), "http://127.0.0.1:1/", bootstrap=first_root().data)
    moment = datetime(2031, 1, 1, tzinfo=UTC)
    judge_expiry_at(updater, moment)
    assert updater._trusted_set.reference_time == moment
    timestamp: Metadata[Timestamp] = Metadata(Timestamp(expires=datetime(2030, 1, 1, tzinfo=UTC)))
    timestamp.sign(ForTuf(key("online")))
    with pytest.raises(Exception, match="expired"):
        updater._trusted_set.update_timestamp(timestamp.to_bytes())


# -- mix-and-match --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["snapshot", "targets"])
def test_files_of_different_states(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    shutil.copy(scene.metadata(f"1.{name}.json"), scene.metadata(f"2.{name}.json"))
    scene.refused("REPOSITORY_MIXED", f"the repository's {name} does not belong", "version 2")


def test_a_list_of_the_right_number_and_another_content(scene: Scene) -> None:
    """By a stolen release key alone: the snapshot names the digest of the list."""
    scene.publish("1.0.0")
    scene.sign("1.targets.json", lambda targets: targets.unrecognized_fields.update(more=1), signer="release")
    scene.refused("REPOSITORY_MIXED")


# -- keys -----------------------------------------------------------------------------------------------------------------


def test_a_repository_of_somebody_else(scene: Scene) -> None:
    other = read_root(
        trust_edit.init([key("thief")], [key("release").public], expires=in_a_year(), online_keys=[key("thief2").public])
    )
    scene.publish("1.0.0", root=other, online="thief2")
    scene.refused("REPOSITORY_SIGNATURE", key("online").public.id[:16], key("thief2").public.id[:16])


@pytest.mark.parametrize(
    ("name", "signer"), [("timestamp.json", "release"), ("1.snapshot.json", "release"), ("1.targets.json", "online")]
)
def test_keys_of_another_role_do_not_count(scene: Scene, name: str, signer: str) -> None:
    scene.publish("1.0.0")
    scene.sign(name, lambda signed: None, signer=signer)
    if "timestamp" not in name:  # so that the digests fit
        snapshot = meta_of(scene, "1.targets.json", 1)
        if "targets" in name:
            scene.sign("1.snapshot.json", lambda signed: signed.meta.update({"targets.json": snapshot}))
        new = meta_of(scene, "1.snapshot.json", 1)
        scene.sign("timestamp.json", lambda signed: setattr(signed, "snapshot_meta", new))
    scene.refused("REPOSITORY_SIGNATURE", key(signer).public.id[:16])


def test_a_root_that_is_not_made_for_a_repository(scene: Scene) -> None:
    scene.publish("1.0.0")
    plain = trust_edit.init([key("root")], [key("release").public], expires=in_a_year())
    (scene.folder / "root.json").write_bytes(plain)
    scene.refused("REPOSITORY_KEYS", "no key for timestamp", "--online-key")


def test_a_bundle_that_the_list_vouches_for_is_verified_all_the_same(scene: Scene) -> None:
    """Whoever has stolen both the list's key and the online key still cannot make a camera run what nobody signed."""
    scene.publish("1.0.0")
    stranger = make_signed(scene.folder, version="9.0.0", signers=("stranger",)).read_bytes()

    def list_it(targets: Targets) -> None:
        (listed,) = targets.targets.values()
        new = type(listed).from_data("blobs/blobs-9.0.0.cambundle", stranger, ["sha256"])
        new.unrecognized_fields = {"custom": {**(listed.custom or {}), "version": "9.0.0", "digest": "0" * 64}}
        targets.targets, targets.version = {new.path: new}, 2
        (scene.web / f"targets/blobs/{new.hashes['sha256']}.blobs-9.0.0.cambundle").write_bytes(stranger)

    scene.sign("1.targets.json", list_it, signer="release")
    listing = meta_of(scene, "2.targets.json", 2)

    def follow(snapshot: Snapshot) -> None:
        snapshot.version, snapshot.meta["targets.json"] = 2, listing

    scene.sign("1.snapshot.json", follow)
    new = meta_of(scene, "2.snapshot.json", 2)

    def name_it(timestamp: Timestamp) -> None:
        timestamp.version, timestamp.snapshot_meta = 2, new

    scene.sign("timestamp.json", name_it)
    scene.refused("UNTRUSTED_SIGNER")


# -- roots ----------------------------------------------------------------------------------------------------------------


def trusted(scene: Scene) -> list[str]:
    return sorted(path.name for path in (scene.folder / "state/trust").glob("*.root.json"))


def test_a_new_root_is_learned_from_the_repository_and_decides_at_once(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    make(
        scene.folder / "own", [first_root(), second_root()],
        Changes([make_signed(scene.folder, version="1.1.0", signers=("new release",))], remove=[("blobs", "1.0.0")]),
        Signers([key("new release")], [key("online")]), clock=at(),
    )  # fmt: skip
    scene.upload()
    scene.takes("1.1.0")
    assert trusted(scene) == ["1.root.json", "2.root.json"]
    events = [json.loads(line) for line in next((scene.folder / "state").rglob("audit*")).read_text().splitlines()]
    assert any(event.get("event") == "trust" and "tuf" in str(event.get("origin")) for event in events), events


def test_a_root_that_does_not_follow_is_no_root(scene: Scene) -> None:
    scene.publish("1.0.0")
    for signer, code in (("thief", "TRUST_ROTATION"), ("root", "TRUST_ROTATION")):
        root = Metadata[Root].from_bytes(first_root().data)
        root.signed.version = 2 if signer == "thief" else 3
        root.signatures.clear()
        root.sign(ForTuf(key(signer)))
        scene.metadata("2.root.json").write_bytes(root.to_bytes(JSONSerializer()))
        scene.refused(code)
        assert trusted(scene) == ["1.root.json"]


def test_a_new_root_that_has_expired_is_not_taken(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.metadata("2.root.json").write_bytes(trust_edit.rotate(first_root(), [key("root")], expires=days(-1)))
    scene.refused("TRUST_EXPIRED")
    assert trusted(scene) == ["1.root.json"]


def test_roots_are_learned_also_where_the_rest_is_refused(scene: Scene) -> None:
    """Revocation must not wait for a repository that is in order again."""
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    scene.metadata("2.root.json").write_bytes(second_root().data)
    scene.capsys.readouterr()
    assert scene.fetch() == 1
    assert "error[REPOSITORY_SIGNATURE]" in scene.capsys.readouterr().err, "the list is signed by the revoked key alone"
    assert trusted(scene) == ["1.root.json", "2.root.json"]


def test_a_camera_without_a_root_takes_none_from_the_network(scene: Scene) -> None:
    scene.publish("1.0.0")
    (scene.folder / "root.json").unlink()
    scene.capsys.readouterr()
    assert scene.fetch() == 1
    said = scene.capsys.readouterr().err
    assert "error[TRUST_MISSING]" in said
    assert "on the device: 'camagent trust install root.json'" in said
    assert scene.server.asked == []


# -- the network ----------------------------------------------------------------------------------------------------------


class Endless:
    """Sends for ever, as fast as it is read; `sent` bytes in all."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, server: Server, request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200))
        while not server.over.is_set():
            wire.sendall(b" " * 65536)
            self.sent += 65536


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_endless_metadata(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    endless = scene.server.faults[name] = Endless()
    scene.refused("DOWNLOAD_FAILED", "reason = too-large")
    assert endless.sent < 8 * 2**20, "no more than what was read and what lies in the sockets"


def test_an_endless_target(scene: Scene) -> None:
    scene.publish("1.0.0")
    endless = scene.server.faults["targets/"] = Endless()
    scene.refused("DOWNLOAD_FAILED", "reason = ")
    assert endless.sent < 8 * 2**20


def dripping(server: Server, request: Request, wire: socket.socket) -> None:
    """A byte now and then: no time-out of a socket is ever met."""
    wire.sendall(head(200))
    while not server.over.wait(0.1):
        wire.sendall(b"{")


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "targets/"])
def test_slow_retrieval(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    scene.server.faults[name] = dripping
    scene.refused("DOWNLOAD_FAILED", "reason = too-slow", "1024 bytes per second")


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: b"X" + data[1:],
    "a byte of the model": lambda data: data[:6000] + bytes([data[6000] ^ 1]) + data[6001:],
    "truncated": lambda data: data[:5000],
    "longer": lambda data: data + data,
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_target_that_is_not_the_one_that_is_listed(scene: Scene, spoil: str) -> None:
    scene.publish("1.0.0")
    path = scene.target("1.0.0")
    data = path.read_bytes()
    path.write_bytes(SPOILED[spoil](data))
    scene.refused("DOWNLOAD_FAILED", "reason = ")
    path.write_bytes(data)
    scene.takes("1.0.0")


def truncating(server: Server, request: Request, wire: socket.socket) -> None:
    wire.sendall(head(200, "Content-Length: 5000") + b"{" * 100)


def test_metadata_that_breaks_off(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.faults["timestamp.json"] = truncating
    scene.refused("DOWNLOAD_FAILED", "reason = unreachable", exit_code=3)


def test_a_repository_that_is_not_reached_is_exit_code_3(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    scene.server.url = f"http://127.0.0.1:{port}/"
    scene.refused("DOWNLOAD_FAILED", "reason = unreachable", exit_code=3)


def test_no_repository_there(scene: Scene) -> None:
    scene.refused("DOWNLOAD_FAILED", "reason = http-status", "found = 404", "timestamp.json")


@pytest.mark.parametrize(
    "content", [b"", b"<html>maintenance</html>", b"[" * 60000, b'{"signed": {}, "signatures": []}', b"\xff"]
)
def test_what_is_no_metadata(scene: Scene, content: bytes) -> None:
    scene.publish("1.0.0")
    scene.metadata("timestamp.json").write_bytes(content)
    scene.refused("REPOSITORY_INVALID", "the repository's timestamp")


def test_a_web_server_that_answers_with_a_page_where_a_file_is_missing(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.metadata("2.root.json").write_bytes(b"<html>not here</html>")
    scene.refused("REPOSITORY_INVALID", "2.root.json", "404")


def test_over_https_with_the_right_authority_and_only_with_it(scene: Scene) -> None:
    scene.publish("1.0.0")
    authority = Authority(scene.folder)
    with serving(scene.server, tls=authority.issue("127.0.0.1").server()) as secure:
        scene.server.url = secure.url("/")
        scene.refused("DOWNLOAD_FAILED", "reason = tls", exit_code=3)
        with Path(scene.config).open("a") as config:
            config.write(f'[fleet.tuf]\nurl = "{scene.server.url}"\nca_file = "{authority.file}"\n')
        scene.takes("1.0.0")


def test_no_redirect_leads_to_another_server(scene: Scene) -> None:
    scene.publish("1.0.0")
    with serving(lambda _server, _request, wire: wire.sendall(head(200))) as other:
        location = other.url("/metadata/timestamp.json")
        scene.server.faults["timestamp.json"] = lambda _server, _request, wire: wire.sendall(head(302, f"Location: {location}"))
        scene.refused("DOWNLOAD_FAILED", "reason = redirected")
        assert other.connections == 0


def test_compressed_metadata_is_not_unpacked(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.faults["timestamp.json"] = lambda _server, _request, wire: wire.sendall(
        head(200, "Content-Encoding: gzip", "Content-Length: 3") + b"abc"
    )
    scene.refused("DOWNLOAD_FAILED", "reason = encoded")


def test_no_proxy_of_the_environment_is_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publish("1.0.0")
    with serving(lambda _server, _request, wire: wire.sendall(head(200))) as proxy:
        for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        scene.takes("1.0.0")
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://updates.example/", "https://user:hunter2@updates.example/", "https://updates.example/?a=b"]
)
def test_an_address_that_is_none(scene: Scene, url: str) -> None:
    assert scene.fetch(url=url) == 2
    err = scene.capsys.readouterr().err
    assert "error[CONFIG_INVALID]: fleet.tuf.url" in err
    assert "hunter2" not in err


def test_a_name_that_leads_to_this_machine_is_not_asked(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.url = scene.server.url.replace("127.0.0.1", "localhost")
    scene.refused("DOWNLOAD_FAILED", "reason = address-not-allowed")
    assert scene.server.asked == []


def test_slow_is_over_within_its_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds for the whole of a file, whatever trickles in."""
    scene.publish("1.0.0")
    monkeypatch.setattr(fetching, "LIMITS", Limits(total_s=0.5, rate=1, window_s=60, first_tries=0))
    scene.server.faults["timestamp.json"] = dripping
    begun = time.monotonic()
    scene.refused("DOWNLOAD_FAILED", "reason = deadline", exit_code=3)
    assert time.monotonic() - begun < 60, "not for ever"
