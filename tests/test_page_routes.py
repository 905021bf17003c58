"""The page's routes over a real socket: what they answer, whom they let in, what a live picture costs."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camagent.language import chinese
from camagent.overlay import BYTES
from camagent.selftest.meanings import MEANINGS
from camagent.web import live
from camagent.web.page import POLICY, files
from camagent.web.words import words_of
from firmware_pkg.limits import PICTURE_BYTES
from tests import test_metrics
from tests.support.desk import FakeDesk, Feeding
from tests.support.http import MARK, Api, first_reply, reply, serving, token_file
from tests.support.service import FakeService

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
DESK = FakeDesk()
ZONE = {"name": "gate", "polygon": [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]}


class Reporting(FakeService):
    """Its status is a running agent's."""

    def status(self) -> dict[str, Any]:
        return {"agent": test_metrics.agent(), "cameras": [test_metrics.camera()], "bundles": {}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving(Reporting(), desk=DESK, upload_window_s=0.6, header_s=1.0) as made:
        yield made


@pytest.fixture
def api(shared: Api) -> Iterator[Api]:
    shared.settle()
    DESK.forget()
    yield shared
    assert shared.ask("GET", "/api/status").status == 200, "whatever was sent, the next one is answered"


def refused(api: Api, data: bytes) -> tuple[int, str]:
    answer = reply(api.raw(data))
    assert {"code", "what", "evidence", "fix"} <= set(json.loads(answer.body))
    return answer.status, answer.json["code"]


# -- the page --------------------------------------------------------------------------------------------------------------


def test_the_page_is_small_and_complete_and_asks_nobody_else(api: Api) -> None:
    served = files()
    assert sum(map(len, served.values())) < 100_000
    index = api.ask("GET", "/")
    assert index.status == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    for reference in re.findall(r'(?:src|href)="(/[^"]+)"', index.body.decode()):
        answer = api.ask("GET", reference)
        assert (answer.status, answer.headers["x-content-type-options"]) == (200, "nosniff"), reference
    for name, data in served.items():
        text = data.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        for other in re.findall(r"from '\./([a-z.]+)'", text):
            assert other in served, f"{name} imports {other}"


def test_its_policy_lets_nothing_in_that_is_not_its_own(api: Api) -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob: data:",
        "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    for path in ("/", "/page/main.js", "/page/page.css"):
        assert api.ask("GET", path).headers["content-security-policy"] == POLICY
    assert api.ask("GET", "/api/status").headers["content-security-policy"] == "default-src 'none'"


def test_nothing_in_it_is_inline_or_parsed_from_text() -> None:
    served = {name: data.decode() for name, data in files().items()}
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", served["index.html"])
    for name, text in served.items():
        if name.endswith(".js"):
            wrong = re.search(r"insertAdjacentHTML|document\.write|outerHTML|\beval\b|new Function|\.innerHTML\s*=[^=]", text)
            assert not wrong, f"{name}: {wrong}"


def test_every_word_of_the_page_is_in_its_list_and_every_language_has_all() -> None:
    served = {name: data.decode() for name, data in files().items()}
    words = json.loads(served["text.en.json"])
    used = set(re.findall(r'data-(?:t|label)="([^"]+)"', served["index.html"]))
    for name, text in served.items():
        if name.endswith(".js") and name != "text.js":
            used |= set(re.findall(r"\bt\('([a-z][a-z0-9.-]+)'", text)) | set(re.findall(r"\['(edit\.[a-z-]+)'", text))
    assert len(used) > 80
    assert not used - set(words)
    known = dict(re.findall(r"'?([\w-]+)'?: '([^']+)'", served["text.js"].split("LANGUAGES = {")[1].split("}")[0]))
    assert {f"text.{tag}.json" for tag in known} == {name for name in served if re.fullmatch(r"text\..+\.json", name)}
    assert set(known) >= {"en", "zh-CN"}
    for tag in known:
        other = json.loads(served[f"text.{tag}.json"])
        assert list(other) == list(words), tag
        for key, text in other.items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", words[key])), f"{tag}: {key}"


def test_the_chinese_words_are_chinese() -> None:
    words = json.loads(files()["text.zh-CN.json"])
    for key, text in words.items():
        assert re.search(r"[\u4e00-\u9fff]", text), key
        assert not re.search(r"[\u4e00-\u9fff][,.:;!?()]", text), f"{key}: punctuation of another script"


def test_every_reason_that_health_can_give_is_told_in_words_with_what_to_do() -> None:
    words = json.loads(files()["text.en.json"])
    manual = (Path(__file__).resolve().parents[1] / "docs" / "mqtt.md").read_text("utf-8")
    table = manual.split("| `reason` | when |")[1].split("\n\n")[0]
    reasons = {code for row in table.splitlines()[2:] for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert len(reasons) > 30
    for code in reasons:
        assert f"reason.{code}" in words
        assert f"do.{code}" in words or code == "healthy-empty", code


@pytest.mark.parametrize(
    "name",
    ["..", "../page.py", "%2e%2e%2fpage.py", "page.py", "main.js/", "main.js%00", "MAIN.JS", "", "a" * 300, ".js", "x.svg"],
)
def test_nothing_but_its_files_is_served(api: Api, name: str) -> None:
    assert refused(api, api.head("GET", f"/page/{name}", "Connection: close")) == (404, "NOT_FOUND")
    assert refused(api, api.head("POST", "/page/main.js", "X-Camagent: 1", "Connection: close")) == (405, "METHOD_NOT_ALLOWED")


def test_what_a_code_means_is_told_in_the_language_of_the_page(api: Api) -> None:
    known = chinese().catalogue
    assert known is not None
    for code in (*known.errors, *known.causes, *known.reasons):
        assert api.ask("GET", f"/page/words/zh-CN/{code}").json == words_of(code, "zh-CN")
        assert set(words_of(code, "zh-CN")) == {"means", "fix"}, code
    for cause, sentence in MEANINGS.items():
        assert words_of(cause, "en") == {"means": sentence}
    for strange in ("en/NO_SUCH_CODE", "zh-CN/NO_SUCH_CODE", "xx/SIZE_LIMIT", f"zh-CN/{'a' * 300}", "zh-CN/%00"):
        assert api.ask("GET", f"/page/words/{strange}").json == {}, strange


# -- who may ------------------------------------------------------------------------------------------------------------------


def test_what_shows_the_scene_needs_the_token_and_the_page_does_not(tmp_path: Path) -> None:
    path, right = token_file(tmp_path)
    closed = ("/metrics", "/api/cameras/front/live", "/api/cameras/front/areas", "/api/jobs/x/report", "/api/status")
    with serving(Reporting(), desk=DESK, token_file=path) as api:
        for open_path in ("/", "/page/main.js", "/page/words/zh-CN/SIZE_LIMIT", "/healthz"):
            assert api.ask("GET", open_path).status == 200
        for wanted in closed:
            answer = api.ask("GET", wanted)
            assert (answer.status, answer.json["code"]) == (401, "TOKEN_NEEDED"), wanted
        for method, wanted in (
            ("POST", "/api/infer?camera=front"),
            ("PUT", "/api/cameras/front/areas"),
            ("POST", "/page/main.js"),
        ):
            assert api.ask(method, wanted, b"{}", MARK).status == 401
        assert api.ask("GET", "/metrics", headers=right).status == 200
        assert api.ask("PUT", "/api/cameras/front/areas", b"{}", right).status == 200


def test_no_name_but_ours_reaches_a_new_route(api: Api) -> None:
    for path in ("/", "/page/main.js", "/page/words/en/x", "/metrics", "/api/cameras/front/live", "/api/cameras/front/areas"):
        data = f"GET {path} HTTP/1.1\r\nHost: evil.example:{api.port}\r\nConnection: close\r\n\r\n".encode()
        assert refused(api, data) == (421, "HOST_UNKNOWN")


def test_a_page_elsewhere_changes_no_zone_and_shows_no_picture(api: Api) -> None:
    for origin in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {}):
        for method, path in (("PUT", "/api/cameras/front/areas"), ("POST", "/api/infer?camera=front")):
            answer = api.ask(method, path, b"{}", {"Content-Type": "text/plain", **origin})
            assert (answer.status, answer.json["code"]) == (403, "CROSS_SITE")
    for site in ("cross-site", "same-site"):  # <img src>: the answer could not be read, but the agent would draw for it
        answer = api.ask("GET", "/api/cameras/front/live", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})
        assert (answer.status, answer.json["code"]) == (403, "CROSS_SITE")
        assert api.ask("GET", "/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}).status == 200
    assert api.ask("GET", "/api/status", headers={"Sec-Fetch-Site": "same-origin"}).status == 200
    assert not DESK.views.of("front").is_open
    assert DESK.asked == []


# -- zones and masks --------------------------------------------------------------------------------------------------------


def test_a_zone_is_handed_over_with_who_asked(api: Api) -> None:
    assert api.ask("GET", "/api/cameras/front/areas").json["camera"] == "front"
    answer = api.ask("PUT", "/api/cameras/front/areas", json.dumps({"zone": [ZONE]}).encode(), MARK)
    assert answer.status == 200
    (asked,) = DESK.asked
    assert (asked[0], asked[1], asked[3].kind, asked[3].who) == ("save", "front", "http", "127.0.0.1")
    assert DESK.overlay["camera"][0]["zone"][0]["name"] == "gate"
    wrong = api.ask("DELETE", "/api/cameras/front/areas", headers=MARK)
    assert (wrong.status, set(wrong.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "PUT"})


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%00b", "a%20b", "a" * 49, "%E2%80%AE", "a%2Fb", "back", "a;b", "-"])
def test_tricks_in_a_cameras_name_reach_nobody(api: Api, name: str) -> None:
    for method, what in (("GET", "live"), ("GET", "areas"), ("PUT", "areas")):
        lines = ("X-Camagent: 1", "Content-Length: 2", "Connection: close") if method == "PUT" else ("Connection: close",)
        data = api.head(method, f"/api/cameras/{name}/{what}", *lines) + (b"{}" if method == "PUT" else b"")
        assert refused(api, data) == (404, "NOT_FOUND")
    status, code = refused(
        api, api.head("POST", f"/api/infer?camera={name}", "X-Camagent: 1", "Content-Length: 3", "Connection: close") + b"abc"
    )
    assert (status, code) in {(400, "QUERY_INVALID"), (404, "NOT_FOUND")}
    assert DESK.asked == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"url": "x"}', b"[" * 200_000, b"\x00" * 1000, b'{"zone": [{"name": "a", "polygon": [[9,9]]}]}'],
)
def test_what_is_no_change_is_refused_before_it_reaches_the_desk(api: Api, body: bytes) -> None:
    answer = api.ask("PUT", "/api/cameras/front/areas", body, MARK)
    assert (answer.status, answer.json["code"]) == (400, "CHANGE_INVALID")
    assert DESK.asked == []


