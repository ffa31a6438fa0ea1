"""The window's main loop: reads keys, advances the drive, and draws it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import pygame

from demos.driving.actions import perform
from demos.driving.controls import HELD, PRESSED, Controls, Sticks
from demos.driving.drive import Drive
from demos.driving.session import Session
from demos.driving.status import error_probability
from demos.teleop.hud import SIZE, Hud, Picture
from demos.teleop.recorder import Recorder
from hwm_env.data.files import next_number, write_numbered
from hwm_env.envs.actions import bounds
from hwm_env.errors import SavingError

LOOPS_A_SECOND: Final = 120
"""More than the frame rate, so that no frame is late."""
STILL_S: Final = 0.1
"""Interval at which the window is drawn without a new frame."""
DEAD_ZONE: Final = 0.15
"""Axis values that count as 0, because released sticks do not return to the exact centre."""
KEPT_RISKS: Final = 60
SCREENSHOT: Final = "drive_{:03d}.png"


class App:
    """A window in which a person drives.

    Args:
        drive: the drive.
        bindings: actions by pygame's key code.
        task: name of the task, to show.
        out: directory for pictures and films.
    """

    def __init__(self, drive: Drive, bindings: dict[int, str], task: str | None, out: Path) -> None:
        self.drive = drive
        self.controls = Controls(drive.session.robot)
        self.message = ""
        self.frames_shown = 0
        """Number of frames shown so far."""
        self._bindings, self._task, self._out = bindings, task, out
        pygame.display.set_caption("hwm_env")
        self._screen = pygame.display.set_mode(SIZE, pygame.RESIZABLE)
        self._hud = Hud(self._screen, drive.session.scene, drive.session.robot, _names(bindings))
        self._clock = pygame.time.Clock()
        self._held: set[str] = set()
        self._gamepads: dict[int, pygame.joystick.JoystickType] = {}
        self._risks: dict[int, float] = {}
        self._times_s: list[float] = []
        self._drawn_s = float("-inf")
        self._recorder: Recorder | None = None
        self._card: Literal["start", "keys"] | None = "start"
        self._shows_numbers = False
        self._is_open = True

    def run(self) -> None:
        """Runs until the window is closed."""
        while self.update():
            self._clock.tick(LOOPS_A_SECOND)

    def update(self) -> bool:
        """Runs one iteration of the loop; returns whether the window is still open."""
        for event in pygame.event.get():
            self._handle(event)
        sticks = self._sticks()
        if sticks != Sticks():
            self._begin()
        self.drive.command(self.controls.command(self._held, sticks))
        has_changed = self.drive.tick()
        if has_changed:
            self._note()
        # Drawing slows the computing thread down, so it happens only if something has changed.
        now_s = pygame.time.get_ticks() / 1000
        if has_changed or now_s >= self._drawn_s + STILL_S:
            self._hud.draw(self.drive, self._picture())
            pygame.display.flip()
            self._drawn_s = now_s
        return self._is_open

    def screenshot(self) -> Path:
        """Saves the window as a PNG file, and returns its path.

        Raises:
            SavingError: the file cannot be written.
        """
        content = io.BytesIO()
        pygame.image.save(self._screen, content, SCREENSHOT)
        number = next_number(self._out, SCREENSHOT)
        return self._out / SCREENSHOT.format(write_numbered(self._out, SCREENSHOT, content.getvalue(), number))

    def _begin(self) -> None:
        """Removes the start screen."""
        if self._card == "start":
            self._card = None

    def _handle(self, event: pygame.event.Event) -> None:
        if event.type in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN, pygame.JOYBUTTONDOWN):
            self._begin()
        if event.type == pygame.QUIT:
            self._is_open = False
        elif event.type == pygame.JOYDEVICEADDED:
            gamepad = pygame.joystick.Joystick(event.device_index)
            self._gamepads[gamepad.get_instance_id()] = gamepad
        elif event.type == pygame.JOYDEVICEREMOVED:
            self._gamepads.pop(event.instance_id, None)
        elif event.type == pygame.WINDOWFOCUSLOST:
            # A window without focus receives no events of released keys.
            self._held.clear()
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            action = self._bindings.get(event.key)
            if action is None:
                return
            if action in HELD:
                (self._held.add if event.type == pygame.KEYDOWN else self._held.discard)(action)
            elif event.type == pygame.KEYDOWN:
                self._press(action)

    def _press(self, action: str) -> None:
        self.controls.press(action)
        perform(self.drive, action)
        if action == "quit":
            self._is_open = False
        elif action == "help":
            self._card = None if self._card == "keys" else "keys"
        elif action == "numbers":
            self._shows_numbers = not self._shows_numbers
        elif action == "screenshot":
            try:
                self.message = f"saved {self.screenshot()}"
            except SavingError as error:
                self.message = str(error)
        elif action == "record":
            self._record()

    def _record(self) -> None:
        """Begins a recording, or ends it and writes it in the session's thread."""
        if self._recorder is None:
            self._recorder = Recorder(self.drive.shown.snapshot.step)
            return
        recorder, self._recorder = self._recorder, None
        self.message = "writing the recording ..."

        def save(session: Session) -> None:
            try:
                self.message = recorder.save(session, self._out)
            except SavingError as error:
                self.message = str(error)

        self.drive.change(save)

    def _sticks(self) -> Sticks:
        """Returns the axes of the first gamepad: the left stick drives, the right stick looks."""
        for gamepad in self._gamepads.values():
            axes = [gamepad.get_axis(axis) for axis in range(gamepad.get_numaxes())] + [0.0] * 4
            turn, back, _, look = (value if abs(value) > DEAD_ZONE else 0.0 for value in axes[:4])
            return Sticks(forward=-back, turn=-turn, look=look)
        return Sticks()

    def _note(self) -> None:
        """Updates the statistics and the recording with a new frame."""
        shown = self.drive.shown
        self.frames_shown += 1
        self._times_s = [*self._times_s[-30:], pygame.time.get_ticks() / 1000]
        step, risk = shown.snapshot.step, error_probability(shown.snapshot)
        self._risks = {known: value for known, value in self._risks.items() if known < step}
        if risk is not None and step:
            self._risks[step] = risk
        if self._recorder is not None:
            self._recorder.add(shown)

    def _picture(self) -> Picture:
        spent_s = self._times_s[-1] - self._times_s[0] if self._times_s else 0.0
        return Picture(
            controls=self.controls,
            limits=bounds(self.drive.session.statistics, self.drive.session.robot),
            risks=list(self._risks.values())[-KEPT_RISKS:],
            task=self._task,
            message=self.message,
            card=self._card,
            shows_numbers=self._shows_numbers,
            is_recording=self._recorder is not None,
            frames_a_second=(len(self._times_s) - 1) / spent_s if spent_s else 0.0,
        )


def _names(bindings: Mapping[int, str]) -> dict[str, str]:
    """Returns the name of each action's key."""
    defaults = {action: key for action, (key, _) in {**HELD, **PRESSED}.items()}
    return defaults | {action: pygame.key.name(code) for code, action in bindings.items()}
