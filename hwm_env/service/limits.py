"""Limits of rates."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MOST_CLIENTS: Final = 1024
"""Clients whose requests are counted; of more, those that were quiet for longest are forgotten."""


@dataclass(slots=True)
class RateLimit:
    """Limits events, such as messages, to a number within any second."""

    most_a_second: int
    clock: Callable[[], float] = time.monotonic
    _times_s: deque[float] = field(default_factory=deque)

    def admits(self) -> bool:
        """Returns whether one more event is within the limit, and counts it if it is."""
        now_s = self.clock()
        while self._times_s and self._times_s[0] <= now_s - 1:
            self._times_s.popleft()
        if len(self._times_s) >= self.most_a_second:
            return False
        self._times_s.append(now_s)
        return True


class ClientRates:
    """Limits the requests of each client.

    Args:
        most_a_second: requests of one client within any second.
        clock: a clock in seconds.
    """

    def __init__(self, most_a_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_a_second
        self._clock = clock
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def admits(self, client: str) -> bool:
        """Returns whether one more request of a client is within the limit, and counts it if it is."""
        limit = self._limits.setdefault(client, RateLimit(self._most, self._clock))
        self._limits.move_to_end(client)
        if len(self._limits) > _MOST_CLIENTS:
            self._limits.popitem(last=False)
        return limit.admits()
