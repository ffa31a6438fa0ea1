"""Actions that nobody recorded, from ordinary to impossible, to see where a learned world stops being right."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, Float64Array, Int64Array

_NEW_TARGET_S: Final = 1.5
"""Mean time between two targets of a wandering number."""
_EVENT_FRAMES: Final = (2.0, 300.0)
"""Mean time between two events of an episode, shortest and longest."""
_HOLD_FRAMES: Final = (1.0, 60.0)
"""How long an event lasts, shortest and longest."""
_BEYOND_RANGES: Final = 0.5
"""How far a number may be sent beyond its range, in ranges."""
_SMOOTHING: Final = 0.12
"""Share of the way to its target that a wandering number goes in a frame, twice in a row: settled in a second."""


class ActionSource(Protocol):
    """Makes the actions of an episode."""

    def __call__(
        self, rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
    ) -> Float64Array:
        """Wants something in each frame.

        Args:
            rng: the source of all choices.
            statistics: of the training data's actions.
            last: the numbers of the frame before, [25].
            borrowed: what was recorded in another episode, [N, 25].

        Returns:
            float64 [N, 25], physical units; what is wanted may be beyond what is possible.
        """
        ...


def borrowed_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Another episode's actions, reached from here as fast as numbers ever change in the data."""
    return _followed(borrowed, last, statistics)


def wandering_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Each number goes smoothly from one random place of the middle 98 % of its range to the next."""
    targets, first, second = last, last, last
    wanted = np.empty_like(borrowed)
    for frame in range(len(borrowed)):
        renewed = rng.random(ACTION_DIM) < 1.0 / (_NEW_TARGET_S * FRAME_RATE_HZ)
        targets = np.where(renewed, rng.uniform(statistics.p01, statistics.p99), targets)
        first = first + _SMOOTHING * (targets - first)
        second = second + _SMOOTHING * (first - second)
        wanted[frame] = second
    return _followed(wanted, last, statistics)


def jumping_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Another episode's actions in which now and then some numbers jump to other places of their ranges."""
    wanted = _followed(borrowed, last, statistics)
    for event in _events(rng, len(wanted)):
        wanted[event.first : event.stop, event.numbers] = rng.uniform(statistics.low, statistics.high)[event.numbers]
    return wanted


def beyond_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Another episode's actions in which now and then some numbers go beyond their ranges, no faster than usual."""
    wanted = borrowed.copy()
    for event in _events(rng, len(wanted)):
        reach = rng.uniform(0.0, _BEYOND_RANGES, ACTION_DIM) * (statistics.high - statistics.low)
        outside = np.where(rng.random(ACTION_DIM) < 0.5, statistics.high + reach, statistics.low - reach)
        wanted[event.first : event.stop, event.numbers] = outside[event.numbers]
    return _followed(wanted, last, statistics)


DISTURBANCES: Final[Mapping[str, ActionSource]] = {
    "borrowed": borrowed_actions,
    "wandering": wandering_actions,
    "jumping": jumping_actions,
    "beyond": beyond_actions,
}


class _Event(NamedTuple):
    """Something that happens to some numbers for a while."""

    first: int
    stop: int
    numbers: Int64Array


def _events(rng: np.random.Generator, num_frames: int) -> Iterator[_Event]:
    """From seldom to always, short to long and of one number to all of them: each drawn evenly on a logarithmic scale.

    How often they are belongs to an episode; so some episodes are hardly disturbed and some do nothing else.
    """
    mean_gap = _log_uniform(rng, *_EVENT_FRAMES)
    first = int(rng.exponential(mean_gap))
    while first < num_frames:
        stop = first + int(_log_uniform(rng, *_HOLD_FRAMES))
        count = int(_log_uniform(rng, 1.0, ACTION_DIM + 1.0))
        yield _Event(first, stop, rng.choice(ACTION_DIM, count, replace=False))
        first += 1 + int(rng.exponential(mean_gap))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _followed(wanted: Float64Array, last: Float64Array, statistics: ActionStatistics) -> Float64Array:
    """The way from the last numbers along what is wanted, changing no faster than the data."""
    fastest = statistics.max_change.astype(np.float64)
    followed = np.empty_like(wanted)
    for frame, target in enumerate(wanted):
        last = last + np.clip(target - last, -fastest, fastest)
        followed[frame] = last
    return followed
