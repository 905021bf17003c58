"""Two lives for the power-cut harness, see histories.py: the store of bundles, and the roots that are trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firmware_pkg import verify
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import GoldenFailed
from firmware_pkg.slots import Refusal
from firmware_pkg.store import STAGING, Store
from firmware_pkg.trust_store import TrustStore
from firmware_pkg.verify import Policy
from signing import trust

# -- the store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store says of the one name."""

    current: str | None = None
    trial: str | None = None
    previous: str | None = None
    stored: tuple[str, ...] = ()
    index: int = 0
    attempts: int = 0
    refused: tuple[str, ...] = ()


NAME = "blobs"
VERSIONS: Mapping[str, int] = {"1.0.0": 0, "1.1.0": 2, "1.2.0": 1, "1.3.0": 1, "2.0.0": 2}  # rollback indices

FIRST = Seen(current="1.0.0", trial="1.0.0", stored=("1.0.0",))
CONFIRMED = replace(FIRST, trial=None)
SECOND = Seen(current="1.1.0", trial="1.1.0", previous="1.0.0", stored=("1.0.0", "1.1.0"))
FAILED = replace(CONFIRMED, stored=SECOND.stored, refused=("1.1.0",))
THIRD = replace(FAILED, current="1.2.0", trial="1.2.0", previous="1.0.0", stored=("1.0.0", "1.1.0", "1.2.0"))
RISEN = replace(THIRD, trial=None, index=1)
FOURTH = replace(RISEN, current="1.3.0", trial="1.3.0", previous="1.2.0", stored=("1.0.0", "1.1.0", "1.2.0", "1.3.0"))
BACK = replace(FOURTH, current="1.2.0", trial=None, previous=None)

# what is done, and what the store then says
STORE_STEPS: tuple[tuple[str, Callable[[StoreSession], object], Seen], ...] = (
    ("start", lambda life: life.store.names(), Seen()),
    ("install first", lambda life: life.install("1.0.0"), FIRST),
    ("attempt", lambda life: life.store.attempt(NAME, life.trial()), replace(FIRST, attempts=1)),
    ("confirm first", lambda life: life.store.confirm(NAME, life.trial()), CONFIRMED),
    ("install second", lambda life: life.install("1.1.0"), SECOND),
    ("fail", lambda life: life.fail(), FAILED),
    ("install third", lambda life: life.install("1.2.0"), THIRD),
    ("confirm third", lambda life: life.store.confirm(NAME, life.trial()), RISEN),
    ("install fourth", lambda life: life.install("1.3.0"), FOURTH),
    ("confirm fourth", lambda life: life.store.confirm(NAME, life.trial()), replace(FOURTH, trial=None)),
    ("rollback", lambda life: life.store.roll_back(NAME), BACK),
    ("activate", lambda life: life.store.activate(NAME, "1.3.0"), FOURTH),
    ("prune", lambda life: life.store.prune(NAME, 0), replace(FOURTH, stored=("1.2.0", "1.3.0"))),
)


