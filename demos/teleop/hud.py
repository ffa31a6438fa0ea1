"""Draws the window: the worlds, the floor plan, and what the drive has to tell."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pygame

from demos.driving.controls import Controls
from demos.driving.drive import Drive
from demos.driving.floor_plan import FloorPlan, captions
from demos.driving.session import WorldName
from demos.driving.status import error_probability, numbers, percentage, sentences
from demos.driving.track import Track
from demos.panels import smooth
from demos.teleop.cards import draw_first_keys, draw_keys, draw_start
from demos.teleop.layout import GAP, arrange
from demos.teleop.numbers import LINE, draw_bars, draw_figure, draw_lines
from demos.teleop.pen import DIM, GROUND, INK, ORANGE, PALE, RED, WORLD_COLOURS, Pen, risk_colour
from hwm_env.robot import EVE, Robot
from hwm_env.scene.scene import Scene
from hwm_env.types import Float32Array, UInt8Array

SIZE: Final = (1280, 720)
"""Size of the window when it opens."""
_SMOOTH_PIXELS: Final = 256
"""Size to which small frames are enlarged by cubic interpolation, before linear interpolation does the rest."""
_LABELS: Final = {"learned": "learned world: predicted", "reference": "reference world: the truth"}
_PLOT: Final = (190, 74)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the window shows besides the drive."""

    controls: Controls
    limits: tuple[Float32Array, Float32Array]
    """Lowest and highest value of each number, [25] each."""
    risks: Sequence[float]
    """Error probability of the newest env steps in the learned world, oldest first."""
    task: str | None
    message: str
    """One line for the driver."""
    card: Literal["start", "keys"] | None
    """What covers the pictures."""
    shows_numbers: bool
    is_recording: bool
    frames_a_second: float


