"""Where the parts of the window are: pictures as large as its size allows, and the rest around them."""

from dataclasses import dataclass
from typing import Final

from pygame import Rect

GAP: Final = 8
FOOTER: Final = 92
"""Height of the status lines."""
NARROWEST_PANEL, WIDEST_PANEL = 336, 660
PLAN_SIZES: Final = (256, 192, 128, 96)
"""Sides of a floor plan in pixels; few, because each is drawn from the scene once."""
_PLAN_SHARE: Final = 0.34
"""Largest share of a picture's side that a floor plan may cover."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a window, in pixels."""

    worlds: tuple[Rect, ...]
    """A square for each world's picture."""
    panel: Rect | None
    """Right of the pictures; `None` if there is no space, and then the floor plan covers the corner of a picture."""
    plan: Rect | None
    """A square for the floor plan; `None` if it would cover too much."""
    footer: Rect


def arrange(size: tuple[int, int], count: int, *, shows_numbers: bool) -> Layout:
    """Arranges a window.

    Args:
        size: width and height of the window.
        count: number of shown worlds.
        shows_numbers: whether pictures shrink as far as the panel needs, in which numbers are shown.
    """
    area = Rect(GAP, GAP, size[0] - 2 * GAP, size[1] - FOOTER - 2 * GAP)
    footer = Rect(GAP + 4, area.bottom + GAP, area.width - 8, FOOTER)
    reserved = NARROWEST_PANEL + GAP if shows_numbers else 0
    columns = max(range(count, 0, -1), key=lambda columns: _side(area, reserved, columns, count))
    side = _side(area, reserved, columns, count)
    used = columns * (side + GAP) - GAP
    free = area.width - used - GAP
    panel_width = min(free, WIDEST_PANEL) if free >= NARROWEST_PANEL else 0
    left = area.x + (area.width - used - (panel_width + GAP if panel_width else 0)) // 2
    rows = -(-count // columns)
    top = area.y + (area.height - rows * (side + GAP) + GAP) // 2
    worlds = tuple(
        Rect(left + place % columns * (side + GAP), top + place // columns * (side + GAP), side, side)
        for place in range(count)
    )
    panel = Rect(left + used + GAP, area.y, panel_width, area.height) if panel_width else None
    return Layout(worlds, panel, _plan(panel, worlds[columns - 1]), footer)


def _side(area: Rect, reserved: int, columns: int, count: int) -> int:
    """Returns the side of the pictures in a number of columns."""
    rows = -(-count // columns)
    return max(1, min((area.width - reserved + GAP) // columns, (area.height + GAP) // rows) - GAP)


def _plan(panel: Rect | None, world: Rect) -> Rect | None:
    """Returns the plan's place: at the top of the panel or else, since ceilings tell least, of the last picture."""
    widest = _PLAN_SHARE * world.width if panel is None else min((panel.width - GAP) // 2, 0.45 * panel.height)
    side = next((side for side in PLAN_SIZES if side <= widest), None)
    if side is None:
        return None
    return (
        Rect(world.right - side - GAP, world.y + GAP, side, side)
        if panel is None
        else Rect(panel.topleft, (side, side))
    )
