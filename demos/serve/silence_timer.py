"""The timer of a dead man's switch: measures how long a driver has been silent."""

import time
from collections.abc import Callable
from typing import Final

LONGEST_GAP_S: Final = 0.1
"""Longest time that is counted between two readings: a server that stalls cannot receive messages."""


class SilenceTimer:
    """Measures the time since the last message, without the server's own stalls.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_s = clock()
        self._silent_s = 0.0

    def restart(self) -> None:
        """Restarts the timer at a message."""
        self._silent_s = 0.0

    def elapsed_s(self) -> float:
        """Returns the seconds since the last message; must be called at short intervals."""
        now_s = self._clock()
        self._silent_s += min(now_s - self._read_s, LONGEST_GAP_S)
        self._read_s = now_s
        return self._silent_s
