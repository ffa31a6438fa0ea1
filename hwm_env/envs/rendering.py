"""Frames for display: resizing, and a window that plays them."""

import os
from types import ModuleType
from typing import Final

import numpy as np
import torch
from torch.nn.functional import interpolate

from hwm_env.errors import InvalidInputError, require_extra
from hwm_env.torch_state import plain_torch
from hwm_env.types import FRAME_RATE_HZ, UInt8Array

RENDER_SIZE: Final = 256
"""Height and width of a rendered frame in pixels."""
_INVISIBLE: Final = ("offscreen", "dummy")
"""SDL drivers without output; without a display, SDL selects one of them on its own."""


def enlarged(frame: UInt8Array, size: int = RENDER_SIZE) -> UInt8Array:
    """Resizes a square frame [S, S, 3] to [size, size, 3] with nearest-neighbour sampling."""
    nearest = np.arange(size) * len(frame) // size
    return frame[nearest[:, None], nearest]


@plain_torch()
def resized(frames: UInt8Array, size: int) -> UInt8Array:
    """Resizes square frames [N, S, S, 3] to [N, size, size, 3] with anti-aliased bilinear sampling."""
    channels_first = torch.tensor(frames).permute(0, 3, 1, 2).float()
    smooth = interpolate(channels_first, (size, size), mode="bilinear", antialias=True, align_corners=False)
    resized: UInt8Array = smooth.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return resized


def init_display(pygame: ModuleType, remedy: str) -> None:
    """Initialises pygame's display and checks that it is visible.

    Args:
        pygame: the module.
        remedy: what to do without a display, for the error.

    Raises:
        InvalidInputError: there is no display, and SDL_VIDEODRIVER does not select a driver that needs none.
    """
    try:
        pygame.display.init()
    except pygame.error as error:
        raise InvalidInputError(f"there is no display to open a window on ({error}); {remedy}") from error
    driver = pygame.display.get_driver()
    chosen = os.environ.get("SDL_VIDEODRIVER") or os.environ.get("SDL_VIDEO_DRIVER") or ""
    if driver in _INVISIBLE and driver not in chosen.split(","):
        pygame.display.quit()
        raise InvalidInputError(f"there is no display to open a window on (SDL would draw {driver}); {remedy}")


class Window:
    """A window on the screen. Needs pygame.

    Raises:
        MissingExtraError: pygame is not installed.
        InvalidInputError: there is no display.
    """

    def __init__(self, title: str) -> None:
        # pygame prints a greeting by default.
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # With SDL's handlers, SIGTERM would not end a process that has a window.
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
        self._pygame = require_extra("pygame", "demo")
        init_display(self._pygame, "use render_mode='rgb_array', or run under xvfb-run")
        self._pygame.display.set_caption(title)
        self._screen = self._pygame.display.set_mode((RENDER_SIZE, RENDER_SIZE))
        self._clock = self._pygame.time.Clock()

    def play(self, frames: UInt8Array) -> None:
        """Plays frames [F, S, S, 3] in real time, 30 a second."""
        for frame in frames:
            # pygame's first axis is the column.
            surface = self._pygame.surfarray.make_surface(enlarged(frame).swapaxes(0, 1))
            self._screen.blit(surface, (0, 0))
            self._pygame.event.pump()
            self._pygame.display.flip()
            self._clock.tick(FRAME_RATE_HZ)

    def close(self) -> None:
        """Closes the window."""
        self._pygame.display.quit()
