"""The agent as people run it: a real RTSP camera in front, a real broker behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.agent import Agent, Body, Listener, camagent, camera, faketime, make_bundle
from tests.support.broker import Broker, running, wait_for
from tests.support.camera import Clips, RtspCamera, misbehaving
from tests.support.data import shared

CLIP = "video/one-by-one-person-detection.mp4"
RESUME_S, KEY_INTERVAL_S, WARM_UP_CYCLES = 3.0, 1.0, 5


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def persons(body: Body) -> list[list[float]]:
    return [item["box"] for item in body["detections"] if item["label"] == "person"]


def live_against_offline(tmp_path: Path, bundle: Path, broker: Broker, speed: float) -> None:
    clip = shared(CLIP)
    offline = [json.loads(line) for line in camagent("infer", str(bundle), str(clip), "--json").stdout.splitlines()]
    share_offline = sum(bool(persons(body)) for body in offline) / len(offline)
    assert len(offline) == 1394
    assert share_offline == pytest.approx(0.75, abs=0.01)
    with RtspCamera(clip, options=("--once", "--shared", "--speed", str(speed))) as source, Listener(broker.port) as listener:
        section = camera(source.url, bundle, fps=100.0, publish="every-frame")
        with Agent(tmp_path, broker.port, section):
            listener.wait("front/health", lambda body: body["state"] == "running", 30)
            end = time.monotonic() + 1394 / 10 / speed + 20
            while time.monotonic() < end and not any(
                body["state"] == "waiting-source" for body in listener.bodies("front/health")[3:]
            ):
                time.sleep(0.2)
        live = listener.bodies("front/detections")
    share_live = sum(bool(persons(body)) for body in live) / len(live)
    assert len(live) > 1394 * 0.8, "too many frames were dropped to compare"
    assert abs(share_live - share_offline) < 0.04
    by_pts = {round(body["pts"] * 10): body for body in offline}
    shift = best_shift([round(body["pts"] * speed * 10) for body in live], by_pts, live)
    compared = 0
    for body in live:
        twin = by_pts.get(round(body["pts"] * speed * 10) + shift)
        if twin is None or len(persons(twin)) != len(persons(body)):
            continue
        for ours, theirs in zip(sorted(persons(body)), sorted(persons(twin)), strict=True):
            compared += 1
            assert iou(ours, theirs) > 0.9, (body["pts"], ours, theirs)
    assert compared > 500


def best_shift(keys: list[int], by_pts: dict[int, Body], live: list[Body]) -> int:
    """RTSP counts time from the first packet it sent: a constant, found once for the whole stream."""

    def agree(shift: int) -> int:
        return sum(
            persons(by_pts.get(key + shift, {"detections": []})) == persons(body) for key, body in zip(keys, live, strict=True)
        )

    return max(range(-30, 31), key=agree)


def test_detections_over_rtsp_and_mqtt_are_those_of_the_file(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    live_against_offline(tmp_path, bundle, broker, speed=2.5)


@pytest.mark.full(seconds=170)
def test_detections_over_rtsp_and_mqtt_are_those_of_the_file_at_its_own_pace(
    tmp_path: Path, bundle: Path, broker: Broker
) -> None:
    live_against_offline(tmp_path, bundle, broker, speed=1.0)


def silent(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(4096)
    over.wait(60)


def test_every_kind_of_bad_camera_ends_in_the_right_state_and_reason(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    clip = Clips(tmp_path).make(gop=10, seconds=3)
    with (
        misbehaving(silent) as silent_url,
        RtspCamera(clip) as freezing,
        RtspCamera(clip, options=("--user", "admin:geheim")) as guarded,
        RtspCamera(clip, options=("--drop", "0.02")) as lossy,
        Listener(broker.port) as listener,
    ):
        sections = [
            camera(silent_url, bundle, "silent", stall_timeout=2.0),
            camera(freezing.url, bundle, "freezing", stall_timeout=2.0),
            camera(guarded.url.replace("//", "//admin:falsch@"), bundle, "guarded"),
            camera(lossy.url, bundle, "lossy", transport="udp", fps=10.0),
            camera("rtsp://127.0.0.1:9/x", bundle, "absent"),
        ]
        with Agent(tmp_path, broker.port, "\n".join(sections)) as agent:
            listener.wait("freezing/health", lambda body: body["state"] == "running", 30)
            listener.wait_payload("freezing/available", b"online")
            freezing.command("freeze")

            def waiting(name: str, *reasons: str) -> None:
                def as_wanted(body: Body) -> bool:
                    return body["state"] == "waiting-source" and body["reason"] in reasons

                assert listener.wait(f"{name}/health", as_wanted, 40)["detail"]

            waiting("absent", "stream-unreachable")
            waiting("guarded", "stream-unreachable")
            waiting("freezing", "stream-stalled", "stream-client-limit")
            waiting("silent", "stream-unreachable")
            listener.wait_payload("freezing/available", b"offline")
            freezing.command("resume")
            listener.clear()
            listener.wait("freezing/health", lambda body: body["state"] == "running", 40)
            lost = listener.wait("lossy/health", lambda body: body["counters"]["inferred"] > 50, 40)
            assert lost["state"] == "running"
            assert lost["source"]["decoder_errors"] + lost["source"]["corrupt"] > 0
            assert "falsch" not in agent.log.read_text()
            assert "falsch" not in Path(f"/proc/{agent.pid}/cmdline").read_text()
            assert not any(b"falsch" in payload for _, payload, _ in listener.messages)


def restart_camera(tmp_path: Path, bundle: Path, broker: Broker, absences: list[float]) -> None:
    clip = Clips(tmp_path).make(gop=10, seconds=3, size="320x180")
    random = Random(7)
    threads, descriptors, rss = [], [], []
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        section = camera(source.url, bundle, publish="every-frame", stall_timeout=5.0)
        with Agent(tmp_path, broker.port, section) as agent:
            listener.wait("front/detections", timeout_s=30)
            for cycle, absence in enumerate(absences):
                time.sleep(random.uniform(0.3, 2.0))
                source.kill()
                time.sleep(absence)
                source.start()
                listener.clear()
                listener.wait("front/detections", timeout_s=RESUME_S + KEY_INTERVAL_S)
                time.sleep(1.0)
                if cycle >= WARM_UP_CYCLES:
                    threads.append(agent.threads())
                    descriptors.append(agent.descriptors())
                    rss.append(agent.rss_mib())
    if threads:
        assert len(set(threads)) == 1, threads
        assert len(set(descriptors)) == 1, descriptors
        slope = (rss[-1] - rss[0]) / max(len(rss) - 1, 1)
        assert slope < 0.3, rss


def test_a_restarted_camera_is_seen_again_at_once(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    restart_camera(tmp_path, bundle, broker, [1.0, 2.5, 0.2])


@pytest.mark.full(seconds=520)
def test_a_camera_restarted_20_times_leaks_nothing(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    restart_camera(tmp_path, bundle, broker, [90.0 if cycle % 5 == 4 else 1.0 for cycle in range(20)])


def test_commands_states_reload_and_stop(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    clip = shared(CLIP)
    with Listener(broker.port) as listener:
        listener.publish("camagent/cam-01/front/cmd/detect", "OFF", retain=True)  # an old command, retained by somebody
        agent = Agent(tmp_path, broker.port, camera(clip, bundle, publish="every-frame"))
        with agent:
            listener.wait_payload("cam-01/available", b"online")
            first = listener.wait("cam-01/health")
            assert first["run"] == 1
            assert first["previous"] is None
            assert first["allow_unsigned"] is True
            listener.wait("front/detections", timeout_s=30)
            assert listener.bodies("front/detect")[-1]["state"] == "ON", "a retained command must be ignored"
            health = listener.wait("front/health", lambda body: body["state"] == "running")
            model = {"name": "fastestdet", "version": "1.0.0", "backend": "onnx", "signature": "unsigned", "task": "detect"}
            assert health["model"] == {**model, "warnings": []}

            listener.publish("camagent/cam-01/front/cmd/detect", "off")  # not the word
            listener.publish("camagent/cam-01/front/cmd/detect", "OFF")
            off = listener.wait("front/detect", lambda body: body["state"] == "OFF")
            assert off["by"] == "mqtt"
            found = listener.wait("front/health", lambda body: body["state"] == "off")
            assert found["reason"] == "disabled-by-request"
            assert found["errors"]["COMMAND_INVALID"] == 1
            listener.clear()
            time.sleep(1.0)
            assert not listener.bodies("front/detections")
            assert agent.stop() == 0
            listener.wait_payload("cam-01/available", b"stopped")
            listener.clear()

            agent.start()  # the switch outlives the restart
            assert listener.wait("cam-01/health", lambda body: body["run"] == 2)["previous"]["run"] == 1
            assert listener.wait("front/detect")["state"] == "OFF"
            listener.publish("camagent/cam-01/front/cmd/detect", "ON")
            listener.wait("front/detections")

            agent.path.write_text("[mqtt]\nqoss = 1\n")
            agent.signal(signal.SIGHUP)
            bad = listener.wait("cam-01/health", lambda body: body["config"]["error"] is not None)
            assert "qoss" in bad["config"]["error"]
            listener.clear()
            listener.wait("front/detections")
            agent.write(camera("gone.mp4", bundle) + camera(clip, bundle, "back"))  # what `run` would refuse
            agent.signal(signal.SIGHUP)
            listener.wait("cam-01/health", lambda body: "gone.mp4 is not there" in (body["config"]["error"] or ""))
            listener.clear()
            listener.wait("front/detections")
            assert not listener.payloads("back/health"), "a bad file must not be followed in part"
            agent.write(camera(clip, bundle, publish="every-frame") + camera(clip, bundle, "back", publish="every-frame"))
            agent.signal(signal.SIGHUP)
            listener.wait("back/detections", timeout_s=30)
            good = listener.wait("cam-01/health", lambda body: body["config"]["error"] is None)
            assert good["config"]["digest"] != bad["config"]["digest"]
            agent.write(camera(clip, bundle, "back", publish="every-frame"))
            agent.signal(signal.SIGHUP)
            listener.wait_payload("front/health", b"")  # what is gone leaves nothing retained
            last = listener.wait("back/detections", lambda body: body["seq"] >= 15)["seq"]
            agent.write(camera(clip, bundle, "back", publish="every-frame", fps=5.0))  # this one is built anew
            agent.signal(signal.SIGHUP)
            listener.wait("back/detections", lambda body: body["seq"] >= last + 20)
            seqs = [body["seq"] for body in listener.bodies("back/detections")]
            assert seqs == list(range(1, len(seqs) + 1)), "untouched or built anew, (run, seq) goes on and never repeats"
            agent.kill()
            listener.wait_payload("cam-01/available", b"offline")


@pytest.mark.parametrize("offset", ["+365d", "-365d"])
def test_a_step_of_the_wall_clock_changes_nothing(tmp_path: Path, bundle: Path, broker: Broker, offset: str) -> None:
    clip = Clips(tmp_path).make(gop=10, seconds=3)
    with RtspCamera(clip) as source, Listener(broker.port) as listener, faketime(tmp_path, "+0") as environment:
        section = camera(source.url, bundle, publish="every-frame", stall_timeout=3.0)
        with Agent(tmp_path, broker.port, section, **environment):
            listener.wait("front/detections", lambda body: body["seq"] >= 30, 30)
            (tmp_path / "faketime").write_text(offset)
            told = listener.wait("cam-01/health", lambda body: body["clock"]["steps"] == 1, 15)
            assert abs(told["clock"]["last_step_s"]) == pytest.approx(365 * 86400, rel=0.01)
            before = len(listener.bodies("front/detections"))
            time.sleep(5)
            bodies = listener.bodies("front/detections")
            assert len(bodies) - before == pytest.approx(50, abs=15)
            assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1)), "a message was lost"
            assert abs(bodies[-1]["frame_time"] - bodies[-1]["time"]) < 5
            last = listener.bodies("front/health")[-1]
            assert last["state"] == "running"
            assert last["reconnects"] == 0
            assert listener.payloads("cam-01/available") == [b"online"]


@pytest.mark.full(seconds=640)
@pytest.mark.timeout(800)
def test_ten_good_minutes_do_not_touch_flash(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    with Listener(broker.port) as listener:
        section = camera(shared(CLIP), bundle, publish="every-frame")
        run = Path("/dev/shm") / f"camagent-test-{tmp_path.name}"
        run.mkdir(exist_ok=True)
        with Agent(tmp_path, broker.port, section, RUNTIME_DIRECTORY=str(run)) as agent:
            listener.wait("front/detections", timeout_s=30)
            state = tmp_path / "state" / "state.json"
            wait_for(lambda: "kept_topics" in state.read_text(), what="the model's count topics, remembered once")
            before = written(agent.pid)
            time.sleep(600)
            assert listener.bodies("front/events"), "events are good times, too"
            assert written(agent.pid) - before == 0, "the log is a file, and in good times nothing is logged either"
            assert not list((agent.folder / "state" / "outbox").glob("**/*.seg"))


def written(pid: int) -> int:
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text("ascii").splitlines())
    return int(fields["write_bytes"])


def test_start_up_troubles_are_sentences(tmp_path: Path, bundle: Path) -> None:
    def run(cameras: str) -> subprocess.CompletedProcess[str]:
        agent = Agent(tmp_path, 1, cameras)
        return camagent("run", "-c", str(agent.path), timeout_s=60)

    def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        for word in ("error[", "fix:", *words):
            assert word in done.stderr

    refused(camagent("run", "-c", str(tmp_path / "no.toml")), 2, "no.toml")
    refused(run("[[camera]]\nnam = 1\n"), 2, "nam", "did you mean 'name'")
    refused(run(camera("no.mp4", bundle)), 2, "no.mp4", "is not there")
    refused(run(camera("http//x", bundle, fps=-1)), 2, "fps")
    busy = Agent(tmp_path, 1, camera(shared(CLIP), bundle))
    with busy:
        wait_for((tmp_path / "state" / "state.json").exists)
        wait_for(lambda: "Connection refused" in busy.log.read_text(), what="an unreachable broker is told in the log")
        refused(camagent("run", "-c", str(busy.path)), 1, "another agent owns", f"pid {busy.pid}")


@pytest.mark.parametrize("how", ["read-only", "full", "a file"])
def test_a_state_directory_that_cannot_be_written_is_a_sentence(tmp_path: Path, bundle: Path, how: str) -> None:
    state = tmp_path / "state"
    agent = Agent(tmp_path, 1, camera(shared(CLIP), bundle))
    if how == "a file":
        state.write_text("a file where the folder should be")
    elif os.geteuid() != 0:
        pytest.skip("mounting needs root")
    else:
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(state)], check=True)
    try:
        if how == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        elif how == "full":
            (state / "filler").write_bytes(b"x" * 4096)
        done = camagent("run", "-c", str(agent.path))
    finally:
        if how != "a file":
            subprocess.run(["umount", str(state)], check=True)
    assert done.returncode == 1
    assert "error[STATE_UNUSABLE]" in done.stderr
    assert str(state) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_bundle_leaves_the_agent_up_and_is_told(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    cut = tmp_path / "cut.cambundle"
    cut.write_bytes(bundle.read_bytes()[:50_000])
    late = tmp_path / "late.cambundle"
    with Listener(broker.port) as listener:
        clip = shared(CLIP)
        sections = camera(clip, cut, "cut") + camera(clip, late, "late") + camera(clip, bundle, "good", publish="every-frame")
        with Agent(tmp_path, broker.port, sections):
            refused = listener.wait("cut/health", lambda body: body["reason"] == "bundle-refused")
            assert refused["state"] == "waiting-bundle"
            assert "BUNDLE_TRUNCATED" in refused["detail"]
            missing = listener.wait("late/health", lambda body: "late.cambundle" in (body["detail"] or ""))
            assert missing["reason"] == "no-bundle"
            assert missing["model"] is None
            listener.wait("good/detections")
            late.write_bytes(bundle.read_bytes())
            listener.wait("late/health", lambda body: body["state"] == "running", 30)


def test_unsigned_bundles_need_the_permission_to_run(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    with Listener(broker.port) as listener:
        agent = Agent(tmp_path, broker.port, camera(shared(CLIP), bundle))
        agent.path.write_text(agent.path.read_text().replace("allow_unsigned = true", "allow_unsigned = false"))
        with agent:
            found = listener.wait("front/health", lambda body: body["reason"] == "bundle-refused")
            assert "UNSIGNED_NOT_ALLOWED" in found["detail"]


def test_filters_zones_and_reasons_reach_health(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    clip = shared(CLIP)
    corner = '[[camera.zone]]\nname = "corner"\npolygon = [[0.0,0.0],[0.01,0.0],[0.01,0.01]]\n'
    whole = '[[camera.zone]]\nname = "all"\npolygon = [[0.0,0.0],[1.0,0.0],[1.0,1.0],[0.0,1.0]]\nanchor = "any"\n'
    sections = (
        camera(clip, bundle, "strict") + "[camera.filter]\nmin_score = 1.0\n"
        + camera(clip, bundle, "cats") + '[camera.filter]\nlabels = ["cat"]\n'
        + camera(clip, bundle, "corner") + corner
        + camera(clip, bundle, "zoned") + whole
    )  # fmt: skip
    with Listener(broker.port) as listener, Agent(tmp_path, broker.port, sections):
        found = listener.wait("strict/health", lambda body: body["reason"] == "all-below-threshold")
        assert "best score" in found["detail"]
        zoned = listener.wait("zoned/detections", timeout_s=30)
        assert zoned["detections"][0]["zones"] == ["all"]
        assert listener.wait("cats/health", lambda body: body["reason"] == "all-filtered-by-label", 30)
        counters = listener.wait("corner/health", lambda body: body["reason"] == "all-filtered-by-zone", 30)["counters"]
        assert counters["kept_by_area"] > 0
        assert counters["kept_by_zone"] == counters["published"] == 0
        for name in ("packets", "decoded", "dropped", "inferred", "candidates", "scored", "kept_by_nms", "kept_by_label",
                     "tracked", "acknowledged", "refused"):  # fmt: skip
            assert name in counters


def classifier(folder: Path, bias: tuple[float, float] = (0.0, 3.0)) -> Path:
    """A model of two classes that always prefers the second, made here."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [0.0] * 6),
        helper.make_tensor("b", TensorProto.FLOAT, [2], list(bias)),
    ]
    x, y = value("x", TensorProto.FLOAT, [1, 3, 32, 32]), value("y", TensorProto.FLOAT, [1, 2])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = folder / "classes.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_class_is_published_once_and_its_silence_is_no_finding(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "labels.txt").write_text("day\nnight\n")
    bundle = tmp_path / "c.cambundle"
    done = camagent("bundle", "create", str(classifier(tmp_path)), "--name", "c", "--version", "1", "--head", "classify",
                    "--labels", str(tmp_path / "labels.txt"), "--scale", "0.00392157", "-o", str(bundle))  # fmt: skip
    assert done.returncode == 0, done.stderr
    section = camera(shared(CLIP), bundle)
    with Listener(broker.port) as listener, Agent(tmp_path, broker.port, section):
        made = listener.wait("front/classification", timeout_s=30)
        assert [item["label"] for item in made["top"]] == ["night", "day"]
        listener.wait("front/health", lambda body: body["counters"]["inferred"] > 100, 30)
        last = listener.bodies("front/health")[-1]
        assert (last["state"], last["reason"]) == ("running", None)
        assert len(listener.bodies("front/classification")) == 1
