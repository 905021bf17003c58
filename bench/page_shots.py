"""Takes the pictures of docs/page.md: the page of the demo by day, of an agent on a shared video at night and on a phone.

python -m bench.page_shots docs [--video one-by-one-person-detection.mp4]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bench.frame_cost import SHARED
from firmware_pkg import signed
from tests.signing.support import key
from tests.support.agent import Agent, camera, make_bundle
from tests.support.broker import Broker, free_port
from tests.support.browser import chromium, opened
from tests.support.bundles import write_root
from tests.test_page_browser import corner, seen
from tests.test_page_desk import Page as Client
from tests.test_page_routes import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WARM_MS = 11_000  # for numbers of ten seconds
ZONE = '[[camera.zone]]\nname = "floor"\npolygon = [[0.3,0.35],[0.98,0.35],[0.98,0.98],[0.02,0.98]]\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        shoot(Path(name), arguments.video, arguments.folder)


def shoot(work: Path, video: Path, folder: Path) -> None:
    port, broker = free_port(), Broker(work)
    broker.start()
    write_root(work)
    bundle = make_bundle(work)
    signed.add(bundle, key("release"), ())
    sections = camera(video, bundle, name="hall", fps=10.0) + ZONE
    sections += camera(video, bundle, name="stairs", fps=5.0)
    sections += camera(f"rtsp://127.0.0.1:{free_port()}/cam", bundle, name="door", fps=5.0)
    web = f'[web]\nlisten = "127.0.0.1:{port}"\n'
    with Agent(work, broker.port, sections, agent=f'trust = "{work}/root.json"', more=web), chromium() as browser:
        assert until(Client(port).is_up, 60)
        url = f"http://127.0.0.1:{port}/#"
        demo(browser, folder)
        with opened(browser, f"{url}hall", dark=True, height=1180) as page:
            page.wait_for_timeout(WARM_MS)
            page.click("#edit-open")
            page.click("#edit-zone")
            for x, y in ((0.06, 0.1), (0.28, 0.08), (0.22, 0.8), (0.04, 0.84)):
                page.mouse.click(*corner(page, x, y))
            page.keyboard.press("Enter")
            seen(page, bool)
            keep(page, folder / "page-dark.png")
        with opened(browser, f"{url}door", width=390, height=844) as page:
            page.locator('#health [data-reason="stream-unreachable"]').wait_for()
            page.click("#test-go")
            page.locator("#report [data-cause]").first.wait_for(timeout=180_000)
            page.locator("#test-title").scroll_into_view_if_needed()
            page.evaluate("document.getElementById('test-title').closest('.card').scrollIntoView()")
            keep(page, folder / "page-phone.png")
    broker.stop()


def demo(browser: Browser, folder: Path) -> None:
    """What a newcomer sees first."""
    command = [sys.executable, "-m", "camagent", "demo", "--seconds", "60", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        where = next(line.split()[1] for line in process.stderr if line.startswith("page "))
        with opened(browser, where, height=1180) as page:
            page.wait_for_timeout(WARM_MS)
            seen(page, bool)
            keep(page, folder / "page-light.png")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def keep(page: Page, path: Path) -> None:
    """As PNG, with the last bits of a photograph's noise left out: they are most of its size and nobody sees them."""
    picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    smooth = cv2.bilateralFilter(picture, 5, 12, 3).astype(np.uint8)
    cv2.imwrite(str(path), smooth & np.uint8(0xFC), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
