from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from camagent import config_file
from camagent.config_check import require_same_owner
from camagent.config_file import load, origins
from camagent.errors import ConfigError
from camagent.redact import without_credentials

FULL = """
[agent]
id = "cam-01"
state_dir = "{state}"
[mqtt]
url = "mqtt://user:geheim@broker:1883"
[[camera]]
name = "front"
url = "rtsp://admin:geheim@10.0.0.1:554/stream?channel=1&password=geheim"
[camera.filter]
labels = ["person", "car"]
[[camera.zone]]
name = "gate"
polygon = [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]
[[camera]]
name = "back"
url = "file.mp4"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "camagent.toml"
    path.write_text(text.replace("{state}", str(folder / "state")))
    return path


def refusal(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    return caught.value


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    config = load(write(tmp_path, "")).config
    assert config.mqtt.url == "mqtt://127.0.0.1:1883"
    assert (config.mqtt.prefix, config.mqtt.qos, config.mqtt.outbox_mb, config.mqtt.outbox_sync_s) == ("camagent", 1, 64, 1.0)
    assert config.commands.allow == ("selftest", "detect")
    assert config.onnx.intra_op_threads == 1
    assert config.web.listen == "127.0.0.1:8420"
    assert not config.agent.allow_unsigned
    assert config.home_assistant.prefix == "homeassistant"
    assert not config.home_assistant.enabled
    assert not config.onvif.enabled
    assert config.agent.id.rpartition("-")[2].isalnum()


def test_camera_defaults(tmp_path: Path) -> None:
    camera = load(write(tmp_path, '[[camera]]\nname = "a"\nurl = "x.mp4"')).config.camera[0]
    assert (camera.transport, camera.fps, camera.decoder, camera.stall_timeout) == ("tcp", 10.0, "auto", 10.0)
    assert camera.filter.min_score is None
    assert camera.publish == "detections"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[camera]]\nname = "a"\nurl = "x"\nstal_timeout = 3', ["camera[0].stal_timeout", "did you mean 'stall_timeout'"]),
        ("[mqtt]\nqoss = 1", ["mqtt.qoss", "did you mean 'qos'"]),
        ("[mqt]\nqos = 1", ["'mqt'", "did you mean 'mqtt'"]),
        ("[mqtt]\nqos = 7", ["mqtt.qos", "value = 7", "<= 2"]),
        ('[[camera]]\nname = "a"\nurl = "x"\nfps = "ten"', ["camera[0].fps", "value = ten", "float"]),
        ('[[camera]]\nname = "a"\nurl = "x"\ntransport = "carrier-pigeon"',
         ["camera[0].transport", "carrier-pigeon", "allowed = auto | tcp | udp"]),
        ('[commands]\nallow = ["reboot"]', ["commands.allow[0]", "reboot", "allowed = bundle | detect | selftest"]),
        ('[[camera]]\nname="a"\nurl="x"\n[[camera.zone]]\nname="z"\npolygon=[[0,0],[1,1],[1,0]]\nanchor="top"',
         ["camera[0].zone[0].anchor", "value = top", "any | bottom-center | center | top-center"]),
        ('[camera]\nname = "a"\nurl = "x"',
         ["camera has", "allowed = expected a list, got a table", "fix: write it as [[camera]]"]),
        ('[[camera]]\nname="a"\nurl="x"\nfilter = []', ["camera[0].filter", "expected a table, got a list"]),
        ('[[camera]]\nname="a"\nurl="x"\ndecoder = "H264"',
         ["camera[0].decoder", "auto, software or an FFmpeg decoder's name"]),
        ('[[camera]]\nname = "available"\nurl = "x"', ["camera[0].name", "topic tree"]),
        ('[[camera]]\nname = "a b"\nurl = "x"', ["camera[0].name", "a b", "1 to 48 letters"]),
        ('[[camera]]\nname = "a"\nurl = "x"\n[[camera]]\nname = "a"\nurl = "y"', ["two cameras"]),
        ('[[camera]]\nname = "a"', ["camera[0].url is missing"]),
        ('[agent]\nid = "group"', ["agent.id"]),
        ('[mqtt]\nprefix = "a/#"', ["mqtt.prefix", "without # and +"]),
        ('[mqtt]\nprefix = "a/"', ["mqtt.prefix", "must not end with a slash"]),
        ('[home_assistant]\nprefix = "+/x"', ["home_assistant.prefix", "without # and +"]),
        ('[home_assistant]\nprefix = "ha/"', ["home_assistant.prefix", "must not end with a slash"]),
        ('[[camera]]\nname="a"\nurl="x"\n[[camera.zone]]\nname="z"\npolygon=[[0,0],[1,1]]', ["polygon", "length >= 3"]),
        ('[[camera]]\nname="a"\nurl="x"\n[[camera.zone]]\nname="z"\npolygon=[[0,0],[1,1],[2,0]]', ["polygon[2][0]", "<= 1.0"]),
        ('[fleet.hawkbit]\nurl = "https://h"', ["fleet.hawkbit.target_token_file", "a token file or a client certificate"]),
        ('[fleet.hawkbit]\ntarget_token_file = "a"\ngateway_token_file = "b"', ["gateway_token_file", "not both"]),
        ('[fleet.hawkbit]\ncert_file = "a"', ["fleet.hawkbit.cert_file", "both cert_file and key_file"]),
        ('[fleet.hawkbit]\ntoken = "geheim"', ["fleet.hawkbit.token", "did you mean"]),
        ('[fleet.hawkbit]\ntenant = "a/b"', ["fleet.hawkbit.tenant", "a tenant's name in hawkBit"]),
        ('[fleet.hawkbit]\ncontroller_id = ".."', ["fleet.hawkbit.controller_id", "the first one a letter or digit"]),
        ("[fleet.hawkbit]\npoll = 0", ["fleet.hawkbit.poll", ">= 1"]),
        ('[fleet.hawkbit]\nconfirmation = "maybe"', ["fleet.hawkbit.confirmation", "confirmed | denied"]),
        ("[agent\n", ["not TOML", "line 1"]),
        ('[[camera]]\nname="a"\nurl="rtsp://${NOBODY_SET_THIS}@h/"', ["camera[0].url", "NOBODY_SET_THIS"]),
    ],
)  # fmt: skip
def test_every_mistake_is_one_sentence_with_key_value_and_way_on(tmp_path: Path, text: str, words: list[str]) -> None:
    shown = refusal(tmp_path, text).render()
    for word in words:
        assert word in shown
    assert "fix:" in shown


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "no.toml")


def test_environment_is_expanded_but_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_LOGIN", "admin:geheim")
    loaded = load(write(tmp_path, '[[camera]]\nname="a"\nurl="rtsp://${CAMERA_LOGIN}@10.0.0.1/s"'))
    assert loaded.config.camera[0].url == "rtsp://admin:geheim@10.0.0.1/s"
    assert "geheim" not in json.dumps([(k, v) for k, v, _ in origins(loaded)], default=str)


def test_show_says_where_a_value_comes_from_and_hides_credentials(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "overlay.toml").write_text('[[camera]]\nname = "front"\n[camera.filter]\nmin_score = 0.3\n')
    rows = {key: (value, origin) for key, value, origin in origins(load(path))}
    assert rows["agent.id"] == ("cam-01", "file")
    assert rows["camera[0].fps"] == (10.0, "default")
    assert rows["camera[0].filter.min_score"] == (0.3, "overlay")
    assert rows["camera[0].filter.labels"][1] == "file"
    assert "geheim" not in json.dumps(rows, default=str)
    assert rows["camera[0].url"][0] == "rtsp://10.0.0.1:554/stream?channel=1&password=***"


def test_the_overlay_lies_over_the_file_and_nothing_else_may_stand_in_it(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    overlay = tmp_path / "state" / "overlay.toml"
    overlay.parent.mkdir()
    overlay.write_text('[[camera]]\nname = "back"\n[[camera.mask]]\nname = "m"\npolygon = [[0,0],[1,0],[1,1]]\n')
    front, back = load(path).config.camera
    assert back.mask[0].name == "m"
    assert front.zone[0].name == "gate"
    overlay.write_text('[[camera]]\nname = "back"\nurl = "rtsp://elsewhere/"\n')
    with pytest.raises(ConfigError, match="overlay"):
        load(path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://a:b@h:554/x", "rtsp://h:554/x"),
        ("rtsp://h/x?user=me&pwd=you&channel=2", "rtsp://h/x?user=***&pwd=***&channel=2"),
        ("/files/clip.mp4", "/files/clip.mp4"),
        ("rtsp://a:p@ss@h/x", "rtsp://h/x"),
        ("rtsp://a:b@[bad", "rtsp://[bad"),
        ("rtsp://h/user=admin_password=geheim", "rtsp://h/user=***"),
    ],
)
def test_urls_lose_their_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_the_schema_accepts_what_the_agent_accepts(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    load(path)
    jsonschema.validate(tomllib.loads(path.read_text()), config_file.schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mqtt": {"qoss": 1}}, config_file.schema())


def test_the_commands(tmp_path: Path) -> None:
    path = write(tmp_path, FULL.replace("user:geheim@broker", "broker"))
    (tmp_path / "file.mp4").touch()

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "camagent", "config", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    good = call("check", "-c", str(path), "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["cameras"] == ["front", "back"]
    shown = call("show", "-c", str(path))
    assert shown.returncode == 0
    assert "geheim" not in shown.stdout
    assert json.loads(call("schema").stdout)["$ref"]
    path.write_text("[mqtt]\nqoss = 1\n")
    bad = call("check", "-c", str(path))
    assert bad.returncode == 2
    assert bad.stderr.startswith("error[CONFIG_INVALID]:")
    assert "Traceback" not in bad.stderr


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[mqtt]\nurl = "mqtt://user:geheim@broker:1883"', "mqtt.url"),
        ('[mqtt]\nurl = "http://broker"', "mqtt.url"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://user:geheim@:99999/"', "camera 'a'"),
        ('[[camera]]\nname = "a"\nurl = "no-such-file.mp4"', "no-such-file.mp4"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h/"\ndecoder = "h264_rkmp"', "decoder"),
    ],
)
def test_check_refuses_what_run_would_refuse(tmp_path: Path, text: str, word: str) -> None:
    command = [sys.executable, "-m", "camagent", "config", "check", "-c", str(write(tmp_path, text))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert word in done.stderr
    assert "geheim" not in done.stderr


@pytest.mark.parametrize("group", [[], ["config"], ["bundle"], ["key"], ["trust"]])
def test_a_command_without_its_verb_shows_its_help(group: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "camagent", *group], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['camagent', *group])} ")
    assert "\nCommands:\n" in done.stderr


@pytest.mark.parametrize(
    ("key", "section", "value"),
    [
        ("agent.id", "agent", 'id = "cam-02"'),
        ("agent.state_dir", "agent", 'state_dir = "/other"'),
        ("mqtt.prefix", "mqtt", 'prefix = "home"'),
    ],
)
def test_what_topics_and_folders_are_made_of_stays_while_the_agent_runs(key: str, section: str, value: str) -> None:
    text = '[agent]\nid = "cam-01"\nstate_dir = "/state"\n[mqtt]\n[web]\nlisten = ""\n'
    before = config_file.parse(tomllib.loads(text))
    require_same_owner(before, config_file.parse(tomllib.loads(text.replace('listen = ""', 'listen = "127.0.0.1:1"'))))
    name = value.partition(" ")[0]
    kept = "\n".join(line for line in text.splitlines() if not line.startswith(f"{name} "))
    after = config_file.parse(tomllib.loads(kept.replace(f"[{section}]", f"[{section}]\n{value}")))
    with pytest.raises(ConfigError, match=f"{key} cannot change while the agent runs") as caught:
        require_same_owner(before, after)
    assert caught.value.evidence.keys() == {"running", "file"}
    assert caught.value.fix == "restart the agent"
