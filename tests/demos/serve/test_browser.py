"""End to end: a browser connects, drives, loses the connection and reconnects; another one watches."""

import shutil
import time
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

LONGEST_S = 120
"""Longer than anything takes on a busy machine."""
STEP = "parseInt(/step (\\d+)/.exec(document.getElementById('sentences').textContent)[1])"
"""Expression of the step of the newest status."""


class Page:
    """A page of the server in a browser.

    Args:
        context: of the browser.
        server: whose page.
    """

    def __init__(self, context: Any, server: Server) -> None:
        self.faults: list[str] = []
        """Errors that the browser reported."""
        self.page = context.new_page()
        self.page.set_default_timeout(1000 * LONGEST_S)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.goto(server.page)

    def until(self, expression: str) -> None:
        """Waits until an expression holds; the page's policy forbids Playwright to wait for it in the page."""
        ends_s = time.monotonic() + LONGEST_S
        while not self.page.evaluate(expression):
            assert time.monotonic() < ends_s, f"it never came to that: {expression}"
            self.page.wait_for_timeout(20)

    def drive_until(self, expression: str) -> None:
        """Waits until an expression holds, and takes the wheel again if the page was too slow to keep it."""
        self.until(f"wheel === 'free' && document.getElementById('wheel').click(), {expression}")

    def wheel(self, says: str) -> None:
        """Waits for a text of the button."""
        self.page.locator("#wheel", has_text=says).wait_for()

    def take_wheel(self) -> None:
        """Waits until the wheel is free, and takes it."""
        self.wheel("Take the wheel")
        self.page.locator("#wheel").click()
        self.wheel("Release the wheel")

    @property
    def step(self) -> int:
        """Returns the step of the newest status."""
        return int(self.page.evaluate(STEP))

    def pixels(self) -> bytes:
        """Returns a screenshot of the pictures alone."""
        shot: bytes = self.page.locator("#worlds").screenshot()
        return shot


def speed(index: int) -> str:
    """Returns an expression of one of the robot's numbers, as its bar shows it."""
    return f"parseFloat(document.querySelectorAll('.bar')[{index}].lastChild.textContent)"


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    made = Server(tiny_checkpoint, "--task", "none")
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A new browser window, without the pages of earlier tests."""
    with browser.new_context(viewport={"width": 1280, "height": 720}) as opened:
        yield opened


@pytest.fixture(params=[(390, 844), (844, 390)], ids=["upright", "sideways"])
def phone(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A new window of a phone."""
    width, height = request.param
    with browser.new_context(has_touch=True, is_mobile=True, viewport={"width": width, "height": height}) as opened:
        yield opened


def test_a_drive_in_a_browser(server: Server, context: Any) -> None:
    driver, watcher = Page(context, server), Page(context, server)
    driver.page.bring_to_front()
    driver.take_wheel()
    watcher.wheel("Another viewer drives")
    assert watcher.page.locator("#wheel").is_disabled()
    before, begun = driver.pixels(), driver.step
    driver.page.keyboard.down("w")
    driver.page.keyboard.down("a")
    five_later = f"{STEP} >= {begun + 5}"
    # Held keys keep working: the page repeats them.
    driver.drive_until(f"{five_later} && {speed(23)} > 0.3 && {speed(24)} > 0.3")
    watcher.until(five_later)
    assert driver.pixels() != before
    driver.page.keyboard.up("w")
    driver.page.keyboard.up("a")
    assert watcher.page.evaluate("document.getElementById('worlds').textContent") == "learned world: predicted"

    # The connection breaks: the wheel is free for others, and the page reconnects by itself.
    driver.page.evaluate("socket.close()")
    watcher.wheel("Take the wheel")
    driver.take_wheel()
    assert driver.faults == watcher.faults == []


def test_a_page_that_hangs_stops_the_robot_and_frees_the_wheel(server: Server, context: Any) -> None:
    driver, watcher = Page(context, server), Page(context, server)
    driver.page.bring_to_front()
    driver.take_wheel()
    driver.page.keyboard.down("w")
    driver.drive_until(f"{speed(23)} > 0.3")
    # It stays connected, but silent.
    driver.page.evaluate("socket.send = () => {}; 0")
    watcher.wheel("Take the wheel")
    watcher.until(f"{speed(23)} === 0")
    driver.wheel("Take the wheel")


def test_touch_drives(server: Server, phone: Any) -> None:
    page = Page(phone, server)
    page.wheel("Take the wheel")
    page.page.locator("#wheel").tap()
    page.wheel("Release the wheel")
    box = page.page.locator("#drive-stick").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(*middle)
    page.page.mouse.down()
    page.page.mouse.move(middle[0], middle[1] - 60)
    page.drive_until(f"{speed(23)} > 0.3")
    page.page.mouse.up()
    page.until(f"{speed(23)} === 0")
    assert page.faults == []


@pytest.mark.parametrize("worlds", [["learned"], ["learned", "reference"]], ids=["one world", "two worlds"])
def test_a_phone_shows_what_drives_without_scrolling(server: Server, phone: Any, worlds: list[str]) -> None:
    page = Page(phone, server)
    page.wheel("Take the wheel")
    width, height = (page.page.viewport_size[side] for side in ("width", "height"))
    assert (
        page.page.evaluate(
            """(worlds) => {
            showWorlds(worlds);
            const parts = document.querySelectorAll(".world, #wheel, .stick, #buttons button");
            return [...parts].map((part) => part.getBoundingClientRect()).filter(
                (box) => box.left < 0 || box.top < 0 || box.right > innerWidth || box.bottom > innerHeight,
            ).length;
        }""",
            worlds,
        )
        == 0
    )
    assert page.page.evaluate("[innerWidth, innerHeight, document.documentElement.scrollWidth]") == [
        width,
        height,
        width,
    ]


@pytest.mark.parametrize("size", [(1280, 720), (1280, 800), (1920, 1080)], ids=str)
def test_two_worlds_fill_a_large_window(server: Server, browser: Any, size: tuple[int, int]) -> None:
    with browser.new_context(viewport={"width": size[0], "height": size[1]}) as context:
        page = Page(context, server)
        page.wheel("Take the wheel")
        left, right, button = page.page.evaluate(
            """() => {
                showWorlds(["learned", "reference"]);
                const parts = document.querySelectorAll(".world, #buttons button:last-child");
                return [...parts].map((part) => part.getBoundingClientRect().toJSON());
            }"""
        )
    assert left["width"] == left["height"] == right["width"]
    assert left["top"] == right["top"]
    assert 0 < right["left"] - left["right"] < 10
    assert left["width"] > 0.39 * size[0]
    assert button["bottom"] <= size[1]


def test_the_start_screen_gets_out_of_the_way(server: Server, context: Any) -> None:
    driver, watcher = Page(context, server), Page(context, server)
    for page in (driver, watcher):
        assert page.page.locator("#start").is_visible()
        assert "w a s d" in page.page.locator("#start").inner_text()
    watcher.page.bring_to_front()
    watcher.page.locator("#watch").click()
    driver.page.bring_to_front()
    driver.take_wheel()
    for page in (driver, watcher):
        assert page.page.locator("#start").is_hidden()


def test_everything_is_seen_at_once(server: Server, context: Any) -> None:
    page = Page(context, server)
    page.page.wait_for_selector(".bar:nth-child(25)")
    assert page.page.evaluate("document.documentElement.scrollHeight") <= 720
    # The browser enforces the policy: scripts of other origins are not executed.
    page.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'limits = 0'}))")
    assert page.page.evaluate("limits !== 0")
    assert any("Content Security Policy" in fault for fault in page.faults)
