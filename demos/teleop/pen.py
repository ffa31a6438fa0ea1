"""Writes text on the window, and the colours of everything."""

import io
from collections.abc import Mapping
from typing import Final

import pygame
from PIL import ImageFont

from demos.driving.session import WorldName

Colour = tuple[int, int, int]
INK, PALE, GROUND, DIM = (236, 236, 236), (160, 164, 172), (22, 24, 28), (44, 48, 56)
BLUE, ORANGE, GREEN, RED = (86, 180, 233), (230, 159, 0), (0, 158, 115), (235, 110, 40)
"""From the colour-blind-safe palette of Okabe and Ito (https://jfly.uni-koeln.de/color/)."""
WORLD_COLOURS: Final[Mapping[WorldName, Colour]] = {"learned": ORANGE, "reference": BLUE}


def risk_colour(probability: float) -> Colour:
    """Returns the colour of a probability that something is wrong."""
    return GREEN if probability < 0.2 else ORANGE if probability < 0.5 else RED


class Pen:
    """Writes text in the font that comes with Pillow, which is the same everywhere."""

    def __init__(self) -> None:
        self._content: bytes | None = getattr(ImageFont.load_default(16), "font_bytes", None)
        self._fonts: dict[int, pygame.font.Font] = {}

    def write(
        self,
        text: str,
        place: tuple[int, int],
        on: pygame.Surface,
        *,
        colour: Colour = INK,
        size: int = 17,
        width: int | None = None,
    ) -> None:
        """Writes a line.

        Args:
            text: the line.
            place: its upper left corner.
            on: the surface to write on.
            colour: colour of the text.
            size: height of the font in pixels.
            width: longer text is cut off with dots; `None`: it is written in full.
        """
        on.blit(self._font(size).render(self._cut(text, size, width), True, colour), place)

    def width(self, text: str, size: int = 17) -> int:
        """Returns the width of a line in pixels."""
        return self._font(size).size(text)[0]

    def _cut(self, text: str, size: int, width: int | None) -> str:
        if width is None or self.width(text, size) <= width:
            return text
        while text and self.width(text + "…", size) > width:
            text = text[:-1]
        return text + "…"

    def _font(self, size: int) -> pygame.font.Font:
        if size not in self._fonts:
            self._fonts[size] = pygame.font.Font(None if self._content is None else io.BytesIO(self._content), size)
        return self._fonts[size]