@pytest.mark.parametrize(("method", "path", "limit"), [
    ("PUT", "/api/cameras/front/areas", BYTES), ("POST", "/api/infer?camera=front", PICTURE_BYTES),
])  # fmt: skip
def test_bodies_are_bounded_and_have_to_come(api: Api, method: str, path: str, limit: int) -> None:
    for length in (limit + 1, 10**18):
        with api.connect() as conn:
            conn.sendall(api.head(method, path, "X-Camagent: 1", f"Content-Length: {length}"))
            assert first_reply(conn).json["code"] == "SIZE_LIMIT"
    with api.connect() as conn:
        conn.sendall(api.head(method, path, "X-Camagent: 1", "Transfer-Encoding: chunked") + b"1\r\na\r\n")
        assert first_reply(conn).status == 411
    with api.connect() as conn:  # one byte now and then
        conn.sendall(api.head(method, path, "X-Camagent: 1", "Content-Length: 1000") + b"{")
        assert first_reply(conn).json["code"] == "UPLOAD_TOO_SLOW"
    assert DESK.asked == []


# -- a picture to try ------------------------------------------------------------------------------------------------------


def test_a_picture_is_shown_to_the_model(api: Api) -> None:
    answer = api.ask("POST", "/api/infer?camera=front&min_score=0.25", JPEG, MARK)
    assert (answer.status, answer.json["schema"]) == (200, "camagent.prediction/1")
    assert DESK.asked == [("predict", len(JPEG), 0.25)]
    answer = api.ask("POST", "/api/infer?camera=front", b"GIF89a", MARK)
    assert (answer.status, answer.json["code"]) == (422, "INPUT_UNREADABLE")