class StoreSession:
    """Installs signed bundles, and believes nothing that does not verify."""

    store: Store

    def __init__(self, root: Path, material: Path) -> None:
        self._folder, self._material, self._now = root / "state" / "bundles", material, 0.0
        self._root = trust.read_root((material / "root.json").read_bytes())
        self.store = Store(self._folder, "boot", lambda: self._now)
        self.said = self.store.recover()

    def do(self, step: int) -> None:
        self._now = float(step)
        STORE_STEPS[step][1](self)

    def told(self) -> object:
        return self.seen()

    def act(self) -> None:
        self.install("2.0.0")

    def install(self, version: str) -> None:
        with (self._material / f"{NAME}-{version}.cambundle").open("rb") as source, self.store.stage() as staged:
            verified = verify.verify(source, self._policy(), Checklist(), keep=lambda _: staged)
            self.store.install(staged, verified)

    def fail(self) -> None:
        why = GoldenFailed("it sees nothing", fix="build it again")
        self.store.fail(NAME, self.trial(), Refusal.of(why, "1.1.0", self._now))

    def trial(self) -> str:
        slots = self.store.slots(NAME)
        assert slots.trial
        return slots.trial.digest

    def _policy(self) -> Policy:
        return Policy(trusted=trust.trusted_keys([self._root]), roots=(self._root,))

    def check(self, done: int, *, begun: bool) -> int | None:
        assert not self.said, self.said  # a power cut is nothing that the operator must hear of
        allowed = {step: STORE_STEPS[step][2] for step in ((done, done + 1) if begun and done >= 0 else (max(done, 0),))}
        seen = self.seen()
        assert seen in allowed.values(), f"{seen} is none of {list(allowed.values())}"
        slots = self.store.slots(NAME)
        if slots.running:
            with self.store.open(NAME, slots.running.digest) as source:
                assert verify.verify(source, self._policy(), Checklist()).digest == slots.running.digest
        assert not list((self._folder / STAGING).iterdir())
        names = {path.name for path in (self._folder / NAME).iterdir()} if slots.stored else set()
        assert names == ({f"{ref.digest}.cambundle" for ref in slots.stored} | {"slots.json"} if slots.stored else set())
        return next(step for step, state in allowed.items() if state == seen)

    def follows(self, seen: object) -> None:
        assert not self.said
        assert self.seen() == seen

    def seen(self) -> Seen:
        slots = self.store.slots(NAME)
        body = slots.state_body()
        return Seen(
            current=body["current"], trial=body["trial"], previous=body["previous"], stored=tuple(body["stored"]),
            index=body["rollback_index"], attempts=len(slots.trial.attempts) if slots.trial else 0,
            refused=tuple(refusal.version for refusal in slots.refused.values()),
        )  # fmt: skip

    def close(self) -> None:
        pass


# -- trust ------------------------------------------------------------------------------------------------------------

BUILT = datetime(2026, 11, 23, tzinfo=UTC)
# roots that are known, and days by which the floor lies above the build time
TRUST_STEPS: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("trust the first root", (1,), 0),
    ("two rotations at once", (1, 2, 3), 0),
    ("floor rises", (1, 2, 3), 10),
    ("floor rises by the step", (1, 2, 3), 410),
    ("third rotation", (1, 2, 3, 4), 410),
)


class TrustSession:
    """Takes roots as they are offered."""

    def __init__(self, root: Path, material: Path) -> None:
        self._folder, self._material = root / "state" / "trust", material
        self.store = TrustStore(self._folder, material / "root.json", BUILT)
        self._found: object = self._known()  # agent.trust's file may be gone by the next start, or be another
        self.warnings = self.store.recover()

    def do(self, step: int) -> None:
        match step:
            case 1:
                self.store.offer([self._read(number) for number in (1, 2, 3)])
            case 2:
                self.store.raise_floor(BUILT + timedelta(days=10))
            case 3:
                self.store.raise_floor(BUILT + timedelta(days=10_000))
            case 4:
                self.store.offer([self._read(4)])

    def told(self) -> object:
        return self.seen()

    def act(self) -> None:
        self.store.raise_floor(BUILT + timedelta(days=5))

    def _read(self, number: int) -> trust.TrustRoot:
        return trust.read_root((self._material / f"{number}.root.json").read_bytes())

    def seen(self) -> object:
        return tuple(root.version for root in self.store.known()), (self.store.floor - BUILT).days

    def _known(self) -> tuple[int, ...]:
        return tuple(root.version for root in TrustStore(self._folder, None, BUILT).known())

    def follows(self, seen: object) -> None:
        assert (self._found, (self.store.floor - BUILT).days) == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        assert not self.warnings
        known = tuple(root.version for root in self.store.known())
        days = (self.store.floor - BUILT).days
        assert done < 0 or self._found in {known, None}, f"{self._found} stand there, {known} are in force"
        self._found = None  # that was the start
        done = max(done, 0)
        least = TRUST_STEPS[done]
        most = TRUST_STEPS[done + 1] if begun and done + 1 < len(TRUST_STEPS) else least
        assert len(least[1]) <= len(known) <= len(most[1]), f"{known}: fewer than {least[1]}, or more than {most[1]}"
        assert known == most[1][: len(known)]
        assert days in {least[2], most[2]}
        return done if (known, days) == least[1:] else done + 1 if (known, days) == most[1:] else done

    def close(self) -> None:
        pass
