"""Files of a roll-out on their way: cut off, changed, endless, slow, elsewhere, behind TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from camagent.integrations.hawkbit_book import Patience
from camagent.integrations.hawkbit_plan import MOST_TRIES
from firmware_pkg.order import Limits
from tests.support.hawkbit import Hawkbit, endless, saying
from tests.support.hawkbit_device import REQUEST, Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of, executions, failure_of
from tests.support.http_server import Files, Request, Server, head, serving
from tests.support.tls import Authority


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
