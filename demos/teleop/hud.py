"""Draws the window: the worlds and the status of the drive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pygame

from demos.driving.controls import HELD, PRESSED, Controls
from demos.driving.drive import Drive
from demos.driving.floor_plan import FloorPlan, captions
from demos.driving.session import WorldName
from demos.driving.status import figure, lines
from demos.driving.track import Track
from hwm_env.robot import EVE, Robot
from hwm_env.scene.scene import Scene
from hwm_env.types import ACTION_NAMES, Float32Array, UInt8Array

SIZE: Final = (1280, 720)
_MIDDLE_Y: Final = 330
_TEXT_X: Final = 842
_PLAN_PIXELS: Final = 192
_INK, _PALE, _GROUND = (236, 236, 236), (150, 154, 160), (22, 24, 28)
_BLUE, _ORANGE, _GREEN = (86, 180, 233), (230, 159, 0), (0, 158, 115)
"""Colours of the colour-blind-safe palette of Okabe and Ito (https://jfly.uni-koeln.de/color/)."""
_COLOURS: Final = {"left": _ORANGE, "right": _BLUE, "body": _INK}
_WORLD_COLOURS: Final[Mapping[WorldName, tuple[int, int, int]]] = {"learned": _ORANGE, "reference": _BLUE}
_LABELS: Final = {"learned": "learned world", "reference": "reference world"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What the window shows besides the drive."""

    controls: Controls
    low: Float32Array
    """Lowest value of each number, [25]."""
    high: Float32Array
    """Highest value of each number, [25]."""
    confidences: Sequence[float]
    """Confidence of the newest env steps in the learned world, nats per token, oldest first."""
    task: str | None
    message: str
    """One line for the driver."""
    shows_help: bool
    is_recording: bool
    frames_a_second: float


class Hud:
    """Draws on a window of SIZE pixels.

    Args:
        screen: the window.
        scene: scene of the learned world; `None`: no floor plan is drawn.
        robot: the robot; a stick figure is drawn of EVE only.
    """

    def __init__(self, screen: pygame.Surface, scene: Scene | None, robot: Robot = EVE) -> None:
        self._screen, self._robot = screen, robot
        self._plan = None if scene is None else FloorPlan(scene.odometry, _PLAN_PIXELS)
        self._fonts = {size: pygame.font.Font(None, size) for size in (16, 20)}

    def draw(self, drive: Drive, picture: Picture) -> None:
        """Draws everything."""
        self._screen.fill(_GROUND)
        self._draw_worlds(drive.shown.frames)
        self._draw_text(drive, picture)
        if self._plan is not None:
            self._draw_plan(self._plan, drive.shown.tracks)
        shown = drive.shown.snapshot
        if self._robot == EVE:
            self._draw_figure(pygame.Rect(_TEXT_X, 200, 190, 160), shown.state)
        self._draw_confidence(pygame.Rect(_TEXT_X + 216, 200, 206, 160), picture.confidences)
        self._draw_bars(shown.state, picture)
        self._draw_status(drive, picture)
        if picture.shows_help:
            self._draw_help()

    def _draw_worlds(self, frames: Mapping[WorldName, UInt8Array]) -> None:
        side = 620 if len(frames) == 1 else 404
        for place, (name, frame) in enumerate(frames.items()):
            # The floor plan is to the right of a single world, and below two.
            left = 105 if len(frames) == 1 and self._plan is None else 8 + place * (side + 10)
            top = _MIDDLE_Y + 10 - side // 2 if self._plan is None else 30
            surface = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
            self._screen.blit(pygame.transform.smoothscale(surface, (side, side)), (left, top))
            self._write(_LABELS[name], (left, top - 20), colour=_WORLD_COLOURS[name])

    def _draw_plan(self, plan: FloorPlan, tracks: Mapping[WorldName, Track]) -> None:
        left, top = (636, 458) if len(tracks) == 1 else (220, 458)
        self._screen.blit(pygame.surfarray.make_surface(plan.draw(tracks).swapaxes(0, 1)), (left, top))
        for line, (name, text) in enumerate(captions(tracks).items()):
            place = (left, top - 16) if len(tracks) == 1 else (left + _PLAN_PIXELS + 12, top + 4 + 18 * line)
            self._write(text, place, colour=_WORLD_COLOURS[name], size=16)

    def _draw_text(self, drive: Drive, picture: Picture) -> None:
        shown = [*lines(drive, picture.controls, picture.task), ("frames", f"{picture.frames_a_second:.0f} a second")]
        for line, (name, text) in enumerate(shown):
            self._write(name, (_TEXT_X, 8 + 21 * line), colour=_PALE)
            self._write(text, (_TEXT_X + 78, 8 + 21 * line))

    def _draw_figure(self, box: pygame.Rect, state: Float32Array) -> None:
        pygame.draw.rect(self._screen, _PALE, box, 1)
        scale = box.height / 1.75
        for middle, (name, bones) in zip((0.27, 0.74), figure(state).items(), strict=True):
            for side, *ends in bones:
                start, end = ((box.x + middle * box.width + scale * x, box.bottom - 8 - scale * z) for x, z in ends)
                pygame.draw.line(self._screen, _COLOURS[side], start, end, 3)
            self._write(name, (box.x + round(middle * box.width) - 14, box.y + 3), colour=_PALE, size=16)

    def _draw_confidence(self, box: pygame.Rect, confidences: Sequence[float]) -> None:
        """Draws the confidence of the newest env steps; 0 is at the top."""
        pygame.draw.rect(self._screen, _PALE, box, 1)
        self._write("confidence, nats per token", (box.x + 6, box.y + 3), colour=_PALE, size=16)
        if not confidences:
            return
        lowest = min(-1.0, *confidences)
        inner = box.inflate(-24, -60).move(0, -2)
        points = [
            (inner.x + inner.width * index / max(len(confidences) - 1, 1), inner.y + inner.height * value / lowest)
            for index, value in enumerate(confidences)
        ]
        if len(points) > 1:
            pygame.draw.lines(self._screen, _GREEN, False, points, 2)
        pygame.draw.circle(self._screen, _INK, points[-1], 4)
        self._write(f"{confidences[-1]:.2f}", (box.x + 6, box.bottom - 18), size=16)

    def _draw_bars(self, state: Float32Array, picture: Picture) -> None:
        """Draws each of the robot's joints between its limits, with a mark at zero."""
        for line, (index, name) in enumerate(zip(self._robot.indices, self._robot.names, strict=True)):
            value, low, high = state[index], picture.low[index], picture.high[index]
            top, left, width = 370 + 13 * line, _TEXT_X + 148, 220
            is_chosen = name == picture.controls.joint
            self._write(name.replace("_", " "), (_TEXT_X, top - 2), colour=_INK if is_chosen else _PALE, size=16)
            pygame.draw.rect(self._screen, (58, 62, 70), (left, top, width, 9))
            span = max(float(high - low), 1e-6)
            zero, now = (left + width * float(np.clip((number - low) / span, 0, 1)) for number in (0.0, value))
            colour = _COLOURS.get(ACTION_NAMES[index].split("_")[0], _GREEN)
            pygame.draw.rect(self._screen, colour, (min(zero, now), top, max(abs(now - zero), 2), 9))
            pygame.draw.line(self._screen, _INK, (zero, top), (zero, top + 8))
            self._write(f"{value:+.2f}", (left + width + 8, top - 2), colour=_INK if is_chosen else _PALE, size=16)

    def _draw_status(self, drive: Drive, picture: Picture) -> None:
        states = [
            ("PAUSED", drive.paused),
            ("RECORDING", picture.is_recording),
            (f"{drive.shown.snapshot.rewinds} steps can be rewound", True),
            ("h: help", True),
        ]
        self._write("   ".join(text for text, holds in states if holds), (12, 672))
        self._write(drive.error or picture.message, (12, 695), colour=_ORANGE if drive.error else _PALE)

    def _draw_help(self) -> None:
        panel = pygame.Surface((780, 470))
        panel.fill((38, 42, 50))
        actions = list({**HELD, **PRESSED}.values())
        lines_per_column = -(-len(actions) // 2)
        for index, (key, text) in enumerate(actions):
            x, y = 24 + 385 * (index // lines_per_column), 20 + 25 * (index % lines_per_column)
            self._write(key, (x, y), colour=_ORANGE, on=panel)
            self._write(text, (x + 110, y), on=panel)
        self._screen.blit(panel, (25, 100))

    def _write(
        self,
        text: str,
        place: tuple[int, int],
        *,
        colour: tuple[int, int, int] = _INK,
        size: int = 20,
        on: pygame.Surface | None = None,
    ) -> None:
        (on or self._screen).blit(self._fonts[size].render(text, True, colour), place)
