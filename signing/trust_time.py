"""Dates against a doubtful clock. Pure: times and the kernel's word on synchronisation are handed in.

Signatures never look at a clock. Only expiry does, and it stops new installs only: what runs, runs on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from signing.refusals import ClockUntrusted, Refused, TrustExpired

STEP = timedelta(days=400)  # per confirmed thing: a mistaken date in 2099 costs months, not decades
WARN_BEFORE = timedelta(days=30)
_SET_CLOCK = "set the clock: 'timedatectl set-ntp true', or 'date -s' and 'hwclock -w'; then try again"


@dataclass(frozen=True, slots=True)
class Clock:
    """What is known of the time: the system's clock, and the floor below which it cannot be.

    `synchronised` is the kernel's word on it; None: it does not say.
    """

    system: datetime
    floor: datetime
    synchronised: bool | None = None

    def __post_init__(self) -> None:
        if self.system.tzinfo is None or self.floor.tzinfo is None:
            raise ValueError("times carry their zone: datetime.now(UTC)")

    @property
    def judged_at(self) -> datetime:
        """The time at which expiry is judged: never before the floor."""
        return max(self.system, self.floor)

    @property
    def below_floor(self) -> bool:
        """True when the system clock is certainly wrong."""
        return self.system < self.floor

    def evidence(self) -> dict[str, str]:
        """Both times and the sync state, for messages."""
        state = {True: "synchronised", False: "not synchronised", None: "unknown"}[self.synchronised]
        return {"system clock": _text(self.system), "not before": _text(self.floor), "kernel clock": state}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Not expired. `warnings` are ClockUntrusted errors that were not raised; `expires_soon` from 30 days before."""

    judged_at: datetime
    remaining: timedelta | None  # None: it never expires
    warnings: tuple[Refused, ...] = ()

    @property
    def expires_soon(self) -> bool:
        """True in the last 30 days."""
        return self.remaining is not None and self.remaining <= WARN_BEFORE


def judge(
    what: str,
    expires: datetime | None,
    clock: Clock,
    *,
    refusal: type[Refused] = TrustExpired,
    fix: str = "make a new root with 'camagent trust rotate --expires DAYS' and install it",
    require_clock: bool = False,
) -> Judgement:
    """Whether something has expired, as far as this clock can tell.

    Args:
        what: its name in messages, such as "root 3".
        expires: when; None for never.
        clock: what is known of the time.
        refusal: the class for "expired": TrustExpired, or the caller's own for bundles.
        fix: what to do about an expired one.
        require_clock: refuse, rather than warn, when the clock is below the floor.

    Raises:
        ClockUntrusted: it looks expired but the kernel says the clock is not synchronised; or it is below the floor and
            require_clock is set.
        Refused: (`refusal`) it has expired.
    """
    warnings: list[Refused] = []
    if clock.below_floor:
        doubt = ClockUntrusted(
            "the clock of this device is wrong: it shows a time before software that is already installed",
            evidence=clock.evidence() | {"judged at": _text(clock.judged_at)},
            fix=_SET_CLOCK,
        )
        if require_clock:
            raise doubt
        warnings.append(doubt)
    if expires is None:
        return Judgement(clock.judged_at, None, tuple(warnings))
    if clock.judged_at >= expires:
        evidence = {"expires": _text(expires), "judged at": _text(clock.judged_at)} | clock.evidence()
        if clock.synchronised is False:
            text = f"{what} looks expired, but the clock of this device is not synchronised"
            raise ClockUntrusted(text, evidence=evidence, fix=_SET_CLOCK)
        raise refusal(f"{what} has expired", evidence=evidence, fix=fix)
    return Judgement(clock.judged_at, expires - clock.judged_at, tuple(warnings))


def raise_floor(floor: datetime, *confirmed: datetime) -> datetime:
    """The floor after things of these dates were verified *and confirmed*: never lower, at most 400 days higher at a time."""
    return min(max(floor, *confirmed), _add(floor, STEP)) if confirmed else floor


def _add(moment: datetime, step: timedelta) -> datetime:
    try:
        return moment + step
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
