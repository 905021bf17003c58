"""The hawkBit client against a stand-in for the server, over real sockets, with real bundles and a real store.

What the server is told is asserted at every end that an action can come to.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from camagent.errors import BackendError
from camagent.integrations import hawkbit_memory
from camagent.integrations.hawkbit_book import Patience
from camagent.integrations.hawkbit_plan import MOST_TRIES
from firmware_pkg.order import Limits
from signing import trust, trust_edit
from tests.signing.support import key
from tests.support.bundles import changed, make_signed, make_unsigned, members
from tests.support.hawkbit import Action, Hawkbit, breaking, dripping, endless, saying
from tests.support.hawkbit_device import DOWNLOAD, QUICK, REQUEST, Device
from tests.support.http_server import Answer, Files, Request, Server, head, serving
from tests.support.tls import Authority
from tests.test_bundles import LATER, LOCAL
from tests.test_errors import NASTY

BUNDLE = "blobs-2.0.0.cambundle"


@pytest.fixture
def hawkbit() -> Iterator[Hawkbit]:
    made = Hawkbit()
    with made.listening():
        yield made


@pytest.fixture
def device(tmp_path: Path, hawkbit: Hawkbit) -> Device:
    """A device that runs blobs 1.0.0, confirmed."""
    made = Device(tmp_path, hawkbit.url)
    made.desk.install(make_signed(tmp_path, version="1.0.0"))
    made.desk.confirm()
    return made


def data_of(folder: Path, version: str = "2.0.0", **options: Any) -> bytes:
    """The same bytes every time: signatures are not."""
    made = folder / "made"
    made.mkdir(exist_ok=True)
    path = made / f"{options.get('name', 'blobs')}-{version}.cambundle"
    return path.read_bytes() if path.exists() else make_signed(made, version=version, **options).read_bytes()


def assign(hawkbit: Hawkbit, device: Device, **options: Any) -> Action:
    return hawkbit.assign((BUNDLE, data_of(device.folder)), **options)


def failure_of(action: Action) -> dict[str, Any]:
    """The one last word, which is a failure: its details as a dictionary, and `number`."""
    assert action.finals == ["failure"]
    last = action.statuses[-1]
    found = dict(line.split(": ", 1) for line in last["details"] if ": " in line)
    assert found["what"]
    assert found["fix"]
    return {**found, "number": last["code"]}


def executions(action: Action) -> list[str]:
    return [status["execution"] for status in action.statuses]


def is_well(device: Device) -> bool:
    return device.state() == "idle" and device.session.facts.code is None


# -- it goes well ---------------------------------------------------------------------------------------------------------


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


# -- downloads ------------------------------------------------------------------------------------------------------------


def test_a_download_that_is_cut_off_goes_on_where_it_was(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, extra={"ballast.bin": bytes(300_000)})
    hawkbit.files[BUNDLE] = files = Files(data, etag='"1"', cuts=(100_000, 50_000))
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: device.state() == "trial")
    assert files.asked == 3
    assert action.ranges == 2, "few ranges: each is a status of its own"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
    assert executions(action) == ["proceeding", "proceeding", "closed"]


def test_a_server_that_breaks_off_for_ever_ends_as_a_failure(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder)
    hawkbit.files[BUNDLE] = Files(data, cuts=(10,) * 1000)
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: action.finals, 200)
    found = failure_of(action)
    assert found["code"] == "DOWNLOAD_FAILED"
    assert found["number"] == 603
    assert "reason = broken" in found["evidence"]
    assert len(action.statuses) == MOST_TRIES + 1
    assert len(action.statuses) + action.ranges < 100, "far below hawkBit's 1000"
    assert device.desk.runs() == "1.0.0"
    asked = hawkbit.count("GET", "artifacts")
    device.turns(20)
    assert hawkbit.count("GET", "artifacts") == asked


def test_a_download_that_fails_is_tried_again_later(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder)
    hawkbit.files[BUNDLE] = Files(data, cuts=(10,) * 5)
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: device.state() == "trial")
    assert "the download failed and will be tried again (1 of " in action.details


def test_without_a_sha256_size_and_signature_decide(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, hashes=("sha1", "md5"))
    device.until(lambda: device.state() == "trial")
    assert f"the server gives no sha256 of {BUNDLE}: its size and the signature in it decide" in action.details
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"hashes": {"sha256": "0" * 64}}, "digest"), ({"size": 1000}, "wrong-size"), ({"size": 10**9}, "wrong-size")],
)  # fmt: skip
def test_a_file_that_is_not_the_announced_one(device: Device, hawkbit: Hawkbit, changes: dict[str, Any], reason: str) -> None:
    action = assign(hawkbit, device, changes=changes)
    device.until(lambda: action.finals)
    found = failure_of(action)
    assert found["code"] == "DOWNLOAD_FAILED"
    assert f"reason = {reason}" in found["evidence"]
    assert device.desk.runs() == "1.0.0"


@pytest.mark.parametrize("hashes", [(), ("sha1",)])
def test_without_a_sha256_another_file_of_the_same_size_is_refused_by_its_signature(
    device: Device, hawkbit: Hawkbit, hashes: tuple[str, ...]
) -> None:
    data = data_of(device.folder)
    at = data.index(b'"version"')
    hawkbit.files[BUNDLE] = Files(data[: at + 14] + b"9" + data[at + 15 :])
    action = hawkbit.assign((BUNDLE, data), hashes=hashes)
    device.until(lambda: action.finals)
    assert failure_of(action)["code"] == "PAYLOAD_DIGEST_MISMATCH"


def test_a_body_that_never_ends_is_read_no_further_than_announced(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.files[BUNDLE] = endless
    action = assign(hawkbit, device)
    device.until(lambda: action.finals)
    assert failure_of(action)["code"] in {"DOWNLOAD_FAILED", "MANIFEST_INVALID", "UNSAFE_PATH", "BUNDLE_TRUNCATED"}


def test_a_file_that_drips_ends_at_the_deadline(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder)

    def slow(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}"))
        for byte in data:
            if server.over.wait(0.05):
                return
            wire.sendall(bytes([byte]))

    hawkbit.files[BUNDLE] = slow
    device.patience = Patience(download=Limits(total_s=0.3, resumes=1, backoff_s=0.01), request=REQUEST)
    device.again()
    action = hawkbit.assign((BUNDLE, data))
    device.until(lambda: action.finals, 200)
    found = failure_of(action)
    assert found["code"] == "DOWNLOAD_FAILED"
    assert "reason = deadline" in found["evidence"]


def test_a_redirect_to_another_server_is_not_followed(device: Device, hawkbit: Hawkbit) -> None:
    def hidden(server: Server, request: Request, wire: Any) -> None:
        raise AssertionError("asked")

    with serving(hidden) as other:
        hawkbit.files[BUNDLE] = saying(302, b"", f"Location: {other.url('/x')}")
        action = assign(hawkbit, device)
        device.until(lambda: action.finals)
        assert other.connections == 0
    assert "reason = redirected" in failure_of(action)["evidence"]


def test_a_file_on_another_host_is_fetched_without_the_token(tmp_path: Path, hawkbit: Hawkbit) -> None:
    authority = Authority(tmp_path)
    data = data_of(tmp_path)
    with serving(Files(data), tls=authority.issue("127.0.0.1").server()) as cdn:
        keys = {"download_from": (cdn.url("/bundles/"),), "ca_file": authority.file}
        device = Device(tmp_path / "device", hawkbit.url, keys=keys)
        link = {"download": {"href": cdn.url("/bundles/x.cambundle")}}
        action = hawkbit.assign((BUNDLE, data), links=lambda path, name: link)
        device.until(lambda: device.state() == "trial")
        (asked,) = cdn.requests
        assert "authorization" not in asked.headers
        assert "abc" not in str(asked)
        device.desk.confirm()
        device.until(lambda: action.finals)
        assert action.finals == ["success"]
        link["download"] = {"href": cdn.url("/elsewhere/x.cambundle")}
        second = hawkbit.assign((BUNDLE, data_of(tmp_path, "3.0.0")), links=lambda path, name: link)
        device.until(lambda: second.finals)
        assert failure_of(second)["code"] == "ACTION_UNSUPPORTED"
        assert len(cdn.requests) == 1


@pytest.mark.parametrize(
    "href",
    [
        "https://127.0.0.1:9/x.cambundle", "https://[::1]:9/x", "https://localhost:9/x.cambundle", "https://192.0.2.7/x",
        "http://updates.example/x.cambundle", "file:///etc/passwd", "https://user:pw@updates.example/x", "",
    ],
)  # fmt: skip
def test_files_that_lie_where_nothing_is_fetched(device: Device, hawkbit: Hawkbit, href: str) -> None:
    """Another machine's service, this machine's own, the link of somebody else: a server cannot send the device there."""
    device.patience = Patience(download=Limits(first_tries=0, connect_s=0.5, backoff_s=0.01), request=REQUEST)
    device.again()
    action = assign(hawkbit, device, links=lambda path, name: {"download": {"href": href}})
    device.until(lambda: action.finals, 200)
    found = failure_of(action)
    if "localhost" in href:
        assert (found["code"], "address-not-allowed" in found["evidence"]) == ("DOWNLOAD_FAILED", True)
    else:
        assert found["code"] == "ACTION_UNSUPPORTED", "nobody was asked"


def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("127.0.0.1"), authority.issue("cam-01")
    context = server.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    hawkbit = Hawkbit(token=None)
    with hawkbit.listening(tls=context) as url:
        keys = {"target_token_file": None, "ca_file": authority.file, "cert_file": client.cert, "key_file": client.key}
        device = Device(tmp_path / "device", url, keys=keys)
        action = hawkbit.assign((BUNDLE, data_of(tmp_path)))
        device.until(lambda: device.state() == "trial")
        assert executions(action) == ["proceeding", "proceeding"]
        stranger = Device(tmp_path / "stranger", url, keys={**keys, "ca_file": None})
        stranger.turn()
        assert stranger.session.facts.code == "HAWKBIT_UNREACHABLE"
        assert "does not prove" in str(stranger.session.facts.detail)


# -- it is refused --------------------------------------------------------------------------------------------------------


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


# -- cancelled, confirmed, denied -----------------------------------------------------------------------------------------


def test_cancelled_before_the_installation_begins(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, update="skip", window="unavailable")
    device.until(lambda: device.state() == "waiting")
    hawkbit.cancel(action)
    device.until(lambda: action.cancellations)
    (answer,) = action.cancellations
    assert (answer["execution"], answer["result"]["finished"]) == ("closed", "success")
    assert action.state == "closed"
    device.turns(5)
    assert device.state() == "idle"
    assert hawkbit.count("GET", "artifacts") == 0


def test_cancelled_after_the_installation_began_is_rejected_and_goes_on(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    hawkbit.cancel(action)
    device.until(lambda: action.cancellations)
    (answer,) = action.cancellations
    assert (answer["execution"], answer["details"]) == ("rejected", ["a bundle of it is installed already"])
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]


def test_cancelled_in_the_middle_of_the_download(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, extra={"ballast.bin": bytes(300_000)})
    waiting, go_on = threading.Event(), threading.Event()

    def half(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}") + data[:100_000])
        waiting.set()
        go_on.wait(10)
        for at in range(100_000, 250_000, 10_000):
            wire.sendall(data[at : at + 10_000])
            server.over.wait(0.02)

    hawkbit.files[BUNDLE] = half
    device.patience = Patience(progress_s=0.0, download=DOWNLOAD, request=REQUEST)
    device.again()
    action = hawkbit.assign((BUNDLE, data))

    def cancelling() -> None:
        assert waiting.wait(10)
        hawkbit.cancel(action)
        go_on.set()

    thread = threading.Thread(target=cancelling)
    thread.start()
    device.until(lambda: action.cancellations)
    thread.join()
    assert [answer["execution"] for answer in action.cancellations] == ["closed"]
    assert action.finals == []
    assert "downloading: " in action.details
    assert device.desk.runs() == "1.0.0"
    assert not list((device.folder / "state" / "bundles" / ".staging").glob("*")), "nothing is left of it"
    device.turns(5)
    assert device.state() == "idle"
    assert not device.errors["DOWNLOAD_FAILED"]


def test_a_cancellation_of_something_else_is_accepted_once(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    hawkbit.cancel(action)
    device.turns(5)
    assert [answer["execution"] for answer in action.cancellations] == ["closed"]
    assert device.memory.doing is None


def test_an_assignment_that_wants_confirmation_gets_it(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, state="waiting")
    device.until(lambda: device.state() == "trial")
    assert [answer["confirmation"] for answer in action.confirmations] == ["confirmed"]


def test_a_denied_assignment_stays_open_and_is_denied_once(tmp_path: Path, hawkbit: Hawkbit) -> None:
    device = Device(tmp_path / "device", hawkbit.url, keys={"confirmation": "denied"})
    action = assign(hawkbit, device, state="waiting")
    device.turns(5)
    device.again()
    device.turns(5)
    assert [answer["confirmation"] for answer in action.confirmations] == ["denied"]
    assert action.confirmations[0]["details"] == ["denied: fleet.hawkbit.confirmation"]
    assert hawkbit.count("GET", "deploymentBase") == 0
    device.keys["confirmation"] = "confirmed"
    device.again()
    device.until(lambda: hawkbit.count("GET", "deploymentBase"))
    assert [answer["confirmation"] for answer in action.confirmations] == ["denied", "confirmed"], "its owner changed his mind"


# -- statuses -------------------------------------------------------------------------------------------------------------


def test_401_is_told_and_the_server_is_not_hammered(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.token = "TargetToken another"
    waits = [device.turn() for _ in range(8)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert device.session.facts.code == "HAWKBIT_UNAUTHORISED"
    assert "token" in str(device.session.facts.detail)
    assert "abc" not in str(device.session.facts)
    assert device.errors["HAWKBIT_UNAUTHORISED"] == 8
    (device.folder / "token").write_text("another")
    device.turn()
    assert is_well(device), "the file is read anew every time"
    (device.folder / "token").unlink()
    device.turn()
    assert device.session.facts.code == "HAWKBIT_UNAUTHORISED"
    assert "cannot be used" in str(device.session.facts.detail)


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize("part", ["/controller/v1/cam-01", "/deploymentBase/1", "/feedback"])
def test_come_back_later_is_obeyed(device: Device, hawkbit: Hawkbit, status: int, part: str) -> None:
    action = assign(hawkbit, device)
    method = "POST" if part == "/feedback" else "GET"
    hawkbit.instead(part, saying(status, b"", "Retry-After: 77"), saying(status), method=method)
    waits = []
    for _ in range(20):
        waits.append(device.turn())
        if device.state() == "trial":
            break
    assert 78 in waits, "as long as the server says"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
    assert executions(action) == ["proceeding", "proceeding", "closed"]
    assert device.errors["HAWKBIT_BUSY"] == 2


def test_410_ends_it_before_anything_is_installed(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)

    def gone(server: Server, request: Request, wire: Any) -> None:
        action.state = "closed"
        wire.sendall(head(410, "Content-Length: 0"))

    hawkbit.instead("/feedback", gone, method="POST")
    device.turns(5)
    assert hawkbit.count("GET", "artifacts") == 0
    assert device.memory.doing is None
    assert device.desk.runs() == "1.0.0"


def test_410_to_the_last_word_is_the_end_of_it(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.desk.confirm()
    action.state = "closed"
    device.turns(5)
    assert [status["result"]["finished"] for status in action.late] == ["success"]
    assert device.memory.doing is None
    assert device.desk.runs() == "2.0.0"


@pytest.mark.parametrize("status", [400, 422])
def test_words_that_the_server_does_not_take_are_left_out(device: Device, hawkbit: Hawkbit, status: int) -> None:
    action = hawkbit.assign((BUNDLE, data_of(device.folder, "3.0.0", signers=("stranger",))))
    hawkbit.instead("/feedback", hawkbit.obey, saying(status), method="POST")
    device.until(lambda: action.finals)
    assert action.finals == ["failure"]
    assert (action.statuses[-1]["code"], action.statuses[-1]["details"]) == (205, [])


def test_a_wrong_tenant_is_a_sentence(tmp_path: Path, hawkbit: Hawkbit) -> None:
    device = Device(tmp_path / "device", hawkbit.url, keys={"tenant": "NOBODY"})
    waits = [device.turn() for _ in range(3)]
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    assert "no such tenant" in str(device.session.facts.detail)
    assert waits == [10, 20, 40]


def test_a_server_that_is_not_there_is_asked_less_and_less_often(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", "http://127.0.0.1:9")
    waits = [device.turn() for _ in range(9)]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert device.session.facts.code == "HAWKBIT_UNREACHABLE"
    assert device.session.facts.polled is None


# -- hostile answers ------------------------------------------------------------------------------------------------------


def polluted(text: str) -> list[bytes]:
    """Answers to the root resource that hold a nasty string wherever one can stand."""
    made = [
        {"config": {"polling": {"sleep": text}}}, {"_links": {"deploymentBase": {"href": text}}}, {"_links": {text: text}},
        {"_links": {"cancelAction": text}}, {"_links": {"configData": {"href": f"http://{text}/x"}}}, {text: text},
    ]  # fmt: skip
    return [json.dumps(one).encode() for one in made]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_in_the_root_resource(device: Device, hawkbit: Hawkbit, text: str) -> None:
    answers = polluted(text)
    hawkbit.instead("/cam-01", *[saying(200, body) for body in answers])
    for _ in answers:
        device.turn()
        shown = json.dumps([device.session.facts.code, device.session.facts.detail], ensure_ascii=False)
        assert shown.isprintable()


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_in_an_action_are_told_back_tamed(device: Device, hawkbit: Hawkbit, text: str) -> None:
    """The stand-in refuses details that are not printable or hold markup."""
    action = hawkbit.assign((text + "<i>.cambundle.exe", b"x"))
    if not text.isascii() and text.encode(errors="ignore") == b"":  # half a character is no JSON
        assert device.turn() == 10
        assert device.session.facts.code == "HAWKBIT_ANSWER"
        return
    device.until(lambda: action.finals)
    assert failure_of(action)["code"] == "ACTION_UNSUPPORTED"


@pytest.mark.parametrize(
    "answer",
    [
        saying(200, b""), saying(200, b"[]"), saying(200, b"null"), saying(200, b"{" * 100_000), saying(200, b"\xff\xfe"),
        saying(200, b'{"_links": {"deploymentBase": {"href": "http://evil.example/x/deploymentBase/1"}}}'),
        saying(200, b'{"_links": {"deploymentBase": {"href": "/x/deploymentBase/.."}}}'),
        saying(200, b'{"_links": {"deploymentBase": {"href": "/x/deploymentBase/1;2"}}}'),
        saying(200, b'{"_links": []}'), saying(302, b"", "Location: http://evil.example/"), saying(200, b"x" * 300_000),
        saying(200, b"{}", "Content-Encoding: gzip"), saying(418), endless,
    ],
)  # fmt: skip
def test_answers_that_are_none(device: Device, hawkbit: Hawkbit, answer: Answer) -> None:
    hawkbit.instead("/cam-01", answer)
    assert device.turn() == 10
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    device.turn()
    assert is_well(device)


def test_an_etag_that_is_none_is_not_sent_back(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.instead("/cam-01", *[saying(200, b"{}", f"ETag: {etag}") for etag in ('"a"\r\n b', "x" * 300, '"é"', '"fine"')])
    for _ in range(5):
        device.turn()
        assert is_well(device)


@pytest.mark.parametrize("answer", [breaking, dripping, saying(200, b"")])
def test_connections_that_break_or_drip(device: Device, hawkbit: Hawkbit, answer: Answer) -> None:
    hawkbit.instead("/cam-01", answer)
    device.turn()
    assert device.session.facts.code in {"HAWKBIT_UNREACHABLE", "HAWKBIT_ANSWER"}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"id": "2", "deployment": {"download": "forced", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "now", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [{}] * 100}},
        {"id": ["1"], "deployment": {"download": "forced", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [
            {"artifacts": [{"filename": "a.cambundle", "size": -1}]}]}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [
            {"artifacts": [{"filename": "a.cambundle", "size": 1, "hashes": {"sha256": "../../etc/passwd"}}]}]}},
    ],
)  # fmt: skip
def test_deployments_that_are_none(device: Device, hawkbit: Hawkbit, body: dict[str, Any]) -> None:
    assign(hawkbit, device)
    hawkbit.instead("/deploymentBase/1", saying(200, json.dumps(body).encode()))
    device.turn()
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    device.until(lambda: device.state() == "trial")


def test_a_forged_history_makes_nothing_true(device: Device, hawkbit: Hawkbit) -> None:
    """What the history says was put on trial is looked up in the store, and nothing else."""
    action = assign(hawkbit, device)
    forged = f"on trial: blobs 9.9.9, digest {'0' * 64}; on trial: ../../etc 1, digest {'1' * 64}"
    action.statuses.append({"execution": "proceeding", "result": {"finished": "none"}, "details": [forged]})
    device.until(lambda: device.state() == "trial")
    assert hawkbit.count("GET", "artifacts") == 1
    assert device.desk.runs() == "2.0.0"


# -- memory ---------------------------------------------------------------------------------------------------------------


def test_an_agent_that_lost_its_memory_finds_it_in_the_actions_history(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    (device.folder / "state" / hawkbit_memory.FILE_NAME).unlink()
    device.again()
    device.until(lambda: device.state() == "trial")
    assert hawkbit.count("GET", "artifacts") == 1, "not fetched again: the action's history says what it has brought"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2}', b"\xff", b'{"doing": {"action": 1}}'])
def test_a_damaged_memory_is_begun_anew(device: Device, hawkbit: Hawkbit, content: bytes) -> None:
    (device.folder / "state" / hawkbit_memory.FILE_NAME).write_bytes(content)
    device.again()
    assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")


def test_another_server_is_another_matter(device: Device, hawkbit: Hawkbit) -> None:
    assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.keys["tenant"] = "OTHER"
    device.again()
    assert device.memory.doing is None
    assert device.memory.known, "what the file of a sha256 is called does not depend on who offers it"


def test_a_stop_cuts_a_download_and_the_next_life_begins_anew(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, extra={"ballast.bin": bytes(300_000)})
    reached = threading.Event()

    def half(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}") + data[:100_000])
        reached.set()
        server.over.wait(10)

    hawkbit.files[BUNDLE] = half
    action = hawkbit.assign((BUNDLE, data))
    thread = threading.Thread(target=device.turns, args=(1,))
    thread.start()
    assert reached.wait(10)
    device.session.stop()
    thread.join(1.0)
    assert not thread.is_alive(), "within a second"
    memory = device.memory.doing
    assert memory is not None
    assert memory.phase == "fetching"
    hawkbit.files[BUNDLE] = Files(data)
    device.again()
    device.until(lambda: device.state() == "trial")
    assert "begins anew after an interruption, attempt 2" in action.details
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
