"""camagent support: secrets are planted wherever one can be, and none comes out, however it is spelled."""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent import cli
from camagent.audit import Audit
from camagent.clock import SystemClock
from camagent.redact import HIDDEN
from camagent.support.secrets import Scrubber, is_secret_name, of_address, of_document, of_environment
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker
from tests.support.bundles import blob_picture, make_signed, write_root
from tests.test_bundle_agent import confirmed

PLANTED = {
    "url password": "Wolken/Kuckuck@Heim",
    "url user": "heimlichtuer",
    "query token": "3f9a-query-token",
    "environment url": "env1ronment-pass",
    "environment variable": "variable-s3cret",
    "mqtt user": "broker-nutzer",
    "mqtt password": "mqtt p%ss & wort",
    "camera user": "kamera-nutzer",
    "camera password": 'camera"pass\\wort',
    "web token": "0123456789abcdef0123456789abcdef",
    "hawkbit token": "hawkbit-geheimes-token",
    "web key": "MIIBVgIBADANBgkqhkiG9w0BAQEFAASCAUAwggE8AgEAAkEAq7",
    "credential": "credential-geheimnis",
    "bundle_from": "update-kennwort",
    "audit": "audit-kennwort",
    "not sound": "tippfehler-kennwort",
}


def spellings(secret: str) -> set[bytes]:
    return {
        text.encode() for text in (
            secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1],
            base64.b64encode(secret.encode()).decode().rstrip("="),
        )
    }  # fmt: skip


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Files and environment that hold secrets; further lines of a configuration that points at them."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in ("mqtt password", "camera user", "camera password", "web token", "hawkbit token"):
        (folder / name.replace(" ", "-")).write_text(PLANTED[name] + "\n")
    (folder / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{PLANTED['web key']}\n-----END PRIVATE KEY-----\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secret_x").write_text(PLANTED["credential"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("CAMERA_URL", f"rtsp://u:{PLANTED['environment url']}@127.0.0.1:9/x")
    monkeypatch.setenv("SOME_TOKEN", PLANTED["environment variable"])
    url = f"rtsp://{PLANTED['url user']}:{quote(PLANTED['url password'], safe='')}@127.0.0.1:9/x?token={PLANTED['query token']}"
    return {
        "mqtt": f'username = "{PLANTED["mqtt user"]}"\npassword_file = "{folder}/mqtt-password"\n',
        "more": f'[web]\nlisten = ""\ntoken_file = "{folder}/web-token"\n'
        f'cert_file = "{folder}/key.pem"\nkey_file = "{folder}/key.pem"\n'
        f'[fleet.hawkbit]\nurl = "http://127.0.0.1:9"\ngateway_token_file = "{folder}/hawkbit-token"\n',
        "cameras": camera(url, Path("blobs"))
        + camera("${CAMERA_URL}", Path("blobs"), name="porch")
        + camera(
            "rtsp://127.0.0.1:9/y", Path("blobs"), name="gate", user_file=f"{folder}/camera-user",
            password_file=f"{folder}/camera-password",
        ),
    }  # fmt: skip


def packed(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        members = {item.name.removeprefix("camagent-support/"): tar.extractfile(item) for item in tar}
        return {name: file.read() for name, file in members.items() if file}


def require_clean(path: Path) -> None:
    raw = path.read_bytes()
    for what, secret in PLANTED.items():
        for spelling in spellings(secret):
            assert spelling not in raw, f"{what}: {spelling!r}"


def test_nothing_secret_is_packed_from_a_running_agent(
    tmp_path: Path, broker: Broker, planted: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    audit = Audit(tmp_path / "state" / "audit.jsonl", SystemClock())
    audit.note("refuse", origin=f"http://x:{PLANTED['audit']}@192.0.2.7", name=f"token={PLANTED['audit']}", code="X")
    agent = Agent(
        tmp_path, broker.port, planted["cameras"], mqtt=planted["mqtt"], agent=f'trust = "{tmp_path}/root.json"',
        more=planted["more"],
    )  # fmt: skip
    with agent, Listener(broker.port) as listener:
        listener.wait("front/health", lambda body: body["reason"] == "stream-unreachable", 60)
        target = tmp_path / "out.tar"
        assert cli.run(["support", "-c", str(agent.path), "-o", str(target)]) == 0
        assert "secrets were taken out" in capsys.readouterr().out
        require_clean(target)
        found = packed(target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert set(found) == {
            "README.txt", "versions.json", "machine.json", "config.json", "status.json", "service.json", "audit.jsonl",
            "selftest.json",
        }  # fmt: skip
        told: dict[str, Any] = {name: json.loads(data) for name, data in found.items() if name.endswith(".json")}
        assert told["versions.json"]["libraries"]["av"]
        assert told["versions.json"]["ffmpeg"]["libavcodec"].count(".") == 2
        assert {"soc", "driver", "runtime", "runtime_version"} <= set(told["machine.json"]["npu"])
        assert told["status.json"]["pid"] == agent.pid
        assert {body["camera"] for body in told["status.json"]["cameras"]} == {"front", "porch", "gate"}
        keys = {row["key"]: row for row in told["config.json"]["keys"]}
        assert keys["camera[0].url"]["value"] == f"rtsp://127.0.0.1:9/x?token={HIDDEN}"
        assert keys["agent.state_dir"]["value"] == str(tmp_path / "state"), "what is no secret is there"
        assert keys["mqtt.password_file"]["value"].endswith("mqtt-password"), "files are named, never read"
        events = [json.loads(line)["event"] for line in found["audit.jsonl"].splitlines()]
        assert "install" in events
        assert b"pictures were asked for" not in found["README.txt"]


def test_it_packs_what_it_can_where_nothing_runs_and_nothing_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", PLANTED["environment variable"])
    path, target = tmp_path / "camagent.toml", tmp_path / "out.tar"
    wrong = f'pasword = "{PLANTED["not sound"]}"\npassword = "{PLANTED["mqtt password"]}"\n'
    address = f"rtsp://a:{PLANTED['not sound']}@1.2.3.4/x"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\n[mqtt]\n{wrong}[[camera]]\nurl = "{address}"\n')
    assert cli.run(["support", "-c", str(path), "-o", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "camagent.support/1"
    require_clean(target)
    found = packed(target)
    told = json.loads(found["config.json"])
    assert "unknown key 'mqtt.pas" in told["problem"]
    assert told["document"]["camera"][0]["url"] == "rtsp://1.2.3.4/x"
    assert json.loads(found["status.json"]) == {"problem": "no agent runs with this configuration"}
    path.write_text(f'[commands]\nbundle_from = ["https://x:{PLANTED["bundle_from"]}@updates.example.org/"]\n')
    assert cli.run(["support", "-c", str(path), "-o", str(target)]) == 0
    require_clean(target)
    path.write_text("this is = = no toml")
    assert cli.run(["support", "-c", str(path), "-o", str(target)]) == 0
    assert "is not TOML" in json.loads(packed(target)["config.json"])["problem"]
    assert cli.run(["support", "-c", str(tmp_path / "none.toml"), "-o", str(target)]) == 0
    assert "cannot be read" in json.loads(packed(target)["config.json"])["problem"]


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["support", "-c", str(tmp_path / "none.toml"), "-o", str(tmp_path / "none" / "out.tar")]) == 2
    assert "error[FILE_UNUSABLE]" in capsys.readouterr().err


def test_pictures_come_on_request_alone_and_their_page_is_clean_too(
    tmp_path: Path, planted: dict[str, str], broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "0.png").write_bytes(blob_picture())
    config, target = tmp_path / "camagent.toml", tmp_path / "out.tar"
    config.write_text(
        f'[agent]\nstate_dir = "{tmp_path}/state"\ntrust = "{tmp_path}/root.json"\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n{planted["mqtt"]}{camera(pictures, Path("blobs"))}'
    )
    assert cli.run(["support", "-c", str(config), "-o", str(target), "--pictures"]) == 0
    capsys.readouterr()
    found = packed(target)
    assert b"data:image/" in found["selftest.html"]
    assert b"IT SHOWS THE SCENE" in found["README.txt"]
    require_clean(target)


@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_is_found_in_any_text(secret: str, before: str, after: str) -> None:
    if secret in "camagent mqtt rtsp root admin user" or secret in HIDDEN * 20:
        return
    scrubber, text = Scrubber([secret]), before + secret + after
    (key, (item,)), = scrubber.value({text: [text]}).items()  # fmt: skip
    for scrubbed in (scrubber.text(text), key, item):
        assert not any(secret in piece for piece in scrubbed.split(HIDDEN))


def test_addresses_give_their_user_password_and_tokens_raw_and_decoded() -> None:
    found = set(of_address("rtsp://us%40er:p%3Ass@h/x?pwd=query&user=q2"))
    assert {"us%40er", "us@er", "p%3Ass", "p:ss", "query", "q2", "us%40er:p%3Ass"} <= found
    assert base64.b64encode(b"us@er:p:ss").decode() in found, "as HTTP would send it"
    assert list(of_address("mqtt://127.0.0.1:1883")) == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("mqtt.password", True), ("api_key", True), ("apikey", True), ("web.token", True), ("DB_PWD", True),
        ("passphrase", True), ("mqtt.password_file", False), ("web.token_file", False), ("key", False),
        ("key_interval", False), ("passed", False), ("keys", False), ("camera", False),
    ],
)  # fmt: skip
def test_names_that_tell(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_the_environment_gives_what_is_used_or_has_a_telling_name_and_nothing_else() -> None:
    environment = {"A": "used-one", "MY_TOKEN": "told", "HOME": "/root", "PWD": "/somewhere", "LANG": "C.UTF-8"}
    assert set(of_environment(environment, {"camera": [{"url": "rtsp://${A}/x"}]})) == {"used-one", "told"}


def test_a_user_name_of_the_trade_tears_no_holes() -> None:
    scrubber = Scrubber(of_document({"camera": [{"url": "rtsp://admin:geheimes@h/x"}], "mqtt": {"username": "camagent"}}))
    assert scrubber.text("camagent.health/1, admin, geheimes") == f"camagent.health/1, admin, {HIDDEN}"
