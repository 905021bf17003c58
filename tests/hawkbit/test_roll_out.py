"""A roll-out that goes well: polled, fetched, on trial, confirmed; what the server is told of each step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hawkbit import Hawkbit
from tests.support.hawkbit_device import Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of, executions


def test_a_bundle_is_rolled_out_tried_and_confirmed(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.wants_attributes = True
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    assert device.desk.runs() == "2.0.0"
    assert executions(action) == ["proceeding", "proceeding"], "accepted, on trial; the action stays open"
    assert action.statuses[0]["details"] == ["accepted: 1 bundle"]
    assert action.statuses[1]["details"][0].startswith("on trial: blobs 2.0.0, digest ")
    assert action.statuses[1]["result"] == {"finished": "none", "progress": {"cnt": 1, "of": 1}}
    device.turns(200)
    assert executions(action) == ["proceeding", "proceeding"], "nothing is said twice"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
    assert action.statuses[-1]["details"] == ["blobs 2.0.0: confirmed"]
    assert hawkbit.attributes["bundle.blobs"] == "1.0.0", "before"
    device.until(lambda: not hawkbit.wants_attributes)
    assert hawkbit.attributes["bundle.blobs"] == "2.0.0", "after"
    assert hawkbit.attributes["camagent.version"]
    device.turns(20)
    assert hawkbit.count("POST", "/deploymentBase/1/feedback") == 3
    assert hawkbit.count("GET", "artifacts") == 1
    assert device.state() == "idle"
    assert [line for line in device.desk.audit() if "2.0.0" in line] == ["install 2.0.0", "confirm 2.0.0"]
    assert not device.errors


def test_what_is_in_force_is_not_fetched_again(device: Device, hawkbit: Hawkbit) -> None:
    first = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.desk.confirm()
    device.until(lambda: first.finals)
    second = assign(hawkbit, device)
    device.until(lambda: second.finals)
    assert second.finals == ["success"]
    assert second.statuses[-1]["details"] == ["blobs 2.0.0: is in force already"]
    assert hawkbit.count("GET", "artifacts") == 1
    known = hawkbit.assign(("blobs.cambundle", (device.folder / "blobs-1.0.0.cambundle").read_bytes()))
    device.until(lambda: known.statuses)
    device.until(lambda: device.state() == "trial" or known.finals)
    assert device.desk.runs() == "1.0.0", "an older one that is ordered is tried like any other"


def test_a_second_action_for_the_bundle_on_trial_waits_for_the_same_end(device: Device, hawkbit: Hawkbit) -> None:
    first = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    hawkbit.cancel(first)
    first.state = "closed"  # by force, on the server alone
    second = assign(hawkbit, device)
    device.until(lambda: hawkbit.count("GET", "/deploymentBase/2"))
    assert device.state() == "trial"
    device.desk.confirm()
    device.until(lambda: second.finals)
    assert (first.finals, second.finals) == ([], ["success"])
    assert hawkbit.count("GET", "artifacts") == 1


def test_several_bundles_in_one_distribution_set(device: Device, hawkbit: Hawkbit) -> None:
    other = data_of(device.folder, name="gates", version="1.0.0")
    action = hawkbit.assign((BUNDLE, data_of(device.folder)), ("gates.cambundle", other))
    device.until(lambda: device.state() == "trial")
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
    told = action.statuses[-1]["details"]
    assert told[0] == "blobs 2.0.0: confirmed"
    assert told[1].startswith("gates 1.0.0: stored; no camera uses it yet: write bundle = ")
    assert [status["result"].get("progress") for status in action.statuses[1:3]] == [{"cnt": 1, "of": 2}, {"cnt": 2, "of": 2}]


def test_a_server_under_a_path_a_tenant_and_a_name_of_its_own(tmp_path: Path) -> None:
    hawkbit = Hawkbit(tenant="acme", controller="gate:7", token="GatewayToken all-of-them")
    with hawkbit.listening() as url:
        (tmp_path / "gateway").write_text("all-of-them")
        keys = {
            "tenant": "acme", "controller_id": "gate:7", "target_token_file": None, "gateway_token_file": tmp_path / "gateway",
        }  # fmt: skip
        device = Device(tmp_path / "device", url, keys=keys)
        device.turn()
        assert device.state() == "idle"


@pytest.mark.parametrize(
    ("sleep", "seconds"),
    [
        ("00:05:00", 300), ("12:00:00", 43_200), ("P1D", 86_400), ("P2DT12H", 216_000), ("PT30M", 1800), ("PT36H", 129_600),
        ("PT90S", 90), ("PT1M30.5S", 90), ("P1W", 604_800), ("00:00:01", 10), ("P999D", 604_800),
    ],
)  # fmt: skip
def test_polling_as_the_server_says(device: Device, hawkbit: Hawkbit, sleep: str, seconds: float) -> None:
    hawkbit.sleep = sleep
    assert device.turn() == seconds
    assert device.session.facts.poll_s == seconds


@pytest.mark.parametrize("sleep", ["soon", "P", "PT", "00:99:00", "-1:00:00", "P1Y", "１２:00:00", "P1D\n"])
def test_a_polling_time_that_is_none_is_said(device: Device, hawkbit: Hawkbit, sleep: str) -> None:
    hawkbit.sleep = sleep
    device.turn()
    assert device.session.facts.code == "HAWKBIT_ANSWER"


def test_polling_as_the_configuration_says(tmp_path: Path, hawkbit: Hawkbit) -> None:
    device = Device(tmp_path / "device", hawkbit.url, keys={"poll": 20.0})
    assert device.turn() == 20.0


def test_an_answer_that_has_not_changed_is_not_sent_again(device: Device, hawkbit: Hawkbit) -> None:
    device.turns(3)
    assert [status for _, _, status in hawkbit.asked] == [200, 304, 304]
