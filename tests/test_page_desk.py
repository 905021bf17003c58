"""The page's routes against a real agent: pictures to try, zones and masks that take effect, live pictures."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camagent.service import Origin
from tests.support.agent import Agent, camera
from tests.support.broker import Broker, free_port
from tests.support.bundles import LABELS, blob_picture, make_signed
from tests.support.http import MARK
from tests.support.page import areas, classifier, scene, served
from tests.test_page_routes import until

Json = dict[str, Any]
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


class Page:
    """A client of one agent's API."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Json]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, MARK)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Json:
        status, body = self.ask("GET", path)
        assert status == 200, body
        return body

    def camera(self, name: str = "front") -> Json:
        return next((body for body in self.get("/api/status")["cameras"] if body["camera"] == name), {})

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def wait(self, condition: Callable[[Json], object], name: str = "front", timeout_s: float = 60) -> Json:
        """A camera that starts anew is not there for a moment."""
        assert until(lambda: (body := self.camera(name)) and condition(body), timeout_s), self.camera(name)
        return self.camera(name)

    def save(self, change: Json, name: str = "front") -> tuple[int, Json]:
        return self.ask("PUT", f"/api/cameras/{name}/areas", json.dumps(change).encode())

    def shots(self, count: int, name: str = "front") -> list[tuple[Json, np.ndarray[Any, Any]]]:
        """So many live pictures: facts and pixels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", f"/api/cameras/{name}/live", headers=MARK)
        answer = connection.getresponse()
        made = []
        for _ in range(count):
            head: dict[str, str] = {}
            while (line := answer.readline().strip()) or not head:
                key, _, value = line.decode().partition(": ")
                head[key.lower()] = value
            data = answer.read(int(head["content-length"]))
            assert answer.readline() == b"\r\n"
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert pixels is not None
            made.append((json.loads(head["x-camagent-frame"]), pixels))
        connection.close()
        return made


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("broker"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Agent]:
    """Cameras: front (boxes), colour (classes), ground (areas), empty (no bundle), away (nobody answers)."""
    folder, port = tmp_path_factory.mktemp("agent"), free_port()
    made = served(folder, broker, port)
    kinds = {
        "colour": (classifier(), "classify", "classify", LABELS),
        "ground": (areas(), "segment", "semantic", ("floor", *LABELS)),
    }
    store(folder, kinds)
    sections = [camera(folder / "pictures", Path(name), name=name, fps=5.0) for name in kinds]
    sections.append(camera(folder / "pictures", Path("nothing"), name="empty", fps=5.0))
    made.write(made.path.read_text().split("listen = ", 1)[1].split("\n", 1)[1] + "\n".join(sections))
    with made:
        page = Page(port)
        assert until(page.is_up, 60)
        page.wait(lambda body: body["state"] == "running")
        yield made


@pytest.fixture
def page(agent: Agent) -> Page:
    port = int(agent.more.split("127.0.0.1:")[1].split('"')[0])
    return Page(port)


def store(folder: Path, kinds: dict[str, tuple[bytes, str, str, tuple[str, ...]]]) -> None:
    """Installs and confirms a bundle per kind, as `confirmed` does for `blobs`."""
    from camagent.bundles import open_alone
    from camagent.config import Agent as AgentSection
    from camagent.config import Camera, Config

    section = AgentSection(state_dir=folder / "state", trust=folder / "root.json")
    cameras = tuple(Camera(name=name, url="x.mp4", bundle=name) for name in kinds)
    with open_alone(Config(agent=section, camera=cameras)) as bundles:
        for name, (model, task, head, labels) in kinds.items():
            path = make_signed(
                folder, name=name, model=model, golden=False, task=task, head={"name": head}, labels=list(labels)
            )
            with path.open("rb") as source:
                bundles.install(source, Origin("local", "test"), lambda _: None)
            running = bundles.live.store.slots(name).running
            assert running is not None
            bundles.live.store.confirm(name, running.digest)


def jpeg(picture: np.ndarray[Any, Any]) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


# -- a picture to try ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_answered_for_every_task(page: Page) -> None:
    for name in ("colour", "ground"):
        page.wait(lambda body: body["state"] == "running", name)
    picture = jpeg(scene(1, 2))
    status, boxes = page.ask("POST", "/api/infer?camera=front", picture)
    assert status == 200, boxes
    (body,) = boxes["results"]
    assert sorted(found["label"] for found in body["detections"]) == ["blue", "red"]
    red = next(found for found in body["detections"] if found["label"] == "red")
    assert red["box_norm"] == pytest.approx([0.25, 0.0, 0.5, 0.25], abs=0.02)
    assert body["model"] == {"name": "blobs", "version": "1.0.0"}
    assert boxes["counts"]["kept_by_zone"] == 2
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(boxes["picture"]), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == (360, 640, 3)
    assert np.abs(drawn.astype(int) - scene(1, 2)).max() > 100, "boxes are drawn in"
    status, classes = page.ask("POST", "/api/infer?camera=colour", jpeg(np.full((64, 64, 3), (200, 0, 0), np.uint8)))
    assert (status, classes["results"][0]["top"][0]["label"]) == (200, "blue")
    status, ground = page.ask("POST", "/api/infer?camera=ground", picture)
    shares = {found["label"]: found["share"] for found in ground["results"][0]["classes"]}
    assert shares["red"] == pytest.approx(1 / 16, abs=0.01)
    assert shares["blue"] == pytest.approx(1 / 16, abs=0.01)


def test_it_is_seen_as_infer_sees_it_and_the_cameras_filters_are_left_out(page: Page) -> None:
    before = page.get("/api/cameras/front/areas")
    status, _ = page.save({"base": before["base"], "zone": [{"name": "nowhere", "polygon": [[0.9, 0.4], [1, 0.4], [1, 0.5]]}]})
    assert status == 200
    page.wait(lambda body: body["state"] == "running" and body["reason"] == "all-filtered-by-zone")
    status, made = page.ask("POST", "/api/infer?camera=front", blob_picture(2, 1))
    assert (status, len(made["results"][0]["detections"])) == (200, 3)
    status, made = page.ask("POST", "/api/infer?camera=front&min_score=1", blob_picture(2, 1))
    assert made["counts"]["candidates"] >= 3
    assert page.save({"zone": None})[0] == 200


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + bytes(40), b"<svg/>", jpeg(scene(0))[:1500]]
)
def test_what_is_no_picture_is_refused_and_the_camera_goes_on(page: Page, data: bytes) -> None:
    status, body = page.ask("POST", "/api/infer?camera=front", data)
    assert (status, body["code"]) == (422, "INPUT_UNREADABLE")
    assert body["fix"]
    assert page.wait(lambda body: body["state"] == "running")["errors"].get("BACKEND_FAILED") is None


def test_a_camera_without_a_model_says_what_it_waits_for(page: Page) -> None:
    page.wait(lambda body: body["state"] == "waiting-bundle", "empty")
    status, body = page.ask("POST", "/api/infer?camera=empty", blob_picture())
    assert (status, body["code"], body["evidence"]["reason"]) == (409, "NO_ANSWER", "no-bundle")
    assert page.ask("POST", "/api/infer?camera=unknown", blob_picture())[0] == 404


# -- live pictures, zones and masks --------------------------------------------------------------------------------------------


def test_live_pictures_move_and_carry_what_is_found(page: Page) -> None:
    shots = page.shots(5)
    assert all({item["label"]: item["count"] for item in facts["found"]} == {"red": 1, "blue": 1} for facts, _ in shots)
    assert all((facts["width"], facts["height"], facts["looked"]) == (640, 360, True) for facts, _ in shots)
    columns = {int(pixels[20:60, :, 2].astype(int).sum(axis=0).argmax()) // 160 for _, pixels in shots}
    assert len(columns) > 1, "the red blob goes to the right"
    ground = page.shots(2, "ground")
    assert {item["label"] for item in ground[1][0]["found"]} == {"red", "blue"}
    assert page.shots(1, "colour")[0][0]["found"][0]["score"] >= 0.5


def test_without_a_model_the_picture_is_shown_plain(page: Page) -> None:
    page.wait(lambda body: body["state"] == "waiting-bundle", "empty")
    facts, pixels = page.shots(3, "empty")[-1]
    assert (facts["looked"], facts["found"]) == (False, [])
    assert pixels[220, 80].argmax() == 0, "the blue blob is there"


def test_what_is_masked_is_grey_for_everybody_who_looks(page: Page) -> None:
    left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    status, told = page.save({"mask": [{"name": "neighbour", "polygon": left}]}, "ground")
    assert (status, told["overlay"]) == (200, ["mask"])
    page.wait(lambda body: body["state"] == "running" and body["counters"]["inferred"] > 2, "ground")
    for facts, pixels in page.shots(6, "ground"):
        hidden = pixels[100:, :300].astype(int)  # below the words
        assert hidden.std() < 4, "nothing shows through and nothing is painted over it"
        assert "blue" not in {item["label"] for item in facts["found"]}
    assert page.save({"mask": None}, "ground")[0] == 200


def test_a_zone_takes_effect_is_kept_and_goes_back(page: Page, agent: Agent) -> None:
    first = page.get("/api/cameras/front/areas")
    assert (first["zone"], first["overlay"], first["labels"]) == ([], [], ["red", "blue"])
    bottom = {"name": "bottom", "polygon": [[0.0, 0.6], [1.0, 0.6], [1.0, 1.0], [0.0, 1.0]]}
    status, told = page.save({"base": first["base"], "zone": [bottom], "filter": {"min_score": 0.3}})
    assert (status, told["zone"][0]["name"], told["filter"]["min_score"]) == (200, "bottom", 0.3)
    assert told["overlay"] == ["filter.min_score", "zone"]
    overlay = (agent.folder / "state" / "overlay.toml").read_text()
    assert "[[camera.zone]]" in overlay
    assert told["base"] != first["base"]
    page.wait(lambda body: body["state"] == "running" and body["counters"]["kept_by_zone"] > 3)
    counters = page.camera()["counters"]
    assert counters["kept_by_area"] == 2 * counters["kept_by_zone"], "the red one is outside"
    assert page.shots(1)[0][0]["found"] == [{"label": "blue", "count": 1}]
    status, late = page.save({"base": first["base"], "zone": []})
    assert (status, late["code"]) == (409, "OVERLAY_CHANGED")
    status, back = page.save({"base": told["base"], "zone": None, "filter": {"min_score": None}})
    assert (status, back["overlay"], back["base"] == told["base"]) == (200, [], False)
    audit = (agent.folder / "state" / "audit.jsonl").read_text()
    assert '"event": "overlay"' in audit


def test_a_camera_that_starts_anew_keeps_its_place(page: Page) -> None:
    def names() -> list[str]:
        return [body["camera"] for body in page.get("/api/status")["cameras"]]

    before = names()
    assert before[0] == "front"
    assert page.save({"filter": {"min_score": 0.3}})[0] == 200
    page.wait(lambda body: body["state"] == "running")
    assert names() == before
    assert page.save({"filter": {"min_score": None}})[0] == 200


@pytest.mark.parametrize(("name", "task"), [("front", "detect"), ("colour", "classify"), ("ground", "segment")])
def test_health_says_what_the_model_is_for(page: Page, name: str, task: str) -> None:
    assert page.wait(lambda body: body["model"], name)["model"]["task"] == task


def test_only_labels_that_the_model_has_can_be_wanted(page: Page, agent: Agent) -> None:
    page.wait(lambda body: body["state"] == "running")
    assert page.get("/api/cameras/front/areas")["labels"] == ["red", "blue"]
    status, body = page.save({"filter": {"labels": ["reed", "blue"]}})
    assert (status, body["code"]) == (400, "CHANGE_INVALID")
    assert "'reed'" in body["what"]
    assert "take red" in body["fix"]
    assert body["evidence"] == {"wanted": "reed", "the model has": "red, blue"}
    status, told = page.save({"filter": {"labels": ["blue"]}})
    assert (status, told["filter"]["labels"], told["overlay"]) == (200, ["blue"], ["filter.labels"])
    assert told["labels"] == ["red", "blue"], "while the camera starts anew"
    page.wait(lambda body: body["state"] == "running" and body["counters"]["kept_by_label"] > 3)
    counters = page.camera()["counters"]
    assert counters["kept_by_nms"] == 2 * counters["kept_by_label"]
    assert page.shots(1)[0][0]["found"] == [{"label": "blue", "count": 1}]
    assert page.save({"filter": {"labels": None}})[1]["overlay"] == []
    assert page.save({"filter": {"labels": ["anything"]}}, "empty")[0] == 200, "without a model nobody knows its labels"
    assert page.save({"filter": {"labels": None}}, "empty")[0] == 200


def test_what_the_agent_would_not_run_with_is_refused_and_leaves_the_old_file(page: Page, agent: Agent) -> None:
    path = agent.folder / "state" / "overlay.toml"
    assert page.save({"zone": [{"name": "a", "polygon": WHOLE}]})[0] == 200
    before, base = path.read_bytes(), page.get("/api/cameras/front/areas")["base"]
    status, body = page.save({"zone": [{"name": "a", "polygon": WHOLE}, {"name": "a", "polygon": WHOLE}]})
    assert (status, body["code"]) == (422, "CONFIG_INVALID")
    whole = agent.path.read_text()
    agent.path.write_text(whole + "\nnonsense = 1\n")  # a half-done edit of somebody else
    try:
        status, body = page.save({"zone": []})
        assert (status, body["code"]) == (422, "CONFIG_INVALID")
    finally:
        agent.path.write_text(whole)
    assert path.read_bytes() == before
    assert page.get("/api/cameras/front/areas")["base"] == base
    assert page.save({"zone": None})[0] == 200


def test_nobody_looks_any_more_and_the_agent_has_as_many_threads_as_before(page: Page, agent: Agent) -> None:
    page.wait(lambda body: body["state"] == "running")
    assert until(lambda: agent.threads() == threads_at_rest(agent), 60)
    before = threads_at_rest(agent)
    viewers = [threading.Thread(target=page.shots, args=(15,)) for _ in range(2)]
    for viewer in viewers:
        viewer.start()
    assert until(lambda: agent.threads() == before + 1, 20), "one thread encodes for both"
    for viewer in viewers:
        viewer.join(60)
    assert until(lambda: agent.threads() == before, 20)


def threads_at_rest(agent: Agent) -> int:
    """The least of some looks: threads that answer questions come and go."""
    looks = []
    for _ in range(20):
        looks.append(agent.threads())
        time.sleep(0.05)
    return min(looks)


def test_metrics_of_a_running_agent(page: Page) -> None:
    page.wait(lambda body: body["counters"]["inferred"] > 3)
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['camagent_frames_total{camera="front",stage="inferred"}']) > 3
    assert float(lines['camagent_latency_seconds_sum{camera="front",step="infer"}']) > 0
    assert (
        lines['camagent_model_info{backend="onnx",camera="front",name="blobs",signature="verified",version="1.0.0"}'] == "1.0"
    )
    assert lines['camagent_camera_reason{camera="empty",reason="no-bundle"}'] == "1.0"
    assert lines["camagent_mqtt_connected"] == "1.0"


def test_a_self_tests_report_is_a_page_with_its_own_policy(page: Page) -> None:
    page.wait(lambda body: body["state"] == "running")
    status, made = page.ask("POST", "/api/selftest?camera=front&whole=1")
    assert status == 202
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=120)
    connection.request("GET", f"/api/jobs/{made['job']}")
    events = [json.loads(line) for line in connection.getresponse().read().splitlines()]
    assert [event for event in events if "exhibit" in event]
    assert "result" in events[-1], events[-1]
    connection.request("GET", f"/api/jobs/{made['job']}/report")
    answer = connection.getresponse()
    html = answer.read().decode()
    connection.close()
    assert (answer.status, answer.getheader("content-type")) == (200, "text/html; charset=utf-8")
    policy = str(answer.getheader("content-security-policy"))
    assert "sha256-" in policy
    assert "script" not in policy
    assert "data:image/jpeg;base64," in html
