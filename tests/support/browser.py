"""Debian's Chromium, driven by Playwright; axe-core, fetched from npm for the test. What is missing is said, and skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = "axe-core@4"


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or pytest.skip("chromium is not installed: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'camagent[dev]'")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, *, dark: bool = False, width: int = 1280, height: int = 900, locale: str = "en-GB"
) -> Iterator[Page]:
    """The page in a window of its own. An error in a script of it, or a breach of its policy, fails the test."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale,
        permissions=["clipboard-read", "clipboard-write"],
    )  # fmt: skip
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if _is_breach(message.type, message.text) else None)
    page.set_default_timeout(60_000)
    page.goto(url)
    yield page
    context.close()
    assert not wrong, wrong


def _is_breach(kind: str, text: str) -> bool:
    return kind == "error" and "Content Security Policy" in text


@cache
def _axe(folder: str) -> str:
    """The script's text. Skips where there is no npm, or nothing to fetch it from."""
    npm = shutil.which("npm") or pytest.skip("npm is not installed: accessibility is not checked")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, AXE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": folder})
    except subprocess.TimeoutExpired:
        pytest.skip("axe-core did not come from npm in time: accessibility is not checked")
    script = Path(folder) / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.is_file():
        pytest.skip(f"axe-core is not to be had from npm: {done.stderr.strip()[-200:]}")
    return script.read_text("utf-8")


def faults(page: Page, folder: Path) -> list[dict[str, Any]]:
    """axe-core's serious and critical findings on the page as it stands."""
    page.evaluate(_axe(str(folder)))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        {"id": one["id"], "impact": one["impact"], "where": [node["html"][:200] for node in one["nodes"][:3]]}
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
