"""The page as people use it: a browser on a real agent, by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest

from tests.support.agent import Agent, camera
from tests.support.broker import Broker, free_port
from tests.support.browser import chromium, faults, opened
from tests.support.bundles import changed, make_signed
from tests.support.page import classifier, scene, served
from tests.test_page_desk import Page as Client
from tests.test_page_routes import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Cameras: front sees blobs; broken's address does not answer."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    broker = Broker(folder)
    broker.start()
    broken = camera(f"rtsp://127.0.0.1:{free_port()}/cam", Path("blobs"), name="broken", fps=5.0)
    with served(folder, broker, port, broken) as agent:
        client = Client(port)
        assert until(client.is_up, 60)
        client.wait(lambda body: body["state"] == "running")
        yield agent
    broker.stop()


def url(agent: Agent, camera_name: str = "front") -> str:
    return "http://" + agent.more.split('listen = "')[1].split('"')[0] + f"/#{camera_name}"


def found(page: Page) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(page.locator("#live").get_attribute("data-found") or "null")
    return made


def seen(page: Page, condition: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 60) -> None:
    """Waits for a live picture in which this was found."""

    def holds() -> bool:
        page.wait_for_timeout(100)
        return page.locator("#live").get_attribute("data-found") is not None and condition(found(page))

    assert until(holds, timeout_s), page.locator("#live").get_attribute("data-found")


def red_column(page: Page) -> int:
    """Where the red blob stands in the canvas, in quarters of its width; -1 where there is none."""
    where: float = page.evaluate(
        """() => { const canvas = document.getElementById('live'); const { width, height } = canvas;
        const row = canvas.getContext('2d').getImageData(0, Math.round(height / 8), width, 1).data; let sum = 0; let count = 0;
        for (let x = 0; x < width; x += 1) if (row[4 * x] > 150 && row[4 * x + 1] < 120) { sum += x; count += 1; }
        return count ? (4 * sum) / count / width : -1; }"""
    )
    return int(where)


def corner(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("#stage").bounding_box()
    assert box is not None
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def test_boxes_are_seen_moving_with_what_was_found_beside_them(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site)) as page:
        seen(page, lambda items: {item["label"] for item in items} == {"red", "blue"})
        columns = set()

        def moved() -> bool:
            page.wait_for_timeout(150)
            columns.add(red_column(page))
            return len(columns - {-1}) >= 3

        assert until(moved, 60), columns
        assert page.locator("#found .chip").all_inner_texts() == ["red 1", "blue 1"] or found(page)
        label = page.locator("#live").get_attribute("aria-label") or ""
        assert "front" in label
        assert page.locator("#health .verdict").get_attribute("class") == "verdict pass"
        page.locator('#funnel [data-stage="kept_by_zone"]:not([data-value="0"])').wait_for()
        assert "signature verified" in page.locator("#model").inner_text()
        assert page.locator("#graph [data-node]").count() == 8
        page.click("#live-toggle")
        frames = page.locator("#live").get_attribute("data-frames")
        page.wait_for_timeout(1500)
        assert page.locator("#live").get_attribute("data-frames") == frames, "paused"


def test_a_good_bundle_is_uploaded_and_a_tampered_one_is_refused(browser: Browser, site: Agent) -> None:
    good = make_signed(site.folder, version="2.0.0", gain=0.99)
    tampered = changed(make_signed(site.folder, version="3.0.0", gain=0.98), "golden/blobs.png", b"\x89PNG" + bytes(300))
    with opened(browser, url(site)) as page:
        page.set_input_files("#bundle-file", good)
        page.locator('#bundle-end [data-outcome="trial"]').wait_for()
        steps = page.locator("#checklist li")
        assert steps.count() == 12
        assert {item.get_attribute("data-status") for item in steps.all()} <= {"pass", "warn"}
        page.locator("#model", has_text="blobs 2.0.0").wait_for()
        page.locator("#model", has_text="on trial").wait_for()
        page.set_input_files("#bundle-file", tampered)
        refusal = page.locator("#bundle-end [data-code]")
        refusal.wait_for()
        assert refusal.get_attribute("data-code") in {"PAYLOAD_DIGEST_MISMATCH", "BUNDLE_TRUNCATED"}
        assert "What to do" in refusal.inner_text()
        assert page.locator('#checklist li[data-status="fail"]').count() == 1
        assert "blobs 2.0.0" in page.locator("#model").inner_text()
        page.get_by_role("button", name=re.compile("Roll blobs back")).click()
        page.locator('#bundle-end [data-outcome="current"]').wait_for()
        page.locator("#model", has_text="blobs 1.0.0").wait_for()


def test_the_self_test_of_a_broken_camera_names_the_cause(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site, "broken")) as page:
        page.locator('#health [data-reason="stream-unreachable"]').wait_for()
        assert "Check address" in page.locator("#health").inner_text()
        page.click("#test-go")
        page.locator('#report [data-verdict="fault"]').wait_for(timeout=180_000)
        causes = [item.get_attribute("data-cause") for item in page.locator("#report [data-cause]").all()]
        assert causes[0] == "stream-unreachable"
        assert "What to do" in page.locator("#report [data-cause]").first.inner_text()
        page.locator("#report [data-cause]", has_text="refuses the connection, denies the login").wait_for()
        with page.context.expect_page() as other:
            page.get_by_role("link", name="Open the whole report").click()
        report = other.value
        report.wait_for_load_state()
        assert "stream-unreachable" in report.inner_text("body")
        paper = report.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(246, 247, 249)", "its style sheet is let through by its policy"


def test_a_zone_is_drawn_by_mouse_and_the_counts_follow(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site)) as page:
        seen(page, lambda items: len(items) == 2)
        page.click("#edit-open")
        page.click("#edit-zone")
        page.locator("#stage").scroll_into_view_if_needed()
        for x, y in ((0.0, 0.7), (0.99, 0.7), (0.99, 0.99), (0.0, 0.99)):
            page.mouse.click(*corner(page, x, y))
        page.keyboard.press("Enter")
        page.get_by_label("Name").fill("bottom")
        page.mouse.move(*corner(page, 0.0, 0.7))
        page.mouse.down()
        page.mouse.move(*corner(page, 0.0, 0.5), steps=4)
        page.mouse.up()
        page.click("#edit-save")
        page.locator("#edit-state", has_text="in force").wait_for()
        seen(page, lambda items: items == [{"label": "blue", "count": 1}])
        zones = Client(int(url(site).split(":")[2].split("/")[0])).get("/api/cameras/front/areas")["zone"]
        assert [zone["name"] for zone in zones] == ["bottom"]
        assert zones[0]["polygon"][0] == pytest.approx([0.0, 0.5], abs=0.03)
        assert page.locator('#stage [data-shape="bottom"]').count() == 1
        page.get_by_role("button", name="Back to camagent.toml").click()
        seen(page, lambda items: len(items) == 2)


def test_a_zone_is_drawn_by_keyboard_alone_and_copied_as_toml(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site)) as page:
        seen(page, lambda items: len(items) == 2)
        page.locator("#edit-open").focus()
        for key in ("Enter", "Enter", "Enter"):  # open the editor, draw a zone, take the rectangle
            page.keyboard.press(key)
            page.wait_for_timeout(100)
        point = page.locator("[data-point='0']")
        assert point.evaluate("element => element === document.activeElement")
        assert "corner 1 of 4: 25" in (point.get_attribute("aria-label") or "")
        for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowUp", "+"):
            page.keyboard.press(key)
        assert page.locator("[data-point]").count() == 5
        page.keyboard.press("Delete")
        assert page.locator("[data-point]").count() == 4
        page.locator("summary", has_text="As TOML").click()
        page.get_by_role("button", name="Copy as TOML").click()
        page.locator("#edit-state", has_text="Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert (
            copied == '[[camera.zone]]\nname = "zone-1"\npolygon = [[0.23, 0.248], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]\n'
        )
        page.get_by_label("Name").fill("a b")
        page.click("#edit-save")
        page.get_by_role("alert", name="").filter(has_text="cannot be").wait_for()
        page.get_by_role("button", name="Discard changes").click()
        assert page.locator("#stage [data-shape]").count() == 0


def test_what_is_drawn_is_not_lost_unasked_and_enter_is_also_that_of_other_buttons(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site)) as page:
        page.click("#edit-open")
        page.click("#edit-zone")
        page.get_by_role("button", name="Close", exact=True).press("Enter")
        page.locator("#edit-open").wait_for()
        assert page.locator("#stage [data-shape]").count() == 0, "no rectangle: Close was meant"
        page.click("#edit-open")
        page.click("#edit-mask")
        page.keyboard.press("Enter")
        asked: list[str] = []

        def answer(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page.once("dialog", answer)
        page.click('[data-camera="broken"]')
        assert page.locator("#stage [data-shape]").count() == 1
        assert "not saved" in asked[0]
        page.get_by_role("button", name="Discard changes").click()
        page.click('[data-camera="broken"]')
        page.locator('#health [data-reason="stream-unreachable"]').wait_for()
        assert len(asked) == 1


def test_the_focus_stays_where_something_was_saved(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site)) as page:
        seen(page, lambda items: len(items) == 2)
        page.click("#edit-open")
        page.get_by_role("checkbox", name="red").check()
        page.locator("#edit-save").press("Enter")
        page.locator("#edit-state", has_text="in force").wait_for()
        assert page.locator("#edit-save").evaluate("element => element === document.activeElement")
        page.get_by_role("button", name="Back to camagent.toml").click()
        seen(page, lambda items: len(items) == 2)


def test_a_label_is_filtered_away_by_keyboard_and_the_counts_follow(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site), width=390, height=844) as page:
        seen(page, lambda items: len(items) == 2)
        assert "labels: all" in page.locator("#editor").inner_text()
        page.click("#edit-open")
        offered = page.locator("#edit-labels").get_by_role("checkbox")
        assert [box.evaluate("box => box.parentNode.innerText") for box in offered.all()] == ["red", "blue"]
        page.locator("#edit-score").focus()
        for key in ("Tab", "Tab", "Space"):  # past red; blue
            page.keyboard.press(key)
        assert 'labels = ["blue"]' in (page.locator("#toml").text_content() or "")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("#edit-save")
        page.locator("#edit-state", has_text="in force").wait_for()
        assert page.get_by_role("checkbox", name="blue").is_checked()
        seen(page, lambda items: items == [{"label": "blue", "count": 1}])
        page.locator('#funnel [data-stage="kept_by_label"]:not([data-value="0"])').wait_for()
        page.get_by_role("button", name="Back to camagent.toml").click()
        seen(page, lambda items: len(items) == 2)
        assert page.locator("#edit-labels :checked").count() == 0


def test_a_label_that_the_model_does_not_have_is_marked_and_cannot_be_saved_again(browser: Browser, tmp_path: Path) -> None:
    broker, port = Broker(tmp_path), free_port()
    broker.start()
    with served(tmp_path, broker, port, front='[camera.filter]\nlabels = ["blu"]\n') as agent:
        assert until(Client(port).is_up, 60)
        Client(port).wait(lambda body: body["state"] == "running")
        with opened(browser, url(agent)) as page:
            page.click("#edit-open")
            strange = page.get_by_role("checkbox", name="blu not in this model")
            assert strange.is_checked()
            page.get_by_role("checkbox", name="red").check()
            page.click("#edit-save")
            refusal = page.locator('#editor [data-code="CHANGE_INVALID"]')
            refusal.wait_for()
            assert "has no label 'blu'" in refusal.inner_text()
            assert "take blue" in refusal.inner_text()
            strange.uncheck()
            page.click("#edit-save")
            page.locator("#edit-state", has_text="in force").wait_for()
            seen(page, lambda items: items == [{"label": "red", "count": 1}])
    broker.stop()


def test_a_picture_is_tried(browser: Browser, site: Agent) -> None:
    picture = site.folder / "try.png"
    cv2.imwrite(str(picture), scene(2, 1))
    (site.folder / "no.png").write_bytes(b"GIF89a")
    with opened(browser, url(site)) as page:
        seen(page, bool)
        page.set_input_files("#try-file", picture)
        page.locator("#seen table").wait_for()
        assert sorted(row.split()[0] for row in page.locator("#seen tbody tr").all_inner_texts()) == ["blue", "red"]
        assert page.locator("#seen img").evaluate("image => image.naturalWidth") == 640
        page.set_input_files("#try-file", site.folder / "no.png")
        page.locator('#seen [data-code="INPUT_UNREADABLE"]').wait_for()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_serious_fault_of_accessibility(
    browser: Browser, site: Agent, tmp_path_factory: pytest.TempPathFactory, dark: bool, width: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "axe"
    folder.mkdir(exist_ok=True)
    for name in ("front", "broken"):
        with opened(browser, url(site, name), dark=dark, width=width) as page:
            page.locator("#health .verdict").wait_for()
            assert faults(page, folder) == []
            page.click("#edit-open")
            page.click("#edit-mask")
            page.keyboard.press("Enter")
            page.locator("[data-point='0']").wait_for()
            assert faults(page, folder) == []


def test_a_phone_shows_everything_without_scrolling_sideways(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site), width=390, height=844) as page:
        seen(page, bool)
        page.locator("#funnel svg").wait_for()
        page.click("#edit-open")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for button in page.locator("button:visible, .button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 40, button.inner_text()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        page.set_input_files("#bundle-file", make_signed(site.folder, version="0.1.0", signers=("stranger",)))
        page.locator('#bundle-end [data-code="UNTRUSTED_SIGNER"]').wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_chinese_browser_gets_the_page_in_chinese_on_a_phone_too_and_may_switch(browser: Browser, site: Agent) -> None:
    with opened(browser, url(site, "broken"), width=390, height=844, locale="zh-CN") as page:
        page.locator('#health [data-reason="stream-unreachable"]', has_text="摄像机没有应答").wait_for()
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        page.click("#edit-open")
        page.click("#edit-zone")
        page.keyboard.press("Enter")
        page.locator("#edit-state", has_text="zone-1 已画好").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for button in page.locator("button:visible, .button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] < 60, f"{button.inner_text()}: in one line"
        page.set_input_files("#bundle-file", {"name": "x.cambundle", "mimeType": "", "buffer": b"hello"})
        refusal = page.locator('#bundle-end [data-code="BUNDLE_TRUNCATED"]')
        page.locator("#bundle-end", has_text="模型包不完整").wait_for()
        assert "怎么办： 与原文件比较长度后重新传输" in refusal.inner_text()
        assert refusal.locator("[lang=en]").count() == 1, "the agent's own sentence"
        page.click("#test-go")
        page.locator("#report [data-cause]", has_text="摄像机拒绝连接").wait_for(timeout=180_000)
        with page.context.expect_page() as other:
            page.locator('#report a[target="_blank"]').click()
        assert other.value.locator("html").get_attribute("lang") == "zh-CN"
        page.get_by_label("语言").select_option("en")
        page.locator("#health", has_text="Check address").wait_for()
        assert page.locator("html").get_attribute("lang") == "en"
        page.get_by_label("Language").select_option("zh-CN")
        page.locator("#health", has_text="怎么办").wait_for()


def test_where_nothing_is_set_up_the_page_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "token").write_text("secret\n")
    hawkbit = f'[fleet.hawkbit]\nurl = "http://127.0.0.1:{free_port()}"\ntarget_token_file = "{tmp_path}/token"\n'
    tuf = f'[fleet.tuf]\nurl = "http://127.0.0.1:{free_port()}/"\nspread_s = 0\n'
    more = f'[web]\nlisten = "127.0.0.1:{port}"\n{hawkbit}{tuf}'
    with Agent(tmp_path, free_port(), "", agent=f'trust = "{tmp_path}/root.json"', more=more):
        assert until(Client(port).is_up, 60)
        with opened(browser, f"http://127.0.0.1:{port}/") as page:
            page.locator(".hint.no-root", has_text="camagent trust install").wait_for()
            page.locator(".hint.no-camera", has_text="[[camera]]").wait_for()
            page.locator(".hint.mqtt").wait_for()
            page.locator(".hint.fleet", has_text="the hawkBit server 127.0.0.1").wait_for(timeout=60_000)
            page.locator(".hint.fleet", has_text="this device trusts nobody yet").wait_for(timeout=60_000)
            assert page.locator("#stage").is_hidden(), "there is nothing to look at"
            page.locator("#bundles", has_text="The store is empty").wait_for()
            page.set_input_files("#bundle-file", make_signed(tmp_path))
            page.locator('#bundle-end [data-code="TRUST_MISSING"]').wait_for()


def test_with_a_token_the_page_asks_for_it_once(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    broker = Broker(tmp_path)
    broker.start()
    with served(tmp_path, broker, port, token=TOKEN), opened_when_up(browser, port) as page:
        page.locator("#token-input").wait_for()
        assert page.locator("#content").is_hidden()
        page.fill("#token-input", "guess")
        page.keyboard.press("Enter")
        page.locator("#token-error", has_text="not this agent's").wait_for()
        page.fill("#token-input", TOKEN)
        page.keyboard.press("Enter")
        seen(page, bool)
        page.reload()
        seen(page, bool)
        page.click("#test-go")
        page.locator("#report [data-verdict]").wait_for(timeout=180_000)
        with page.expect_download() as saved:
            page.get_by_role("link", name="Save the whole report").click()
        assert "camagent self-test" in Path(saved.value.path()).read_text("utf-8")
    broker.stop()


def opened_when_up(browser: Browser, port: int) -> Any:
    assert until(Client(port).is_up, 60)
    return opened(browser, f"http://127.0.0.1:{port}/")


def test_a_classification_and_what_is_hostile_in_a_name(browser: Browser, tmp_path: Path) -> None:
    """Labels are the model's, and text wherever they stand."""
    port = free_port()
    broker = Broker(tmp_path)
    broker.start()
    nasty = "<img src=x onerror=alert(1)>"
    bundle = make_signed(
        tmp_path,
        name="colour",
        model=classifier(),
        golden=False,
        task="classify",
        head={"name": "classify"},
        labels=[nasty, "blue"],
    )
    colour = camera(tmp_path / "pictures", bundle, name="colour", fps=5.0)
    with served(tmp_path, broker, port, colour):
        assert until(Client(port).is_up, 60)
        with opened(browser, f"http://127.0.0.1:{port}/#colour") as page:
            seen(page, lambda items: any(item["label"] == nasty for item in items))
            page.locator("#found .chip", has_text=nasty).first.wait_for()
            picture = tmp_path / "red.png"
            cv2.imwrite(str(picture), scene(0))
            page.set_input_files("#try-file", picture)
            page.locator("#seen td", has_text=nasty).wait_for()
            assert page.locator("img[src='x']").count() == 0
            page.locator("#funnel-verdict", has_text="goes out whole").wait_for()
            assert page.locator("#funnel .lost, #graph .stuck").count() == 0, "classes pass no filter of objects"
            page.click('[data-camera="front"]')
            seen(page, lambda items: {item["label"] for item in items} == {"red", "blue"})
            assert page.locator("#seen").inner_text() == "", "what the other camera's model saw"
    broker.stop()
