"""A state that is kept for too long, and clocks that cannot tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Timestamp  # type: ignore[attr-defined]
from tuf.ngclient import Updater  # type: ignore[attr-defined]

from camagent import vitals
from firmware_pkg.tuf_client import judge_expiry_at
from signing.trust_edit import ForTuf
from tests.signing.support import key
from tests.support.tuf_scene import Scene, first_root
from tests.support.tuf_world import days


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
