"""Actions that end as a failure, and what the server is told of why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from camagent.errors import BackendError
from signing import trust, trust_edit
from tests.signing.support import key
from tests.support.bundles import changed, make_signed, make_unsigned, members
from tests.support.hawkbit import Action, Hawkbit
from tests.support.hawkbit_device import QUICK, Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of, failure_of
from tests.test_bundles import LATER, LOCAL


def test_an_action_for_another_board(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, compatible=["rk3588"])
    device.desk.config = replace(device.desk.config, agent=replace(device.desk.config.agent, device="rk3568"))
    device.again()
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: action.finals)
    found = failure_of(action)
    assert (found["code"], found["number"]) == ("DEVICE_MISMATCH", 402)
    assert "rk3568" in found["evidence"]
    assert "rk3588" in found["evidence"]
    assert device.desk.runs() == "1.0.0"


def test_bundles_that_nobody_signed_and_that_somebody_touched(device: Device, hawkbit: Hawkbit) -> None:
    made = device.folder / "made"
    made.mkdir(exist_ok=True)
    unsigned = hawkbit.assign(("a.cambundle", make_unsigned(made, version="3.0.0").read_bytes()))
    device.until(lambda: unsigned.finals)
    assert failure_of(unsigned)["code"] == "UNSIGNED_NOT_ALLOWED"
    assert failure_of(unsigned)["number"] == 208
    path = make_signed(made, version="4.0.0")
    model = next(member for member in members(path) if member.name == "model.onnx")
    touched = hawkbit.assign(("b.cambundle", changed(path, "model.onnx", model.data[:-1] + b"x").read_bytes()))
    device.until(lambda: touched.finals)
    assert failure_of(touched)["code"] == "PAYLOAD_DIGEST_MISMATCH"
    strange = hawkbit.assign(("c.cambundle", data_of(device.folder, "5.0.0", signers=("stranger",))))
    device.until(lambda: strange.finals)
    assert failure_of(strange)["code"] == "UNTRUSTED_SIGNER"
    assert device.desk.runs() == "1.0.0"


def test_a_model_that_does_not_see_and_one_that_fails_on_trial(device: Device, hawkbit: Hawkbit) -> None:
    blind = hawkbit.assign(("a.cambundle", data_of(device.folder, "3.0.0", gain=0.0)))
    device.until(lambda: blind.finals)
    assert (failure_of(blind)["code"], failure_of(blind)["number"]) == ("GOLDEN_FAILED", 501)
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    trial = device.desk.bundles.live.load(device.desk.config.camera[0]).trial
    assert trial is not None
    for _ in range(3):
        trial.erred("front", BackendError("the NPU says no", fix="ask the NPU"))
    device.desk.bundles.live.tick()
    device.until(lambda: action.finals)
    found = failure_of(action)
    assert (found["code"], found["number"]) == ("TRIAL_FAILED", 504)
    assert found["what"].startswith("blobs 2.0.0 was taken back: ")
    assert device.desk.runs() == "1.0.0"
    asked = hawkbit.count("GET", "artifacts")
    once_more = assign(hawkbit, device)
    device.until(lambda: once_more.finals)
    assert failure_of(once_more)["code"] == "TRIAL_FAILED"
    assert hawkbit.count("GET", "artifacts") == asked, "what has failed here is not fetched again"


def test_a_trial_that_is_ended_by_hand(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.desk.bundles.rollback("blobs", LOCAL, lambda _: None)
    device.until(lambda: action.finals)
    assert (failure_of(action)["code"], failure_of(action)["number"]) == ("TRIAL_ENDED", 505)
    once_more = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    assert once_more.finals == [], "nothing is wrong with the file: another action tries it again"


def test_a_refused_digest_is_reported_and_never_retried_for_ever(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, "3.0.0", signers=("stranger",))
    for number in range(1, 6):
        action = hawkbit.assign((BUNDLE, data))
        device.until(lambda action=action: action.finals)  # type: ignore[misc]
        assert failure_of(action)["code"] == "UNTRUSTED_SIGNER"
        assert hawkbit.count("GET", "artifacts") == 1, f"action {number}"
        device.again()
    assert "was refused here before and was not fetched again" in action.details
    assert [line for line in device.desk.audit() if "3.0.0" in line] == ["refuse 3.0.0 UNTRUSTED_SIGNER"]


def test_under_another_trust_root_a_refused_file_is_judged_anew(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, "3.0.0", signers=("stranger",))
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: action.finals)
    first = trust.read_root((device.folder / "root.json").read_bytes())
    second = trust_edit.add_signer(first, key("stranger").public, [key("root")], expires=LATER)
    device.desk.bundles.install_trust([second], LOCAL)
    again = hawkbit.assign((BUNDLE, data))
    device.until(lambda: device.state() == "trial" or again.finals)
    assert again.finals == []
    assert device.desk.runs() == "3.0.0"


def test_a_server_that_goes_on_to_offer_what_was_closed_hears_the_same_and_nothing_is_done(
    device: Device, hawkbit: Hawkbit
) -> None:
    data = data_of(device.folder, "3.0.0", signers=("stranger",))
    action = hawkbit.assign((BUNDLE, data), is_never_over=True)
    device.turns(50)
    assert set(action.finals) == {"failure"}
    assert len(action.finals) == QUICK.again
    assert len({json.dumps(status) for status in action.statuses if status["execution"] == "closed"}) == 1, "the same"
    device.turns(5)
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    assert "goes on to offer action 1" in str(device.session.facts.detail)
    device.again()
    device.turns(5)
    assert hawkbit.count("GET", "artifacts") == 1
    assert hawkbit.count("POST", "feedback") == QUICK.again + 1


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ([[("firmware.swu", b"x")]], {}, "firmware.swu is no .cambundle file"),
        ([[("a.cambundle", b"x"), ("b.cambundle", b"y")]], {}, "software module 1 has 2 files and not one"),
        ([[]], {}, "software module 1 has 0 files and not one"),
        ([], {}, "the distribution set has 0 software modules"),
        ([[(f"{number}.cambundle", b"x")] for number in range(9)], {}, "the distribution set has 9 software modules"),
        ([[("a.cambundle", b"")]], {}, "a.cambundle has a size that no bundle has"),
        ([[("a.cambundle", b"x")]], {"update": "skip"}, "to be downloaded and not installed"),
        ([[("a.cambundle", b"x")]], {"download": "skip", "update": "skip"}, "to be downloaded and not installed"),
        ([[("a.cambundle", b"x")]], {"changes": {"_links": {}}}, "has no download link that can be used"),
        ([[("<b>x</b>.cambundle.exe", b"x")]], {}, "x.cambundle.exe is no .cambundle file"),
    ],
)  # fmt: skip
def test_actions_that_are_nothing_for_a_camera(
    device: Device, hawkbit: Hawkbit, files: list[list[tuple[str, bytes]]], options: dict[str, Any], words: str
) -> None:
    action = Action("1", files, **options)
    hawkbit.actions.append(action)
    device.until(lambda: action.finals)
    found = failure_of(action)
    assert (found["code"], found["number"]) == ("ACTION_UNSUPPORTED", 604)
    assert words in found["what"]
    assert hawkbit.count("GET", "artifacts") == 0


def test_a_maintenance_window_is_waited_for(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, update="skip", window="unavailable")
    device.turns(5)
    assert device.state() == "waiting"
    assert [status["details"] for status in action.statuses] == [
        ["waits for the maintenance window: download and installation are one step here"]
    ]
    device.again()
    device.turns(3)
    assert hawkbit.count("GET", "artifacts") == 0
    action.update, action.window = "forced", "available"
    device.until(lambda: device.state() == "trial")
    assert hawkbit.count("GET", "artifacts") == 1
