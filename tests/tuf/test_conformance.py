"""The attacks of the public tuf-conformance suite, against our client behind the suite's command line (support/tuf_adapter.py).

The cases are named after the suite's; the repository is ours (tests/support/tuf_world.py). docs/tuf-repository.md says how to
run the suite itself.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Timestamp  # type: ignore[attr-defined]

from tests.signing.support import changed, key
from tests.support import tuf_adapter
from tests.support.tuf_world import TOP, World, days

ADAPTER = Path(tuf_adapter.__file__)


@dataclass
class Client:
    """The client under test, as the suite sees it: exit codes and two folders."""

    world: World
    url: str
    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    def init(self, root: bytes | None = None) -> int:
        (self.folder / "initial.json").write_bytes(root or self.world.files["metadata/1.root.json"])
        return tuf_adapter.main(["--metadata-dir", str(self.metadata), "init", str(self.folder / "initial.json")])

    def refresh(self) -> int:
        options = ["--metadata-url", f"{self.url}metadata/", "--metadata-dir", str(self.metadata)]
        return tuf_adapter.main([*options, "refresh"])

    def refused(self, code: str) -> None:
        """The next refresh is refused with that code."""
        assert self.refresh() == 1
        assert f"error[{code}]" in (said := self.capsys.readouterr().err), said

    def download(self, path: str) -> int:
        options = ["--metadata-url", f"{self.url}metadata/", "--metadata-dir", str(self.metadata), "--target-name", path]
        options += ["--target-dir", str(self.folder / "targets"), "--target-base-url", f"{self.url}targets/"]
        return tuf_adapter.main([*options, "download"])

    def downloaded(self) -> set[bytes]:
        return {path.read_bytes() for path in (self.folder / "targets").iterdir()}

    def version(self, role: str) -> int:
        version: int = Metadata.from_file(str(self.metadata / f"{role}.json")).signed.version
        return version

    def versions(self) -> tuple[int, ...]:
        return tuple(self.version(role) for role in TOP)

    def trusted(self) -> set[str]:
        return {path.stem for path in self.metadata.glob("*.json")}


@pytest.fixture(params=[False])
def client(tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Client]:
    for name in ("metadata", "targets"):
        (tmp_path / name).mkdir()
    world = World(hashes=request.param)
    with world.served() as url:
        yield Client(world, url, tmp_path, capsys)


with_hashes = pytest.mark.parametrize("client", [False, True], ids=["basic", "with hashes"], indirect=True)


@pytest.fixture
def started(client: Client) -> Client:
    """A client that has seen the first state."""
    assert client.init() == 0
    assert client.refresh() == 0
    return client


# -- test_basic -----------------------------------------------------------------------------------------------------------


def test_basic_init_and_refresh(client: Client) -> None:
    assert client.init() == 0
    assert client.world.asked == [], "init asks nobody"
    assert client.refresh() == 0
    assert client.world.metadata_asked() == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert client.versions() == (1, 1, 1, 1)


def test_the_protocol_of_the_suite_by_a_process(client: Client) -> None:
    """The one test here that starts processes: the options in the suite's order, and exit codes."""
    client.world.add("a/b.txt", b"content")
    client.world.release()
    first = client.folder / "1.root.json"
    first.write_bytes(client.world.files["metadata/1.root.json"])
    metadata, url = ("--metadata-dir", str(client.metadata)), ("--metadata-url", f"{client.url}metadata/")
    target = (
        "--target-name",
        "a/b.txt",
        "--target-dir",
        str(client.folder / "targets"),
        "--target-base-url",
        f"{client.url}targets/",
    )
    for words in ((*metadata, "init", str(first)), (*url, *metadata, "refresh"), (*url, *metadata, *target, "download")):
        done = subprocess.run(
            [sys.executable, "-I", str(ADAPTER), *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert client.downloaded() == {b"content"}
    client.world.appoint("timestamp", ["stranger"])
    client.world.new_timestamp()
    done = subprocess.run(
        [sys.executable, "-I", str(ADAPTER), *url, *metadata, "refresh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.split(":")[0]) == (1, "error[REPOSITORY_SIGNATURE]")


def test_implicit_refresh(client: Client) -> None:
    assert client.init() == 0
    assert client.download("nonexistent artifact") == 1
    assert client.world.metadata_asked() == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert client.versions() == (1, 1, 1, 1)


def test_timestamp_content_changes(started: Client) -> None:
    started.world.timestamp.snapshot_meta.version = 100
    started.world.put("timestamp")
    assert started.refresh() == 0, "the same number is the same timestamp: the known one stays in use"
    kept = Metadata[Timestamp].from_file(str(started.metadata / "timestamp.json")).signed
    assert kept.snapshot_meta.version == 1


def test_new_targets_hash_mismatch(started: Client) -> None:
    world = started.world
    world.hashes = True
    world.release()
    honest = world.files["metadata/2.targets.json"]
    world.add("evil", b"evil")
    world.put("targets")  # the same number, another content
    assert world.files["metadata/2.targets.json"] != honest
    started.refused("REPOSITORY_MIXED")
    assert started.version("targets") == 1


def test_new_targets_version_mismatch(started: Client) -> None:
    world = started.world
    world.targets.version = 2
    world.put("targets")
    world.new_snapshot()
    world.files["metadata/2.targets.json"] = world.files["metadata/1.targets.json"]
    started.refused("REPOSITORY_MIXED")
    assert started.version("targets") == 1
    assert started.version("snapshot") == 2


@pytest.mark.parametrize("spoil", ["no version", "unsigned"])
def test_invalid_or_unsigned_initial_root(client: Client, spoil: str) -> None:
    def change(document: dict[str, dict[str, object]]) -> None:
        if spoil == "unsigned":
            document["signatures"][0]["sig"] = "30" * 70  # type: ignore[index]
        else:
            del document["signed"]["version"]

    client.init(changed(client.world.files["metadata/1.root.json"], change))
    assert client.refresh() == 1
    assert client.world.asked == []


def test_custom_fields(started: Client) -> None:
    root = started.world.root
    root.unrecognized_fields["custom-field"] = "value"
    root.keys[root.roles["root"].keyids[0]].unrecognized_fields["extra-field"] = {"a": 1, "b": 2}
    root.roles["root"].unrecognized_fields["another-field"] = "value"
    started.world.next_root()
    assert started.refresh() == 0
    assert started.version("root") == 2


# -- test_expiration ------------------------------------------------------------------------------------------------------


def test_root_expired(started: Client) -> None:
    world = started.world
    world.next_root()
    assert started.refresh() == 0
    world.root.expires = days(-1)
    world.next_root()
    world.release()
    started.refused("TRUST_EXPIRED")
    assert started.versions() == (3, 1, 1, 1), "the root is taken, and nothing after it"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_expired(started: Client, role: str) -> None:
    getattr(started.world, role).expires = days(-5)
    started.world.release()
    started.refused("REPOSITORY_EXPIRED")
    assert started.version("targets") == 1
    if role != "targets":
        assert started.version("snapshot") == 1


def test_expired_metadata(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept and has expired still protects against a rollback, and is still good for going on from."""
    world = client.world
    world.timestamp.expires = days(7)
    world.new_timestamp()
    assert client.init() == 0
    assert client.refresh() == 0
    world.timestamp.expires = days(21)
    world.release()

    class InEighteenDays(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return days(18)

    monkeypatch.setattr(tuf_adapter, "datetime", InEighteenDays)
    assert client.refresh() == 0
    assert client.versions() == (1, 3, 2, 2)


def test_freeze(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing new is ever shown: noticed when what was shown last expires."""
    client.world.timestamp.expires = days(7)
    client.world.new_timestamp()
    assert client.init() == 0
    assert client.refresh() == 0

    class InEightDays(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return days(8)

    monkeypatch.setattr(tuf_adapter, "datetime", InEightDays)
    client.refused("REPOSITORY_EXPIRED")


# -- test_rollback --------------------------------------------------------------------------------------------------------


def test_simple_snapshot_rollback(started: Client) -> None:
    world = started.world
    world.new_snapshot()
    assert started.refresh() == 0
    world.files["metadata/2.snapshot.json"] = world.files["metadata/1.snapshot.json"]
    assert started.refresh() == 0, "the snapshot that the timestamp names is here already"
    assert started.version("snapshot") == 2
    assert world.metadata_asked()[-1] == "timestamp.json"


def test_new_timestamp_version_rollback(started: Client) -> None:
    old = started.world.files["metadata/timestamp.json"]
    started.world.new_timestamp()
    assert started.refresh() == 0
    started.world.files["metadata/timestamp.json"] = old
    started.refused("REPOSITORY_ROLLBACK")
    assert started.version("timestamp") == 2
    assert started.world.metadata_asked()[-1] == "timestamp.json"


@with_hashes
def test_snapshot_rollback(started: Client) -> None:
    world = started.world
    world.new_snapshot()
    assert started.refresh() == 0
    world.snapshot.version = 1
    world.new_timestamp()
    started.refused("REPOSITORY_ROLLBACK")
    assert started.versions() == (1, 2, 2, 1)
    assert world.metadata_asked()[-1] == "timestamp.json"


@with_hashes
def test_targets_rollback(started: Client) -> None:
    world = started.world
    world.release()
    world.release()
    assert started.refresh() == 0
    assert started.version("targets") == 3
    world.targets.version = 1
    world.new_snapshot()
    started.refused("REPOSITORY_ROLLBACK")
    assert started.version("targets") == 3
    assert started.version("snapshot") == 3


def test_a_role_that_vanishes_from_the_snapshot(started: Client) -> None:
    world = started.world
    world.delegate("A", ["*"])
    world.release()
    assert started.refresh() == 0
    del world.snapshot.meta["A.json"], world.delegated["A"]
    world.new_snapshot()
    started.refused("REPOSITORY_ROLLBACK")
    assert started.version("snapshot") == 2


def test_new_snapshot_version_mismatch(client: Client) -> None:
    world = client.world
    assert client.init() == 0
    world.snapshot.version = 2
    world.files["metadata/1.snapshot.json"] = world.sign(world.snapshot, "snapshot")
    client.refused("REPOSITORY_MIXED")
    assert client.trusted() == {"root", "timestamp"}
    assert world.metadata_asked()[-1] == "1.snapshot.json"


def test_new_timestamp_fast_forward_recovery(started: Client) -> None:
    world = started.world
    world.timestamp.version = 100
    world.put("timestamp")
    assert started.refresh() == 0
    assert started.version("timestamp") == 100
    world.appoint("timestamp", ["fresh timestamp"])
    world.next_root()
    world.timestamp.version = 1
    world.put("timestamp")
    assert started.refresh() == 0
    assert started.version("timestamp") == 1


def test_new_snapshot_fast_forward_recovery(started: Client) -> None:
    world = started.world
    world.snapshot.version = 99998
    world.new_snapshot()
    assert started.refresh() == 0
    assert started.version("snapshot") == 99999
    for role in ("snapshot", "timestamp"):
        world.appoint(role, [f"fresh {role}"])
    world.next_root()
    world.snapshot.version = 0
    world.new_snapshot()
    assert started.refresh() == 0
    assert started.version("snapshot") == 1


def test_new_targets_fast_forward_recovery(started: Client) -> None:
    world = started.world
    world.targets.version = 99
    world.release()
    assert started.refresh() == 0
    assert started.version("targets") == 100
    world.appoint("snapshot", ["fresh snapshot"])
    world.next_root()
    world.targets.version = 1
    world.release()
    assert started.refresh() == 0
    assert started.version("targets") == 2


# -- test_keys ------------------------------------------------------------------------------------------------------------


def test_root_has_keys_but_not_snapshot(started: Client) -> None:
    """Keys that the root names and the snapshot is not signed with do not count."""
    world = started.world
    world.appoint("snapshot", ["a", "b", "c", "d", "e"], threshold=5, signing=["a", "b", "c"])
    world.next_root()
    world.new_snapshot()
    started.refused("REPOSITORY_SIGNATURE")
    assert started.version("root") == 2
    assert started.version("snapshot") == 1
    world.signers["snapshot"] += [key("d"), key("e")]
    world.new_snapshot()
    assert started.refresh() == 0


def test_wrong_hashing_algorithm(started: Client) -> None:
    root = started.world.root
    root.keys[root.roles["snapshot"].keyids[0]].unrecognized_fields = {"keyid_hash_algorithms": ["md5"]}
    started.world.next_root()
    started.world.new_snapshot()
    assert started.refresh() == 0
    assert started.versions() == (2, 2, 2, 1)


def test_snapshot_threshold(started: Client) -> None:
    started.world.appoint("snapshot", ["a", "b", "c", "d", "e"], threshold=6)
    started.world.next_root()
    started.world.new_snapshot()
    started.refused("REPOSITORY_SIGNATURE")
    assert started.version("snapshot") == 1


def test_duplicate_signatures_count_once(started: Client) -> None:
    world = started.world
    world.appoint("snapshot", ["a", "b"], threshold=2, signing=["a"])
    world.next_root()
    world.new_snapshot()

    def twice(document: dict[str, list[object]]) -> None:
        document["signatures"] *= 2

    path = "metadata/2.snapshot.json"
    world.files[path] = changed(world.files[path], twice)
    assert started.refresh() == 1
    assert started.version("snapshot") == 1


# -- test_updater_key_rotations -------------------------------------------------------------------------------------------

Step = tuple[str, int, str]  # names of the keys, threshold, who signs
ROOTS: dict[str, tuple[list[Step], bool]] = {
    "1-of-1-key-rotation": ([("1", 1, "1"), ("2", 1, "21"), ("2", 1, "2")], True),
    "unused-signatures": ([("1", 1, "314"), ("2", 1, "3214"), ("2", 1, "324")], True),
    "3-of-5-different-combinations": ([("01234", 3, "024"), ("01234", 3, "041"), ("01234", 3, "013")], True),
    "3-of-5-one-key-rotated": ([("01234", 3, "024"), ("01345", 3, "041")], True),
    "3-of-5-intermediate-step": ([("01234", 3, "024"), ("01345", 3, "0245"), ("01345", 3, "045")], True),
    "3-of-5-all-rotated": ([("01234", 3, "024"), ("56789", 3, "024567"), ("56789", 3, "567")], True),
    "threshold-increase": ([("123", 1, "1"), ("123", 2, "12")], True),
    "threshold-decrease": ([("123", 2, "12"), ("123", 1, "12"), ("123", 1, "1")], True),
    "not-signed-with-old-key": ([("1", 1, "1"), ("2", 1, "234")], False),
    "not-signed-with-new-key": ([("1", 1, "1"), ("2", 1, "134")], False),
    "not-signed-with-3-new-keys": ([("01234", 3, "024"), ("01345", 3, "024")], False),
    "not-signed-with-3-old-keys": ([("01234", 3, "024"), ("01345", 3, "045")], False),
    "new-threshold-not-reached": ([("123", 1, "1"), ("123", 2, "2")], False),
    "old-threshold-not-reached": ([("123", 2, "12"), ("123", 1, "1")], False),
}


@pytest.mark.parametrize(("steps", "good"), ROOTS.values(), ids=ROOTS.keys())
def test_root_rotation(client: Client, steps: list[Step], good: bool) -> None:
    world, made = client.world, []
    world.root.version = 0
    for names, threshold, signing in steps:
        world.appoint("root", list(names), threshold, list(signing))
        made.append(world.next_root())
    assert client.init(made[0]) == 0
    assert client.refresh() == (0 if good else 1)
    assert (client.metadata / "root.json").read_bytes() == made[-1 if good else -2]


def test_a_root_number_that_is_left_out(started: Client) -> None:
    world = started.world
    world.root.version = 2
    world.files["metadata/2.root.json"] = world.next_root()
    assert started.refresh() == 1
    assert started.version("root") == 1


LISTS: dict[str, tuple[Step, bool]] = {
    "1-of-1": (("2", 1, "2"), True),
    "unused-signatures": (("1", 1, "314"), True),
    "not-signed-with-new-key": (("2", 1, "134"), False),
    "3-of-5-wrong-keys": (("01345", 3, "024"), False),
    "3-of-5-too-few": (("01345", 3, "04"), False),
    "3-of-5-first": (("01234", 3, "024"), True),
    "3-of-5-second": (("01234", 3, "041"), True),
    "3-of-5-third": (("01234", 3, "234"), True),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("step", "good"), LISTS.values(), ids=LISTS.keys())
def test_non_root_rotations(started: Client, role: str, step: Step, good: bool) -> None:
    names, threshold, signing = step
    started.world.appoint(role, list(names), threshold, list(signing))
    started.world.next_root()
    started.world.release()
    if good:
        assert started.refresh() == 0
        assert started.versions() == (2, 2, 2, 2)
    else:
        started.refused("REPOSITORY_SIGNATURE")
        assert started.version(role) == 1


# -- test_file_download, test_updater_consistent_snapshot -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["target_file.txt", "path/to/a/target_file.txt"])
def test_client_downloads_expected_file(started: Client, path: str) -> None:
    started.world.add(path, b"target file contents")
    started.world.release()
    assert started.refresh() == 0
    assert started.downloaded() == set()
    assert started.download(path) == 0
    assert started.downloaded() == {b"target file contents"}
    asked = len(started.world.asked)
    assert started.download(path) == 0
    assert not [one for one in started.world.asked[asked:] if one.startswith("targets/")], "it is here already"


@pytest.mark.parametrize("malicious", [b"malicious, of the same length!", b"shorter", b"longer " * 100])
def test_repository_substitutes_target_file(started: Client, malicious: bytes) -> None:
    good = b"what a signer has listed here."
    for name in ("first", "second"):
        started.world.add(name, good + name.encode())
    started.world.release()
    assert started.download("first") == 0
    for path in list(started.world.files):
        if path.startswith("targets/"):
            started.world.files[path] = malicious
    started.download("first")
    assert started.download("second") == 1
    assert started.downloaded() == {good + b"first"}


def test_multiple_changes_to_target(started: Client) -> None:
    for number in range(4):
        content = f"modified contents {number}".encode()
        started.world.add("target", content)
        started.world.release()
        assert started.download("target") == 0
        assert started.downloaded() == {content}
        target = started.world.targets.targets["target"]
        started.world.files[f"targets/{target.hashes['sha256']}.target"] = b"malicious contents"
        started.world.release()
        started.download("target")
        assert started.downloaded() == {content}


def test_without_consistent_snapshots(client: Client) -> None:
    world = client.world
    world.root.consistent_snapshot, world.root.version = False, 0
    world.next_root()
    world.add("a/target", b"content")
    world.release()
    for role in ("snapshot", "targets"):
        world.files[f"metadata/{role}.json"] = world.files[f"metadata/2.{role}.json"]
    world.files["targets/a/target"] = b"content"
    assert client.init() == 0
    assert client.download("a/target") == 0
    assert world.metadata_asked() == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]
    assert world.asked[-1] == "targets/a/target"


# -- test_updater_delegation_graphs, test_delegated_expiration, test_quoting_issues ---------------------------------------

GRAPHS: dict[str, tuple[list[tuple[str, str, list[str], bool]], list[str]]] = {
    "basic": ([("targets", "A", ["*"], False)], ["A"]),
    "depth-first": (
        [("targets", "A", ["*"], False), ("targets", "B", ["*"], False), ("A", "C", ["*"], False), ("A", "D", ["*"], False)],
        ["A", "C", "D", "B"],
    ),
    "terminating": (
        [("targets", "A", ["*"], False), ("targets", "B", ["*"], False), ("A", "C", ["*"], True), ("A", "D", ["*"], False)],
        ["A", "C"],
    ),
    "other-paths": ([("targets", "A", ["*.py"], False), ("targets", "B", ["*"], False), ("A", "C", ["*"], False)], ["B"]),
    "cyclic": (
        [("targets", "A", ["*"], False), ("targets", "B", ["*"], False), ("B", "C", ["*"], False), ("C", "B", ["*"], False)],
        ["A", "B", "C"],
    ),
}


@pytest.mark.parametrize(("graph", "visited"), GRAPHS.values(), ids=GRAPHS.keys())
def test_graph_traversal(started: Client, graph: list[tuple[str, str, list[str], bool]], visited: list[str]) -> None:
    for by, name, paths, terminating in graph:
        started.world.delegate(name, paths, by=by, terminating=terminating)
    started.world.release()
    started.world.asked.clear()
    assert started.download("missingpath") == 1
    assert started.world.metadata_asked()[4:] == [f"1.{role}.json" for role in visited]


def test_targetfile_search(started: Client) -> None:
    world = started.world
    world.delegate("B", ["releases/*/*"])
    world.delegate("C", ["releases/x/*"], by="B")
    world.add("releases/x/x_v1", b"by C", "C")
    world.add("releases/z/z_v1", b"not delegated to C", "C")
    world.release()
    assert started.download("releases/x/x_v1") == 0
    assert started.download("releases/z/z_v1") == 1
    assert started.downloaded() == {b"by C"}


def test_delegated_targets_expired(started: Client) -> None:
    started.world.delegate("A", ["*"])
    started.world.delegated["A"].expires = days(-1)
    started.world.add("target", b"content", "A")
    started.world.release()
    assert started.download("target") == 1
    assert "error[REPOSITORY_EXPIRED]" in started.capsys.readouterr().err
    assert started.trusted() == set(TOP)


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole"])
def test_unusual_role_name(started: Client, role: str) -> None:
    started.world.delegate(role, ["*"])
    started.world.release()
    assert started.download("nonexistent target") == 1
    assert started.world.metadata_asked()[-1] == f"1.{role.replace('/', '%2F').replace('?', '%3F').replace('#', '%23')}.json"
    assert len(started.trusted()) == 5
    assert {path.parent for path in started.folder.rglob("*delegatedrole*")} <= {started.metadata}


def test_a_list_that_the_snapshot_does_not_know(started: Client) -> None:
    started.world.snapshot.meta = {"other.json": MetaFile(1), "targets.json": MetaFile(7)}
    started.world.snapshot.version += 1
    started.world.put("snapshot")
    started.world.new_timestamp()
    assert started.refresh() == 1
    assert "error[DOWNLOAD_FAILED]" in started.capsys.readouterr().err
