"""From end to end: a browser connects, drives, loses the connection and comes back; another one watches."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demos.serve.test_server import Server

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `make browser` installs Debian's"),
]

DRIVES = "document.getElementById('wheel').textContent === 'Let go of the wheel'"
LAPSE_S = 10


@pytest.fixture
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    made = Server(tiny_checkpoint, "--task", "none")
    yield made
    made.close()


@pytest.fixture
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def pixels(page: Any) -> bytes:
    """Of the picture alone."""
    shot: bytes = page.locator("#picture").screenshot()
    return shot


def steps(page: Any) -> int:
    return int(page.locator("dt:text-is('step') + dd").inner_text().split()[0])


def test_a_drive_in_a_browser(server: Server, browser: Any) -> None:
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.page)
    page.click("#wheel:has-text('Take the wheel')")
    page.wait_for_function(DRIVES)
    watcher = browser.new_page()
    watcher.goto(server.page)
    watcher.wait_for_selector("#wheel:has-text('Somebody else drives'):disabled")
    before, begun = pixels(page), steps(page)
    page.keyboard.down("w")
    page.keyboard.down("a")
    page.wait_for_timeout(1000 * LAPSE_S)
    assert steps(page) - begun >= 0.8 * LAPSE_S * 30 / 17
    assert pixels(page) != before
    speeds = [float(page.locator(".bar").nth(index).locator("span").last.inner_text()) for index in (23, 24)]
    assert min(speeds) > 0.3
    page.keyboard.up("w")
    page.keyboard.up("a")

    watched = steps(watcher)
    watcher.wait_for_function(
        f"+[...document.querySelectorAll('dt')].find((term) => term.textContent === 'step')"
        f".nextSibling.textContent.split(' ')[0] > {watched}"
    )
    assert watcher.evaluate("document.getElementById('worlds').textContent") == "learned world"

    # The connection breaks: the wheel is free for others, and the page comes back by itself.
    page.evaluate("socket.close()")
    watcher.wait_for_selector("#wheel:has-text('Take the wheel'):enabled")
    page.wait_for_selector("#wheel:has-text('Take the wheel'):enabled")
    page.click("#wheel")
    page.wait_for_function(DRIVES)
    assert errors == []


def test_touch_drives(server: Server, browser: Any) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 420, "height": 900})
    page = context.new_page()
    page.goto(server.page)
    page.tap("#wheel:has-text('Take the wheel')")
    page.wait_for_function(DRIVES)
    box = page.locator("#drive-stick").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 60)
    page.wait_for_function("parseFloat(document.querySelectorAll('.bar')[23].lastChild.textContent) > 0.3")
    page.mouse.up()
    page.wait_for_function("parseFloat(document.querySelectorAll('.bar')[23].lastChild.textContent) === 0")
    # Nothing is wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_everything_is_seen_at_once(server: Server, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(server.page)
    page.wait_for_selector(".bar:nth-child(25)")
    assert page.evaluate("document.documentElement.scrollHeight") <= 720
