"""Computes independent parts side by side, each in a thread of its own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Returns a function's results for each part, in order.

    Each of PyTorch's threads computes whole parts alone: threads that share every small operation wait for each other
    for much of the time. With gradients, the parts are computed one after the other.
    """
    parts, num_threads = list(parts), torch.get_num_threads()
    if num_threads == 1 or len(parts) == 1 or torch.is_grad_enabled():
        return [function(part) for part in parts]

    def alone(part: Part) -> Result:
        # Of this thread only, like the gradients' mode.
        torch.set_num_threads(1)
        with torch.no_grad():
            return function(part)

    # Made anew each time: a forked process has none of its parent's threads.
    with ThreadPoolExecutor(min(num_threads, len(parts))) as threads:
        return list(threads.map(alone, parts))
