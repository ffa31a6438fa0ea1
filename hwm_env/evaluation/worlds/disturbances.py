"""Sources of unrecorded actions, from ordinary to impossible, to find where a learned world becomes wrong."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, Float64Array, Int64Array

_NEW_TARGET_S: Final = 1.5
"""Mean time between two targets of a wandering number."""
_EVENT_FRAMES: Final = (2.0, 300.0)
"""Shortest and longest mean time between two events of an episode."""
_HOLD_FRAMES: Final = (1.0, 60.0)
"""Shortest and longest duration of an event."""
_BEYOND_RANGES: Final = 0.5
"""Largest distance of a number beyond its range, as a multiple of the range."""
_SMOOTHING: Final = 0.12
"""Coefficient of the two low-pass filters between a target and a wandering number, which settles in about a second."""


class ActionSource(Protocol):
    """Makes the actions of an episode."""

    def __call__(
        self, rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
    ) -> Float64Array:
        """Returns an action for each of N frames.

        Args:
            rng: source of all random choices.
            statistics: statistics of the training data's actions.
            last: action of the frame before, [25].
            borrowed: recorded actions of another episode, [N, 25].

        Returns:
            float64 [N, 25], physical units; they may be impossible to carry out.
        """
        ...


def borrowed_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Returns another episode's actions, approached from `last` at the data's largest rates of change."""
    return _followed(borrowed, last, statistics)


def wandering_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Moves each number smoothly between random targets within the middle 98 % of its range."""
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
    """Returns another episode's actions, with events in which some numbers jump to other values within their ranges."""
    wanted = _followed(borrowed, last, statistics)
    for event in _events(rng, len(wanted)):
        wanted[event.first : event.stop, event.numbers] = rng.uniform(statistics.low, statistics.high)[event.numbers]
    return wanted


def beyond_actions(
    rng: np.random.Generator, statistics: ActionStatistics, last: Float64Array, borrowed: Float64Array
) -> Float64Array:
    """Returns another episode's actions, with events in which some numbers leave their ranges at ordinary rates."""
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
    """Some frames in which some numbers are disturbed."""

    first: int
    """First frame."""
    stop: int
    """Frame after the last one."""
    numbers: Int64Array
    """Indices of the disturbed numbers."""


def _events(rng: np.random.Generator, num_frames: int) -> Iterator[_Event]:
    """Draws events whose frequency, duration and number of disturbed numbers are uniform on logarithmic scales.

    The frequency is drawn once per episode, so that some episodes are hardly disturbed and others all the time.
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
    """Follows the wanted actions from `last` at no more than the data's largest rates of change."""
    fastest = statistics.max_change.astype(np.float64)
    followed = np.empty_like(wanted)
    for frame, target in enumerate(wanted):
        last = last + np.clip(target - last, -fastest, fastest)
        followed[frame] = last
    return followed
