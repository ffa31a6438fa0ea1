"""Makes the pictures of the demos in the README: `make pictures`.

Drives for a few seconds in the window and in the browser, and compares the worlds. Writes a GIF of each to docs/images.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from tyro.conf import Positional

from hwm_env.arguments import parse_config
from hwm_env.data.files import write_bytes
from hwm_env.fields import CheckedFields

START: Final = 55
SECONDS: Final = 9.0
FRAMES_A_SECOND: Final = 5
WARM_UP_STEPS: Final = 4
"""Env steps before the story begins, since the first steps of a process are slow."""
PAUSE_S: Final = 0.005
GIF_WIDTH: Final = 560
GIF_COLOURS: Final = 128
STORY: Final = (
    (0.5, "i", True),
    (1.0, "i", False),
    (1.5, "w", True),
    (4.5, "w", False),
    (4.5, "a", True),
    (7.5, "a", False),
)
"""Time in seconds, key, and whether it goes down."""


def teleop(out: Path) -> None:
    """Pictures the window, without a screen."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    import pygame

    from demos.driving.drive import Drive
    from demos.driving.session import Session, SessionConfig
    from demos.teleop.app import App
    from demos.teleop.keys import load_bindings

    pygame.display.init()
    pygame.font.init()
    pygame.joystick.init()
    drive = Drive(lambda: Session(SessionConfig(start=START)))
    app = App(drive, load_bindings(None), "drive-to-target", out)
    drive.ask(lambda session: session.show(("learned", "reference")))
    # A click removes the start screen.
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(0, 0)))
    while drive.shown.snapshot.step < WARM_UP_STEPS:
        app.update()
        time.sleep(PAUSE_S)
    shots = []
    for key, is_down in _story():
        if key is not None:
            kind = pygame.KEYDOWN if is_down else pygame.KEYUP
            pygame.event.post(pygame.event.Event(kind, key=pygame.key.key_code(key)))
        app.update()
        if key is None and is_down:
            window = pygame.display.get_surface()
            assert window is not None, "the app has opened a window"
            shots.append(pygame.surfarray.array3d(window).swapaxes(0, 1))
    drive.close()
    pygame.quit()
    _write_gif(shots, out / "teleop.gif")


def browser(out: Path) -> None:
    """Pictures the page, in Chromium without a screen."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "hwm_env.workers", str(os.getpid()), "demos.serve"]
    command += ["--port", "0", "--start", str(START)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        contextlib.ExitStack() as stack,
        sync_playwright() as running,
    ):
        # Whatever fails, the server ends too.
        stack.callback(server.send_signal, signal.SIGINT)
        assert server.stdout is not None
        opened = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        # The page's security policy forbids the evaluation of strings, by which Playwright waits.
        page = opened.new_page(viewport={"width": 1280, "height": 720}, bypass_csp=True)
        page.goto(server.stdout.readline().strip())
        page.click("#wheel:has-text('Take the wheel')")
        page.wait_for_selector("#wheel:has-text('Release the wheel')")
        page.wait_for_function(f"/step (\\d+)/.exec(document.body.textContent)?.[1] >= {WARM_UP_STEPS}")
        shots = []
        for key, is_down in _story():
            if key is not None:
                (page.keyboard.down if is_down else page.keyboard.up)(key)
            elif is_down:
                shots.append(np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")))
            else:
                page.wait_for_timeout(10)
        opened.close()
    _write_gif(shots, out / "serve.gif")


def comparison(out: Path) -> None:
    """Pictures the tour in both worlds."""
    from demos import compare_worlds

    with tempfile.TemporaryDirectory() as directory:
        with contextlib.redirect_stdout(io.StringIO()):
            assert compare_worlds.main(["--out", directory, "--start", str(START)]) == 0
        film = list(imageio.imiter(Path(directory) / "compare_worlds.mp4"))
    _write_gif(film[:: 30 // FRAMES_A_SECOND], out / "compare_worlds.gif")


def _story() -> Iterator[tuple[str | None, bool]]:
    """Yields keys at their time, `None` with `True` when a picture is due, `None` with `False` in between."""
    began_s, events, shots = time.monotonic(), list(STORY), 0
    while shots < SECONDS * FRAMES_A_SECOND:
        now_s = time.monotonic() - began_s
        if events and now_s >= events[0][0]:
            yield events.pop(0)[1:]
        elif now_s >= shots / FRAMES_A_SECOND:
            shots += 1
            yield None, True
        else:
            time.sleep(PAUSE_S)
            yield None, False


def _write_gif(shots: Sequence[Any], file: Path) -> None:
    pictures = [Image.fromarray(shot) for shot in shots]
    size = GIF_WIDTH, round(GIF_WIDTH * pictures[0].height / pictures[0].width)
    small = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    # Median cut, the default, would give small things, such as hands and cubes, the colours of large ones.
    small = [picture.quantize(GIF_COLOURS, method=Image.Quantize.FASTOCTREE) for picture in small]
    content, options = io.BytesIO(), {"duration": 1000 // FRAMES_A_SECOND, "loop": 0, "optimize": True}
    small[0].save(content, "GIF", save_all=True, append_images=small[1:], **options)
    write_bytes(file, content.getvalue())


MAKERS: Final = {"teleop": teleop, "serve": browser, "compare_worlds": comparison}


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesConfig(CheckedFields):
    """Makes the pictures of the demos in the README."""

    demos: Positional[tuple[Literal["teleop", "serve", "compare_worlds"], ...]] = ()
    """Names of demos; by default all."""
    out: Path = Path("docs/images")
    """Directory for the pictures."""


def main() -> None:
    """Makes some of the pictures, or all of them."""
    config = parse_config(PicturesConfig, program="python -m docs.studies.pictures")
    for name in config.demos or MAKERS:
        MAKERS[name](config.out)


if __name__ == "__main__":
    main()
