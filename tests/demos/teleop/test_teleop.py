"""The window, driven by synthetic key events, with the tiny checkpoint."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pygame")

import pygame

from demos.driving.controls import HELD, PRESSED
from demos.driving.drive import Drive
from demos.driving.floor_plan import FloorPlan
from demos.driving.session import Session, SessionConfig
from demos.panels import smooth
from demos.teleop.__main__ import main
from demos.teleop.app import App
from demos.teleop.keys import load_bindings
from demos.teleop.layout import arrange
from hwm_env.errors import InvalidInputError
from hwm_env.reference.rendering import can_render
from hwm_env.replay import Replay
from hwm_env.types import ACTION_NAMES, UInt8Array
from tests.demos.checkpoints import save_tiny_checkpoint


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    pygame.font.init()
    pygame.joystick.init()
    yield
    pygame.quit()


LONGEST_S = 300.0
"""Longer than anything takes on a busy machine."""
FASTER = 8
"""Frames are due as many times sooner than for people."""


class Driver:
    """A driver who presses keys."""

    def __init__(self, config: SessionConfig, out: Path) -> None:
        self.app = App(
            Drive(lambda: Session(config), clock=lambda: FASTER * time.monotonic()),
            load_bindings(None),
            config.task,
            out,
        )
        self.drive = self.app.drive

    def press(self, key: str) -> None:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(key)))

    def release(self, key: str) -> None:
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.key.key_code(key)))

    def tap(self, key: str) -> None:
        self.press(key)
        self.release(key)
        self.app.update()

    def until(self, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + LONGEST_S
        while not holds():
            assert time.monotonic() < ends, "it never came to that"
            assert self.app.update()
            time.sleep(0.002)

    def take_steps(self, count: int) -> None:
        """While paused."""
        for _ in range(count):
            self.tap(".")
            self.until(lambda: self.drive.is_idle)


@pytest.fixture
def driver(window: None, tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Driver]:
    made = Driver(SessionConfig(checkpoint=str(tiny_checkpoint), task="face-target", start=1), tmp_path)
    yield made
    made.drive.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("drive")]


def velocities(driver: Driver) -> list[float]:
    return [float(number) for number in driver.drive.shown.snapshot.state[-2:]]


@pytest.mark.slow
def test_keys_drive_while_they_are_held(driver: Driver) -> None:
    driver.tap("space")
    driver.until(lambda: driver.drive.is_idle)
    driver.press("w")
    driver.press("a")
    driver.take_steps(3)
    assert min(velocities(driver)) > 0.2
    driver.release("w")
    driver.take_steps(3)
    assert velocities(driver)[0] == pytest.approx(0)
    assert velocities(driver)[1] > 0.2


@pytest.mark.slow
def test_an_arm_stays_where_it_is_moved_after_a_gesture(driver: Driver) -> None:
    elbow = ACTION_NAMES.index("left_elbow_pitch")
    driver.tap("space")
    driver.until(lambda: driver.drive.is_idle)
    driver.tap("i")
    driver.take_steps(4)
    assert driver.drive.shown.snapshot.state[elbow] == pytest.approx(0.9, abs=1e-5)
    for _ in range(3):
        driver.tap("e")
    assert driver.app.controls.joint == "left_elbow_pitch"
    driver.press("z")
    driver.take_steps(1)
    driver.release("z")
    moved = driver.drive.shown.snapshot.state[elbow]
    assert moved < 0.7
    driver.take_steps(3)
    assert driver.drive.shown.snapshot.state[elbow] == pytest.approx(moved, abs=1e-5)


@pytest.mark.slow
def test_pausing_stops_and_a_branch_has_equal_pictures_until_it_begins(driver: Driver) -> None:
    driver.tap("space")
    driver.until(lambda: driver.drive.is_idle)
    begun = driver.drive.shown.snapshot.step
    driver.press("d")
    driver.take_steps(2)
    branch = driver.drive.shown
    assert branch.snapshot.step == begun + 2
    driver.take_steps(1)
    one = driver.drive.shown
    driver.tap("backspace")
    driver.until(lambda: driver.drive.is_idle)
    np.testing.assert_array_equal(driver.drive.shown.frames["learned"], branch.frames["learned"])
    driver.take_steps(1)
    np.testing.assert_array_equal(driver.drive.shown.frames["learned"], one.frames["learned"])
    driver.tap("backspace")
    driver.release("d")
    driver.press("a")
    driver.take_steps(1)
    assert driver.drive.shown.snapshot.step == one.snapshot.step
    assert (driver.drive.shown.frames["learned"] != one.frames["learned"]).any()


def test_settings_change_while_it_drives(driver: Driver) -> None:
    before = driver.drive.session.decoding
    for key in ("f6", "f7"):
        driver.tap(key)
        driver.until(lambda: driver.drive.session.decoding != before)
    driver.until(lambda: driver.drive.session.decoding.temperature == pytest.approx(before.temperature - 0.1))
    assert driver.drive.session.decoding.steps == before.steps + 1
    driver.tap("return")
    driver.until(lambda: driver.drive.shown.snapshot.step == 0)
    driver.tap("n")
    driver.until(lambda: driver.drive.session.start == 2)
    driver.tap("m")
    driver.until(lambda: driver.drive.session.seed == 1)
    assert driver.drive.error is None


def test_worlds_are_shown_in_turn(driver: Driver) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    for expected in (("reference",), ("learned", "reference"), ("learned",)):
        driver.tap("tab")
        driver.until(lambda expected=expected: tuple(driver.drive.shown.frames) == expected)


@pytest.mark.slow
def test_films_replays_and_pictures_are_saved(driver: Driver, tmp_path: Path) -> None:
    driver.tap("f9")
    first = driver.drive.shown.snapshot.step
    driver.until(lambda: driver.drive.shown.snapshot.step >= first + 2)
    driver.tap("f9")
    driver.until(lambda: driver.app.message.startswith("recorded"))
    replay = Replay.load(tmp_path / "drive_000.npz")
    assert len(replay.actions) >= 2
    assert (tmp_path / "drive_000.mp4").stat().st_size > 1000
    driver.tap("h")
    driver.tap("f12")
    picture = pygame.image.load(tmp_path / "drive_000.png")
    assert picture.get_size() == (1280, 720)
    # Numbers continue after the highest one, whatever has been removed.
    (tmp_path / "drive_000.png").rename(tmp_path / "drive_007.png")
    driver.tap("f12")
    assert (tmp_path / "drive_008.png").exists()


def test_a_gamepad_drives(driver: Driver) -> None:
    class Gamepad:
        def get_numaxes(self) -> int:
            return 4

        def get_axis(self, axis: int) -> float:
            return (-0.5, -1.0, 0.05, 0.1)[axis]

    driver.app._gamepads[0] = Gamepad()  # type: ignore[assignment]
    driver.tap("space")
    driver.until(lambda: driver.drive.is_idle)
    driver.take_steps(3)
    top = driver.drive.session.statistics.high[-2:]
    assert velocities(driver) == pytest.approx([top[0], 0.5 * top[1]], abs=1e-5)
    assert driver.app._sticks().look == 0


def picture_of(driver: Driver) -> UInt8Array:
    """The window, [720, 1280, 3], without the start screen."""
    driver.app._begin()
    driver.app._hud.draw(driver.drive, driver.app._picture())
    seen: UInt8Array = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    return seen


def part(seen: Any, box: pygame.Rect | None) -> Any:
    assert box is not None
    return seen[box.top : box.bottom, box.left : box.right]


@pytest.mark.parametrize("size", [(1280, 720), (720, 900)], ids=["beside the world", "in its corner"])
def test_the_plan_is_seen(window: None, tmp_path: Path, size: tuple[int, int]) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path)
    driver = Driver(SessionConfig(checkpoint=str(checkpoint), task=None, start=1), tmp_path)
    pygame.display.set_mode(size, pygame.RESIZABLE)
    driver.tap("space")
    driver.until(lambda: driver.drive.is_idle)
    scene = driver.drive.session.scene
    assert scene is not None
    layout = arrange(size, 1, shows_numbers=False)
    assert layout.plan is not None
    assert layout.plan.colliderect(layout.worlds[0]) == (layout.panel is None)
    plan = FloorPlan(scene.odometry, layout.plan.width)
    before = plan.draw(driver.drive.shown.tracks)
    np.testing.assert_array_equal(part(picture_of(driver), layout.plan), before)
    driver.press("w")
    driver.take_steps(2)
    after = part(picture_of(driver), layout.plan)
    np.testing.assert_array_equal(after, plan.draw(driver.drive.shown.tracks))
    assert (after != before).any()
    driver.drive.close()


def test_without_a_scene_there_is_no_plan(driver: Driver) -> None:
    pygame.display.set_mode((720, 900), pygame.RESIZABLE)
    layout, seen = arrange((720, 900), 1, shows_numbers=False), picture_of(driver)
    (world,), frame = layout.worlds, driver.drive.shown.frames["learned"]
    expected = np.zeros(seen.shape, int)
    expected[world.top : world.bottom, world.left : world.right] = smooth(frame, world.width)
    # The picture is where the plan would be, which is light grey; it is enlarged in two steps.
    assert np.abs(part(seen, layout.plan) - part(expected, layout.plan)).mean() < 8


def test_the_start_screen_goes_at_the_first_key(driver: Driver) -> None:
    driver.app._hud.draw(driver.drive, driver.app._picture())
    seen = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    driver.tap("space")
    assert driver.drive.paused
    assert driver.app._picture().card is None
    assert (picture_of(driver)[360, 400:900] != seen[360, 400:900]).any()


def test_cards_come_and_go(driver: Driver) -> None:
    driver.tap("h")
    assert driver.app._picture().card == "keys"
    driver.tap("h")
    assert driver.app._picture().card is None
    driver.tap("b")
    assert driver.app._picture().shows_numbers


@pytest.mark.parametrize("size", [(1, 1), (200, 150), (640, 480), (1000, 1400), (2560, 1440)], ids=str)
def test_a_window_of_any_size_is_drawn(driver: Driver, size: tuple[int, int]) -> None:
    pygame.display.set_mode(size, pygame.RESIZABLE)
    for key in ("b", "h"):
        driver.app._hud.draw(driver.drive, driver.app._picture())
        driver.tap(key)
    driver.app._hud.draw(driver.drive, driver.app._picture())
    surface = pygame.display.get_surface()
    assert surface is not None
    assert surface.get_size() == size


@pytest.mark.slow
def test_no_frame_is_skipped_or_shown_twice(driver: Driver) -> None:
    """The window shows all frames of each step in order."""
    driver.until(lambda: driver.drive.shown.snapshot.step >= 1)
    seen: list[Any] = []
    while driver.drive.shown.snapshot.step < 4:
        before = driver.app.frames_shown
        driver.app.update()
        if driver.app.frames_shown > before:
            seen.append(driver.drive.shown)
    assert len({id(shown) for shown in seen}) == len(seen)
    assert [sum(shown.snapshot.step == wanted for shown in seen) for wanted in (2, 3)] == [17, 17]


# Keys and command line


def test_every_action_has_a_key(window: None) -> None:
    assert sorted(load_bindings(None).values()) == sorted([*HELD, *PRESSED])


def test_other_keys(window: None, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"forward": "k"}))
    bindings = load_bindings(file)
    assert bindings[pygame.K_k] == "forward"
    assert pygame.K_w not in bindings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"forwards": "k"}', "there is no action forwards; actions are arms down"),
        ('{"forward": "no such key"}', "there is no key 'no such key'"),
        ('{"forward": "s"}', "bound to both"),
        ('["forward"]', "expected an object like"),
        ("{", "cannot be read"),
        (None, "found nothing"),
    ],
)
def test_keys_that_mean_nothing(window: None, tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        load_bindings(file)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--checkpoint", "nowhere"], {}, "nowhere"),
        (["--start", "1000000"], {}, "start must be 0 to"),
        (["--task", "juggle"], {}, "juggle"),
        (["--keys", "nowhere.json"], {}, "nowhere.json, found nothing"),
        ([], {"SDL_VIDEODRIVER": "x11", "DISPLAY": ":987"}, "no display to open a window on"),
    ],
)
def test_bad_input_is_exit_status_2(
    arguments: list[str],
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"SDL_VIDEODRIVER": "dummy", **environment}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not pygame.display.get_init()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_the_process_ends_with_2() -> None:
    hidden = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
    done = subprocess.run(
        [sys.executable, "-m", "demos.teleop"],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        env={name: value for name, value in os.environ.items() if name not in hidden},
    )
    assert done.returncode == 2
    assert (
        "no display to open a window on (SDL would draw offscreen); `python -m demos.serve` drives in a browser"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
