"""Cards over the pictures: the start screen, and the list of all keys."""

from collections.abc import Mapping
from typing import Final

import pygame

from demos.driving.controls import HELD, PRESSED
from demos.teleop.pen import DIM, GROUND, ORANGE, PALE, Pen

FIRST_KEYS: Final = (
    (("forward", "left", "back", "right"), "drive and turn"),
    (("look up", "look down"), "look up and down"),
    (("left arm up", "right arm up", "arms forward", "arms down"), "move the arms"),
    (("worlds",), "compare with the reference world"),
    (("rewind",), "undo a step"),
    (("pause",), "pause, continue"),
    (("next start",), "begin at another place"),
    (("help",), "all keys"),
)
"""Actions to begin with, and what they do."""
_LINE, _MARGIN = 26, 28


def draw_start(screen: pygame.Surface, pen: Pen, keys: Mapping[str, str]) -> None:
    """Draws what this is and which keys to begin with.

    Args:
        screen: the window.
        pen: writes the text.
        keys: name of each action's key.
    """
    card = _card(540, 2 * _MARGIN + 128 + _LINE * len(FIRST_KEYS))
    pen.write("Drive in a world that a model predicts", (_MARGIN, _MARGIN - 4), card, size=25)
    pen.write("A neural network paints every picture of the learned world,", (_MARGIN, 62), card, colour=PALE)
    pen.write("from the pictures before it and from your keys.", (_MARGIN, 82), card, colour=PALE)
    draw_first_keys(card, pen, keys, (_MARGIN, 116))
    pen.write("Press any key to begin", (_MARGIN, card.get_height() - _MARGIN - 18), card, colour=ORANGE, size=18)
    _show(screen, card)


def draw_first_keys(on: pygame.Surface, pen: Pen, keys: Mapping[str, str], place: tuple[int, int]) -> None:
    """Draws the keys to begin with, one line each, from an upper left corner."""
    x, y = place
    for line, (actions, text) in enumerate(FIRST_KEYS):
        pen.write(" ".join(keys[action] for action in actions), (x, y + _LINE * line), on, colour=ORANGE, size=17)
        pen.write(text, (x + 130, y + _LINE * line), on, size=17)


def draw_keys(screen: pygame.Surface, pen: Pen, keys: Mapping[str, str]) -> None:
    """Draws all keys."""
    texts = {action: text for action, (_, text) in {**HELD, **PRESSED}.items()}
    lines_per_column = -(-len(texts) // 2)
    card = _card(720, 2 * _MARGIN + 22 * lines_per_column)
    for index, (action, text) in enumerate(texts.items()):
        x = _MARGIN + 340 * (index // lines_per_column)
        y = _MARGIN + 22 * (index % lines_per_column)
        pen.write(keys[action], (x, y), card, colour=ORANGE)
        pen.write(text, (x + 96, y), card)
    _show(screen, card)


def _card(width: int, height: int) -> pygame.Surface:
    card = pygame.Surface((width, height), pygame.SRCALPHA)
    pygame.draw.rect(card, DIM, card.get_rect(), border_radius=12)
    return card


def _show(screen: pygame.Surface, card: pygame.Surface) -> None:
    """Dims the window, and shows a card in its middle, smaller if the window is."""
    shade = pygame.Surface(screen.get_size(), pygame.SRCALPHA)
    shade.fill((*GROUND, 150))
    screen.blit(shade, (0, 0))
    width, height = (max(side - 16, 1) for side in screen.get_size())
    scale = min(1.0, width / card.get_width(), height / card.get_height())
    if scale < 1:
        card = pygame.transform.smoothscale_by(card, scale)
    screen.blit(card, card.get_rect(center=screen.get_rect().center))
