"""A dead man's switch: how long a driver has said nothing."""

import time
from collections.abc import Callable
from typing import Final

LONGEST_GAP_S: Final = 0.1
"""What a time between two looks at the clock counts at most: while the server itself stands still it hears nobody."""


class Silence:
    """Time without a word, as far as somebody listened.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listened_s = clock()
        self._silent_s = 0.0

    def broken(self) -> None:
        """Something was said."""
        self._silent_s = 0.0

    def listen(self) -> float:
        """Seconds since something was said; to be called all the time."""
        now_s = self._clock()
        self._silent_s += min(now_s - self._listened_s, LONGEST_GAP_S)
        self._listened_s = now_s
        return self._silent_s