class Hud:
    """Draws on a window of any size.

    Args:
        screen: the window.
        scene: scene of the learned world; `None`: no floor plan is drawn.
        robot: the robot; a stick figure is drawn of EVE only.
        keys: name of each action's key.
    """

    def __init__(self, screen: pygame.Surface, scene: Scene | None, robot: Robot, keys: Mapping[str, str]) -> None:
        self._screen, self._scene, self._robot, self._keys = screen, scene, robot, keys
        self._plans: dict[int, FloorPlan] = {}
        self._pen = Pen()

    def draw(self, drive: Drive, picture: Picture) -> None:
        """Draws everything."""
        shown = drive.shown
        layout = arrange(self._screen.get_size(), len(shown.frames), shows_numbers=picture.shows_numbers)
        self._screen.fill(GROUND)
        for box, (name, frame) in zip(layout.worlds, shown.frames.items(), strict=True):
            self._draw_world(box, name, frame)
        if layout.panel is not None:
            self._draw_panel(layout.panel, layout.plan, drive, picture)
        if self._scene is not None and layout.plan is not None:
            self._draw_plan(self._scene, layout.plan, shown.tracks)
        self._draw_footer(layout.footer, drive, picture)
        if picture.card == "start":
            draw_start(self._screen, self._pen, self._keys)
        elif picture.card == "keys":
            draw_keys(self._screen, self._pen, self._keys)

    def _draw_world(self, box: pygame.Rect, name: WorldName, frame: UInt8Array) -> None:
        surface = pygame.surfarray.make_surface(smooth(frame, max(_SMOOTH_PIXELS, len(frame))).swapaxes(0, 1))
        self._screen.blit(pygame.transform.smoothscale(surface, box.size), box)
        label = pygame.Surface((self._pen.width(_LABELS[name]) + 20, 26), pygame.SRCALPHA)
        pygame.draw.rect(label, (*GROUND, 215), label.get_rect(), border_radius=5)
        self._pen.write(_LABELS[name], (10, 5), label, colour=WORLD_COLOURS[name])
        self._screen.blit(label, (box.x + GAP, box.y + GAP), (0, 0, box.width - 2 * GAP, 26))

    def _draw_plan(self, scene: Scene, box: pygame.Rect, tracks: Mapping[WorldName, Track]) -> None:
        if box.width not in self._plans:
            self._plans[box.width] = FloorPlan(scene.odometry, box.width)
        picture = self._plans[box.width].draw(tracks)
        pygame.draw.rect(self._screen, GROUND, box.inflate(4, 4), border_radius=3)
        self._screen.blit(pygame.surfarray.make_surface(picture.swapaxes(0, 1)), box)

    def _draw_panel(self, box: pygame.Rect, plan: pygame.Rect | None, drive: Drive, picture: Picture) -> None:
        """Draws the stick figure beside the floor plan, and below them the keys or the numbers."""
        shown, has_plan, top = drive.shown, self._scene is not None and plan is not None, box.y
        if plan is not None:
            left = plan.right + GAP if has_plan else box.x
            if self._robot == EVE:
                figure = pygame.Rect(left, box.y, box.right - left, plan.height)
                draw_figure(self._screen, self._pen, figure, shown.snapshot.state)
            top = plan.bottom + GAP
        if has_plan:
            left = box.x
            for name, text in captions(shown.tracks).items():
                self._pen.write(text, (left, top), self._screen, colour=WORLD_COLOURS[name])
                left += self._pen.width(text) + 2 * GAP
            top += LINE
        below = pygame.Rect(box.x, top + GAP, box.width, box.bottom - top)
        if picture.shows_numbers:
            self._draw_numbers(below, drive, picture)
        else:
            draw_first_keys(self._screen, self._pen, self._keys, below.topleft)

    def _draw_numbers(self, box: pygame.Rect, drive: Drive, picture: Picture) -> None:
        lines = dict(numbers(drive, picture.controls))
        lines["frames"] += f", {picture.frames_a_second:.0f} a second"
        bars = pygame.Rect(box.x, box.y + LINE * len(lines) + GAP, box.width, box.height)
        if box.width >= 600:
            box, bars = pygame.Rect(box.topleft, (290, box.height)), box.move(302, 4)
            bars.width -= 302
        draw_lines(self._screen, self._pen, box, list(lines.items()), 92)
        state, chosen = drive.shown.snapshot.state, picture.controls.joint
        draw_bars(self._screen, self._pen, bars, self._robot, state, picture.limits, chosen)

    def _draw_footer(self, box: pygame.Rect, drive: Drive, picture: Picture) -> None:
        """Draws sentences on the left, states and messages in the middle, and the plot on the right."""
        plot = pygame.Rect((box.right - _PLOT[0], box.y + 4), _PLOT)
        has_plot = box.width >= 900 and error_probability(drive.shown.snapshot) is not None
        half = pygame.Rect(box.x, box.y + 4, min(round(0.68 * box.width), 530), box.height)
        draw_lines(self._screen, self._pen, half, sentences(drive, picture.task), 58)
        left, width = half.right + GAP, (plot.x if has_plot else box.right) - half.right - 2 * GAP
        hints = {"help": "all keys", "numbers": "numbers", "worlds": "other worlds"}
        hint = "    ".join(f"{self._keys[action]}: {text}" for action, text in hints.items())
        states = [("PAUSED", drive.paused), ("RECORDING", picture.is_recording)]
        flags = "    ".join(text for text, holds in states if holds)
        message, colour = (drive.error, RED) if drive.error else (picture.message, INK)
        wrapped = textwrap.wrap(message, max(width // 8, 1), max_lines=2, placeholder=" …")
        texts = [(hint, PALE), (flags, ORANGE), *((line, colour) for line in wrapped)]
        for line, (text, colour) in enumerate(texts):
            self._pen.write(text, (left, half.y + LINE * line), self._screen, colour=colour, width=width)
        if has_plot:
            self._draw_risks(plot, picture.risks)

    def _draw_risks(self, box: pygame.Rect, risks: Sequence[float]) -> None:
        """Draws the error probability of the newest env steps, 0 to 1."""
        pygame.draw.rect(self._screen, DIM, box, border_radius=4)
        self._pen.write("probability of a wrong picture", (box.x + 6, box.y + 4), self._screen, colour=PALE, size=13)
        if not risks:
            return
        inner = pygame.Rect(box.x + 8, box.y + 24, box.width - 60, box.height - 32)
        points = [
            (inner.x + inner.width * index / max(len(risks) - 1, 1), inner.bottom - inner.height * risk)
            for index, risk in enumerate(risks)
        ]
        colour = risk_colour(risks[-1])
        pygame.draw.line(self._screen, PALE, inner.bottomleft, inner.bottomright)
        if len(points) > 1:
            pygame.draw.lines(self._screen, colour, False, points, 2)
        pygame.draw.circle(self._screen, colour, points[-1], 4)
        text = percentage(risks[-1]).replace("less than", "<").replace("more than", ">")
        self._pen.write(text, (inner.right + 10, inner.centery - 8), self._screen, colour=colour)
