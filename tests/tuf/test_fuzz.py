"""Metadata that is wrong in any place, well signed or not: a refusal with a code, evidence and a fix, and never a traceback."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical

from firmware_pkg.addresses import Prefix
from firmware_pkg.order import Limits, Rules
from firmware_pkg.tuf_client import Anchor, Kept, Network, Site, When, looking
from signing.errors import CodedError
from signing.trust_time import Clock
from tests.signing.support import key
from tests.support.tuf_adapter import LONG_AGO
from tests.support.tuf_world import World

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, "", "1", "\ud7ff\u202e[/]\x1b[2J", [], {}, [[]], {"": {}}, "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "1.0.31", "2.0.0", ["a", "a"], {"targets.json": {"version": 0}}, "root", "timestamp", "ab" * 32,
)  # fmt: skip
FILES = ("2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json")
SIGNERS = {"2.root.json": "root", "timestamp.json": "timestamp", "2.snapshot.json": "snapshot", "2.targets.json": "targets"}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document."""
    if path:
        yield path
    for name in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from places(node[name], (*path, name))


def changed(document: Any, chance: random.Random) -> Any:
    """Another value, or none, in one place."""
    *way, last = chance.choice(list(places(document)))
    node = document
    for step in way:
        node = node[step]
    if chance.random() < 0.3 and isinstance(node, dict):
        del node[last]
    else:
        node[last] = chance.choice(VALUES)
    return document


def signed_anew(document: Any, role: str) -> Any:
    """Signed by the very key of the role, over whatever it says."""
    signer = key(f"world {role}")
    try:
        payload = str(encode_canonical(document["signed"])).encode()
    except Exception:  # no canonical form: nobody can sign it
        return document
    document["signatures"] = [{"keyid": signer.public.id, "sig": signer.sign(payload).hex()}]
    return document


@dataclass
class Looker:
    world: World
    url: str
    folder: Path

    def look(self) -> CodedError | None:
        base = Prefix.parse(self.url)
        rules = Rules(allowed=(base,), limits=Limits(first_tries=0, backoff_s=0.01))
        anchor, when = Anchor(self.world.files["metadata/1.root.json"]), When(Clock(datetime.now(UTC), LONG_AGO))
        try:
            with looking(Site.of(base.url), Kept(self.folder), anchor, when, Network(rules, threading.Event())) as view:
                view.find("a")
        except CodedError as exc:
            return exc
        return None


@pytest.fixture
def looker(tmp_path: Path) -> Iterator[Looker]:
    world = World(hashes=False)
    world.add("a", b"content")
    with world.served() as url:
        made = Looker(world, url, tmp_path / "kept")
        assert made.look() is None
        world.next_root()
        world.release()
        yield made


def fuzz(looker: Looker, rounds: int, seed: int) -> set[str]:
    good, codes = dict(looker.world.files), set()
    kept = {path.name: path.read_bytes() for path in looker.folder.iterdir()}
    for number in range(rounds):
        chance = random.Random(f"{seed} {number}")
        name = chance.choice(FILES)
        document = changed(json.loads(good[f"metadata/{name}"]), chance)
        if chance.random() < 0.8:
            document = signed_anew(document, SIGNERS[name])
        looker.world.files = {**good, f"metadata/{name}": json.dumps(document).encode()}
        for path, data in kept.items():
            (looker.folder / path).write_bytes(data)
        found = looker.look()
        if found is not None:
            assert found.code != "INTERNAL", found.render()
            assert found.fix
            assert found.evidence
            assert all(char == "\n" or char.isprintable() for char in found.render())
            codes.add(found.code)
    return codes


def test_any_place_of_any_file(looker: Looker) -> None:
    codes = fuzz(looker, 150, seed=1)
    assert {"REPOSITORY_INVALID", "REPOSITORY_SIGNATURE"} <= codes


@pytest.mark.full(seconds=300)
def test_any_place_of_any_file_many_times(looker: Looker) -> None:
    fuzz(looker, 5000, seed=2)