@pytest.mark.parametrize(
    "query", ["", "camera=", "camera=front&min_score=2", "camera=front&min_score=nan", "camera=front&min_score=a"]
)
def test_a_question_that_means_nothing_is_refused(api: Api, query: str) -> None:
    answer = api.ask("POST", f"/api/infer?{query}", JPEG, MARK)
    assert (answer.status, answer.json["code"]) == (400, "QUERY_INVALID")
    assert DESK.asked == []


def test_no_more_than_two_pictures_are_on_their_way_in(api: Api) -> None:
    head = api.head("POST", "/api/infer?camera=front", "X-Camagent: 1", f"Content-Length: {len(JPEG) + 200_000}")
    with api.connect() as first, api.connect() as second:
        for conn in (first, second):
            conn.sendall(head + JPEG)

        def is_full() -> bool:
            return api.ask("POST", "/api/infer?camera=front", JPEG, MARK).json.get("code") == "BUSY"

        assert until(is_full, 5)
    assert until(lambda: api.ask("POST", "/api/infer?camera=front", JPEG, MARK).status == 200, 10)


def test_slow_pictures_do_not_keep_the_others_from_an_answer(api: Api) -> None:
    DESK.may_answer.clear()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(api.ask("POST", "/api/infer?camera=front", JPEG, MARK).status))
        for _ in range(2)
    ]
    try:
        for thread in threads:
            thread.start()
        assert api.ask("GET", "/api/status", timeout_s=10).status == 200
    finally:
        DESK.may_answer.set()
    for thread in threads:
        thread.join(20)
    assert statuses == [200] * 2


