"""A life for the power-cut harness, see histories.py: what a camera keeps of a TUF repository."""

from __future__ import annotations

import tempfile
from pathlib import Path

from camagent.integrations.turned_away import TurnedAway
from firmware_pkg.errors import GoldenFailed
from firmware_pkg.tuf_client import Kept

REPOSITORY_STEPS = ("start", "first look", "a renewal", "a release", "a refusal", "the next refusal")
ROLES = ("root", "snapshot", "targets", "timestamp")
# role -> the versions after each step
VERSIONS = {
    "root": (0, 1, 1, 1, 1, 1), "snapshot": (0, 1, 1, 2, 2, 2), "targets": (0, 1, 1, 2, 2, 2), "timestamp": (0, 1, 2, 3, 3, 3),
    "refused": (0, 0, 0, 0, 1, 2),
}  # fmt: skip


class RepositorySession:
    """Looks, and looks again; files of two states may stand side by side, never an older one than was there."""

    def __init__(self, root: Path, _material: Path) -> None:
        folder = root / "state" / "tuf" / "site"
        self._kept, self._away = Kept(folder), TurnedAway(folder / "turned-away")
        self._work = tempfile.TemporaryDirectory()
        self._kept.hand_out(Path(self._work.name))

    def do(self, step: int) -> None:
        for role in ROLES:
            if step and VERSIONS[role][step]:
                (Path(self._work.name) / f"{role}.json").write_text(f"{role} {VERSIONS[role][step]}")
        self._kept.take_back(Path(self._work.name))
        for number in range(VERSIONS["refused"][step]):
            if str(number) not in self._away.under("here"):
                self._away.note(str(number), "here", GoldenFailed("it sees nothing", fix="build it again"))

    def told(self) -> object:
        return {role: version for role, version in self.seen().items() if role != "refused"}

    def act(self) -> None:
        (Path(self._work.name) / "timestamp.json").write_text("timestamp 9")
        self._kept.take_back(Path(self._work.name))

    def seen(self) -> dict[str, int]:
        found = {}
        for role in ROLES:
            path = self._kept.folder / f"{role}.json"
            words = path.read_text().split() if path.exists() else [role, "0"]
            assert (words[:1], len(words)) == ([role], 2), f"{path.name} is torn: {words}"
            found[role] = int(words[1])
        return found | {"refused": len(self._away.under("here"))}

    def follows(self, seen: object) -> None:
        assert isinstance(seen, dict)
        assert {role: self.seen()[role] for role in seen} == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        seen, now = self.seen(), max(done, 0)
        after = now + 1 if begun and done >= 0 else now
        for role, version in seen.items():
            assert version in {VERSIONS[role][now], VERSIONS[role][after]}, f"{role} {version} after step {now}"
        return after if all(VERSIONS[role][after] == version for role, version in seen.items()) else now

    def close(self) -> None:
        self._work.cleanup()
