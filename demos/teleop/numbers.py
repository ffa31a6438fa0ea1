"""Draws the robot in numbers: a stick figure, a bar for each joint, and lines of text."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pygame

from demos.driving.status import figure
from demos.teleop.pen import BLUE, DIM, GREEN, INK, ORANGE, PALE, Colour, Pen
from hwm_env.robot import Robot
from hwm_env.types import ACTION_NAMES, Float32Array

BAR: Final = 12
"""Height of a joint's line."""
LINE: Final = 19
_COLOURS: Final[dict[str, Colour]] = {"left": ORANGE, "right": BLUE, "body": INK}


def draw_figure(screen: pygame.Surface, pen: Pen, box: pygame.Rect, state: Float32Array) -> None:
    """Draws the robot from the side and from behind, for a state [25]."""
    pygame.draw.rect(screen, DIM, box, border_radius=4)
    scale = (box.height - 28) / 1.6
    for middle, (name, bones) in zip((0.27, 0.74), figure(state).items(), strict=True):
        for side, *ends in bones:
            start, end = ((box.x + middle * box.width + scale * x, box.bottom - 6 - scale * z) for x, z in ends)
            pygame.draw.line(screen, _COLOURS[side], start, end, 3)
        pen.write(
            name, (box.x + round(middle * box.width - pen.width(name, 12) / 2), box.y + 4), screen, colour=PALE, size=13
        )


def draw_lines(
    screen: pygame.Surface, pen: Pen, box: pygame.Rect, lines: Sequence[tuple[str, str]], label: int
) -> None:
    """Draws pairs of a name and a text, one below the other; names take `label` pixels."""
    for line, (name, text) in enumerate(lines):
        y = box.y + LINE * line
        pen.write(name, (box.x, y), screen, colour=PALE)
        pen.write(text, (box.x + label, y), screen, width=box.width - label)


def draw_bars(
    screen: pygame.Surface,
    pen: Pen,
    box: pygame.Rect,
    robot: Robot,
    state: Float32Array,
    limits: tuple[Float32Array, Float32Array],
    chosen: str,
) -> None:
    """Draws each of the robot's joints between its limits, with a mark at zero.

    Args:
        screen: the window.
        pen: writes the text.
        box: where to draw.
        robot: the robot.
        state: its state, [25].
        limits: lowest and highest value of each number, [25] each.
        chosen: the robot's name of the chosen joint.
    """
    left, width = box.x + 128, box.width - 128 - 46
    for line, (index, name) in enumerate(zip(robot.indices, robot.names, strict=True)):
        value, low, high = state[index], limits[0][index], limits[1][index]
        top, colour = box.y + BAR * line, INK if name == chosen else PALE
        pen.write(name.replace("_", " "), (box.x, top - 2), screen, colour=colour, size=13, width=124)
        pygame.draw.rect(screen, DIM, (left, top + 1, width, BAR - 3))
        span = max(float(high - low), 1e-6)
        zero, now = (left + width * float(np.clip((number - low) / span, 0, 1)) for number in (0.0, value))
        shade = _COLOURS.get(ACTION_NAMES[index].split("_")[0], GREEN)
        pygame.draw.rect(screen, shade, (min(zero, now), top + 1, max(abs(now - zero), 2), BAR - 3))
        pygame.draw.line(screen, INK, (zero, top + 1), (zero, top + BAR - 3))
        pen.write(f"{value:+.2f}", (left + width + 8, top - 2), screen, colour=colour, size=13)
