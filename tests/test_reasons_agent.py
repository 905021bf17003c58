"""Why nothing is seen, as a real agent tells it of real streams: one agent, many cameras, side by side."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.agent import SINET, Agent, Body, Listener, camagent, camera, make_bundle
from tests.support.broker import Broker, running, wait_for
from tests.support.camera import RtspCamera, need_ffmpeg
from tests.support.data import shared
from tests.support.fake_broker import Connection, connack, faking
from tests.test_agent import classifier

FPS = 4.0
SOON_S = 60  # 15 s on a machine that has nothing else to do
CORNER = '[[camera.zone]]\nname = "corner"\npolygon = [[0.0,0.0],[0.01,0.0],[0.01,0.01]]\n'
EVERYWHERE = '[[camera.mask]]\nname = "all"\npolygon = [[0.0,0.0],[1.0,0.0],[1.0,1.0],[0.0,1.0]]\n'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


def clip(folder: Path, name: str, filters: str) -> Path:
    """Four seconds of the street after the filters; a constant quantiser, as an encoder that has settled."""
    need_ffmpeg()
    path = folder / f"{name}.mp4"
    source = ["-loop", "1", "-r", "10", "-i", str(shared("images/street.jpg")), "-t", "4"]
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-qp", "26", "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p"]
    command = ["ffmpeg", "-v", "error", "-y", *source, "-vf", f"scale=640:360{filters}", *encoder, str(path)]
    subprocess.run(command, check=True, timeout=120)
    return path


def overflowing(folder: Path) -> Path:
    """A bundle whose model gives NaN for everything, as one in half precision does that overflows."""
    (folder / "labels.txt").write_text("day\nnight\n")
    made = folder / "nan.cambundle"
    done = camagent("bundle", "create", str(classifier(folder, (float("nan"), 0.0))), "--name", "nan", "--version", "1",
                    "--head", "classify", "--labels", str(folder / "labels.txt"), "-o", str(made))  # fmt: skip
    assert done.returncode == 0, done.stderr
    return made


STREAMS = {
    "frozen": "",
    "black": ",lutyuv=y=16:u=128:v=128,noise=alls=4:allf=t",
    "night": ",lutyuv=y=16+(val-16)*0.1,noise=alls=4:allf=t",
    "still": ",noise=alls=3:allf=t",
}


def is_reason(*codes: str | None) -> Callable[[Body], bool]:
    return lambda body: body["reason"] in codes


def test_every_kind_of_silence_has_its_reason(tmp_path: Path, bundle: Path, broker: Broker) -> None:
    person, picture = shared("video/one-by-one-person-detection.mp4"), shared("images/portrait.jpg")
    with ExitStack() as stack:
        urls = {name: stack.enter_context(RtspCamera(clip(tmp_path, name, how))).url for name, how in STREAMS.items()}
        sections = [camera(url, bundle, name, fps=FPS) for name, url in urls.items()]
        sections += [
            camera(person, bundle, "off", fps=FPS),
            camera(picture, bundle, "picture", fps=FPS, publish="every-frame"),
            camera(picture, make_bundle(tmp_path, "SINet.onnx", SINET, a="background", b="person"), "map", fps=FPS),
            camera(person, overflowing(tmp_path), "nan", fps=FPS),
            camera(person, bundle, "label", fps=FPS) + '[camera.filter]\nlabels = ["cat"]\n',
            camera(person, bundle, "area", fps=FPS) + "[camera.filter]\nmin_area = 300000\n",
            camera(person, bundle, "zone", fps=FPS) + CORNER,
            camera(person, bundle, "masked", fps=FPS) + EVERYWHERE,
            camera(person, bundle, "empty", fps=FPS, publish="every-frame") + "[camera.filter]\nmin_score = 1.0\n",
        ]
        listener = stack.enter_context(Listener(broker.port))
        stack.enter_context(Agent(tmp_path, broker.port, "\n".join(sections)))
        listener.wait("off/health", lambda body: body["state"] == "running", SOON_S)
        listener.publish("camagent/cam-01/off/cmd/detect", "OFF")

        def told(name: str, code: str) -> Body:
            return listener.wait(f"{name}/health", is_reason(code), SOON_S)

        frozen = told("frozen", "frozen")
        assert frozen["picture"]["unchanged_s"] >= 10
        black = told("black", "dark")
        assert black["picture"]["brightness"] < 8
        told("off", "disabled-by-request")
        told("label", "all-filtered-by-label")
        told("area", "all-filtered-by-area")
        told("zone", "all-filtered-by-zone")
        told("masked", "masked")
        told("nan", "model-output-invalid")
        lists_without_anything = told("empty", "all-below-threshold")
        assert lists_without_anything["counters"]["published"] > 0
        for name in ("night", "still", "picture", "map"):
            listener.wait(f"{name}/health", lambda body: body["counters"]["inferred"] > 14 * FPS, SOON_S)
            wrong = [body for body in listener.bodies(f"{name}/health") if body["reason"] in ("frozen", "dark", "masked")]
            assert not wrong, (name, wrong)
        assert listener.bodies("map/health")[-1]["reason"] is None, "a map says nothing of emptiness"
        assert listener.bodies("picture/health")[-1]["picture"]["unchanged_s"] > 10, "a file may stand still"
        night = listener.bodies("night/health")[-1]["picture"]
        assert 8 < night["brightness"] < 24
        assert listener.bodies("still/health")[-1]["picture"]["unchanged_s"] < 3


def test_results_that_the_broker_never_answers_for_are_not_delivered(tmp_path: Path, bundle: Path) -> None:
    connections: list[Connection] = []

    def mute(connection: Connection) -> None:
        connections.append(connection)
        connection.send(connack(connection.version))
        connection.serve(stop_acks_after=20)

    def reasons() -> list[str | None]:
        published = [message for connection in list(connections) for message in list(connection.published)]
        return [json.loads(payload)["reason"] for topic, payload in published if topic.endswith("front/health") and payload]

    person = shared("video/one-by-one-person-detection.mp4")
    with faking(mute) as broker, Agent(tmp_path, broker.port, camera(person, bundle, fps=FPS, publish="every-frame")):
        wait_for(lambda: "not-delivered" in reasons(), SOON_S, "the silence of the broker is told")
