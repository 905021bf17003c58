from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from signing.refusals import Refused, TrustExpired
from signing.trust_time import STEP, Clock, judge, raise_floor
from tests.signing.support import refused


def day(year: int, month: int = 1, number: int = 1) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


BUILT, EXPIRES = day(2026, 6), day(2027)


@pytest.mark.parametrize("system, synchronised, code, warned", [
    (day(1970), False, None, True),
    (day(1970), True, None, True),
    (BUILT - timedelta(seconds=1), True, None, True),
    (BUILT, True, None, False),
    (day(2026, 11), True, None, False),
    (day(2026, 11), False, None, False),
    (EXPIRES - timedelta(seconds=1), False, None, False),
    (EXPIRES, True, "TRUST_EXPIRED", False),
    (EXPIRES, None, "TRUST_EXPIRED", False),
    (EXPIRES, False, "CLOCK_UNTRUSTED", False),
    (day(2045), True, "TRUST_EXPIRED", False),
    (day(2099), False, "CLOCK_UNTRUSTED", False),
])  # fmt: skip
def test_the_table_of_clocks(system: datetime, synchronised: bool | None, code: str | None, warned: bool) -> None:
    clock = Clock(system, BUILT, synchronised)
    if code:
        error = refused(
            code,
            lambda: judge("root 3", EXPIRES, clock),
            "2027-01-01T00:00:00Z",
            f"{system:%Y-%m-%d}",
            "2026-06-01",
            "kernel clock",
        )
        assert code == "TRUST_EXPIRED" or "timedatectl" in error.fix
        return
    found = judge("root 3", EXPIRES, clock)
    assert found.judged_at == max(system, BUILT)
    assert [warning.code for warning in found.warnings] == ["CLOCK_UNTRUSTED"] * warned
    assert found.remaining == EXPIRES - found.judged_at


def test_a_clock_below_the_floor_is_refused_on_request() -> None:
    clock = Clock(day(1970), BUILT, synchronised=True)
    refused("CLOCK_UNTRUSTED", lambda: judge("root 3", EXPIRES, clock, require_clock=True), "1970-01-01", "2026-06-01")
    assert judge("root 3", EXPIRES, Clock(BUILT, BUILT), require_clock=True).warnings == ()


def test_a_floor_behind_the_expiry_is_judged_too() -> None:
    refused("TRUST_EXPIRED", lambda: judge("root 3", EXPIRES, Clock(day(1970), day(2028), synchronised=True)), "2028-01-01")
    refused("CLOCK_UNTRUSTED", lambda: judge("root 3", EXPIRES, Clock(day(1970), day(2028), synchronised=False)))


def test_things_without_expiry_and_codes_of_their_own() -> None:
    class BundleExpired(Refused):
        code = "BUNDLE_EXPIRED"

    assert judge("the bundle", None, Clock(day(2099), BUILT, synchronised=False)).remaining is None
    refused(
        "BUNDLE_EXPIRED", lambda: judge("the bundle", EXPIRES, Clock(day(2028), BUILT), refusal=BundleExpired, fix="sign anew")
    )


def test_the_last_thirty_days_are_announced() -> None:
    assert judge("root 3", EXPIRES, Clock(EXPIRES - timedelta(days=30), BUILT)).expires_soon
    assert not judge("root 3", EXPIRES, Clock(EXPIRES - timedelta(days=31), BUILT)).expires_soon
    assert not judge("root 3", None, Clock(BUILT, BUILT)).expires_soon


def test_the_floor_rises_slowly_and_never_sinks() -> None:
    assert raise_floor(BUILT) == BUILT
    assert raise_floor(BUILT, day(1970)) == BUILT
    assert raise_floor(BUILT, day(2026, 7), day(2026, 9)) == day(2026, 9)
    assert raise_floor(BUILT, day(2099)) == BUILT + STEP
    assert raise_floor(BUILT, BUILT + STEP) == BUILT + STEP
    last = datetime.max.replace(tzinfo=UTC)
    assert raise_floor(last - timedelta(days=1), last) == last


def test_times_without_a_zone_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="zone"):
        Clock(datetime(2026, 1, 1), BUILT)  # noqa: DTZ001


def test_other_zones_are_the_same_moment() -> None:
    tokyo = EXPIRES.astimezone(__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))
    with pytest.raises(TrustExpired, match="has expired"):
        judge("root 3", EXPIRES, Clock(tokyo, BUILT))