# -- the live picture --------------------------------------------------------------------------------------------------------


class Viewer:
    """A connection that takes a live picture part by part."""

    def __init__(self, api: Api, path: str = "/api/cameras/front/live") -> None:
        self.conn = api.connect()
        self.conn.sendall(api.head("GET", path))
        self.data = b""

    def part(self) -> tuple[dict[str, object], bytes]:
        """The next picture: its facts and its bytes. Chunk heads of HTTP/1.1 are skipped by looking for what is meant."""
        while not (found := re.search(rb"Content-Length: (\d+)\r\nX-Camagent-Frame: ([^\r]*)\r\n\r\n", self.data)):
            self._more()
        length = int(found[1])
        while len(self.data) < found.end() + length:
            self._more()
        jpeg, self.data = self.data[found.end() : found.end() + length], self.data[found.end() + length :]
        return json.loads(found[2]), jpeg

    def _more(self) -> None:
        part = self.conn.recv(65536)
        assert part, "the answer ended"
        self.data += part

    def close(self) -> None:
        self.conn.close()


def encoders() -> int:
    return sum(thread.name == "web-live" for thread in threading.enumerate())


def until(condition: object, timeout_s: float = 15) -> bool:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_viewers_see_moving_pictures_and_share_one_encoding(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [0]
    shoot = live.shoot

    def counted(*arguments: object) -> live.Shot:
        drawn[0] += 1
        return shoot(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(live, "shoot", counted)
    view = DESK.views.of("front")
    assert not view.wants()
    with Feeding(view) as feeding:
        time.sleep(0.3)
        assert (feeding.given, drawn[0], encoders()) == (0, 0, 0), "nobody looks: nothing is handed over, nothing encoded"
        viewers = [Viewer(api) for _ in range(3)]
        seen = [[viewer.part() for _ in range(6)] for viewer in viewers]
        assert encoders() == 1
        assert drawn[0] < 3 * 6, "three viewers share the encodings"
        for parts in seen:
            assert all(facts["found"] == [{"label": "red", "count": 1}] for facts, _ in parts)
            pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for _, jpeg in parts]
            assert all(picture is not None and picture.shape == (240, 320, 3) for picture in pictures)
            assert len({picture.tobytes() for picture in pictures if picture is not None}) > 1
        for viewer in viewers:
            viewer.close()
        assert until(lambda: not view.wants() and encoders() == 0), "with the last viewer goes the thread"


def test_a_viewer_too_many_is_told_so(api: Api) -> None:
    with Feeding(DESK.views.of("front")):
        viewers = [Viewer(api) for _ in range(live.VIEWERS)]
        for viewer in viewers:
            viewer.part()
        answer = api.ask("GET", "/api/cameras/front/live")
        assert (answer.status, answer.json["code"]) == (409, "BUSY")
        for viewer in viewers:
            viewer.close()
        assert until(lambda: encoders() == 0)


def test_who_does_not_read_costs_no_encoding(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is made for who waits for one; a full socket waits for nothing."""
    drawn = [0]
    jpeg = bytes(3_000_000)  # more than the sockets' buffers hold

    def large(shown: object, number: int) -> live.Shot:
        del shown
        drawn[0] += 1
        return live.Shot(number, jpeg, {"found": []})

    monkeypatch.setattr(live, "shoot", large)
    with Feeding(DESK.views.of("front")):
        with contextlib.closing(socket.socket()) as conn:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            conn.connect(("127.0.0.1", api.port))
            conn.sendall(api.head("GET", "/api/cameras/front/live"))
            assert until(lambda: drawn[0] > 0)
            before = drawn[0]
            time.sleep(2)
            assert drawn[0] - before <= 4
        assert until(lambda: encoders() == 0)


def test_a_picture_that_cannot_be_drawn_ends_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    shoot, calls = live.shoot, [0]

    def sometimes(*arguments: object) -> live.Shot:
        calls[0] += 1
        if calls[0] < 3:
            raise ValueError("a strange picture")
        return shoot(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(live, "shoot", sometimes)
    with Feeding(DESK.views.of("front")):
        viewer = Viewer(api)
        viewer.part()
        viewer.close()
        assert until(lambda: encoders() == 0)


def test_a_server_that_stops_leaves_no_viewer_and_no_thread() -> None:
    desk = FakeDesk()
    with serving(Reporting(), desk=desk) as api, Feeding(desk.views.of("front")):
        viewers = [Viewer(api) for _ in range(2)]
        for viewer in viewers:
            viewer.part()
        api.server.stop()
        assert until(lambda: encoders() == 0)
        assert not desk.views.of("front").is_open
        for viewer in viewers:
            viewer.close()


def test_a_head_request_opens_no_view(api: Api) -> None:
    answer = reply(api.raw(api.head("HEAD", "/api/cameras/front/live", "Connection: close")))
    assert answer.status == 200
    assert not DESK.views.of("front").wants()


# -- reports and numbers ---------------------------------------------------------------------------------------------------


def test_a_job_without_a_report_says_so(api: Api) -> None:
    job = api.ask("POST", "/api/selftest?camera=front", headers=MARK).json["job"]
    assert api.ask("GET", f"/api/jobs/{job}").lines[-1]["result"]["verdict"] == "healthy"
    for name in (job, "unknown"):
        answer = api.ask("GET", f"/api/jobs/{name}/report")
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


def test_metrics_are_text_that_prometheus_takes(api: Api) -> None:
    answer = api.ask("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert b'camagent_latency_seconds_sum{camera="front",step="infer"} 0.5' in answer.body
