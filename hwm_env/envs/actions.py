"""From what a user sends to the 17 x 25 numbers that a world executes."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from gymnasium import spaces

from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import InvalidInputError
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, Float32Array, Float64Array

ActionMode = Literal["chunk", "hold"]

REACH_FRAMES: Final = 10
"""After so many frames a held target is reached."""
_SMALLEST_HALF_RANGE: Final = 1e-3
"""A number that never changed in the training data gets a little room: a Box wants low < high."""
_ROUNDING: Final = 1e-5
"""What may exceed a bound without counting as outside the training data."""


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """A user's action, made ready for a world."""

    chunk: Float32Array
    """Physical units, within the bounds, [17, 25]."""
    clipped: bool
    """Whether the user's action was outside of the action space."""
    ood: float
    """Share (0 to 1) of the 17 x 25 numbers, before clipping, that the training data never showed: outside of its
    range, or a change from the frame before that is larger than any in it."""


class ActionAdapter:
    """Knows the action space of an environment and what its actions mean.

    Args:
        statistics: of the training data's actions; gives the bounds.
        mode: "chunk" for an action in each of the 17 frames, "hold" for one that is approached smoothly and then held.
        normalized: whether users send [-1, 1] in place of physical units.

    Raises:
        InvalidInputError: an unknown mode.
    """

    def __init__(self, statistics: ActionStatistics, mode: ActionMode, normalized: bool) -> None:
        if mode not in get_args(ActionMode):
            raise InvalidInputError(f"action_mode must be one of {list(get_args(ActionMode))}, got {mode!r}")
        self._statistics = statistics
        self._mode = mode
        self._normalized = normalized
        constant = statistics.high - statistics.low < 2 * _SMALLEST_HALF_RANGE
        self.low: Float32Array = np.where(constant, statistics.low - np.float32(_SMALLEST_HALF_RANGE), statistics.low)
        """Lowest value of each number, physical units, [25]."""
        self.high: Float32Array = np.where(
            constant, statistics.high + np.float32(_SMALLEST_HALF_RANGE), statistics.high
        )
        """Highest value of each number, physical units, [25]."""
        self.space = self._make_space()
        """Box of float32, [17, 25] or [25]."""

    def command(self, action: Any, last: Float32Array) -> Command:
        """Makes an action ready.

        Args:
            action: numbers of the shape of `space`; outside of its bounds they are clipped to them.
            last: the measured numbers of the last frame, [25].

        Raises:
            InvalidInputError: not numbers, of another shape, or not finite.
        """
        array = self._validated(action)
        wanted = self._physical(array)
        bounded = np.clip(wanted, self.low, self.high)
        clipped = bool((np.abs(array) > 1).any() if self._normalized else (bounded != wanted).any())
        chunk = self._as_chunk(bounded, last).astype(np.float32)
        return Command(chunk, clipped, self._share_outside_training(self._as_chunk(wanted, last), last))

    def _make_space(self) -> spaces.Box:
        shape = (FRAMES_PER_CLIP, ACTION_DIM) if self._mode == "chunk" else (ACTION_DIM,)
        if self._normalized:
            return spaces.Box(-1.0, 1.0, shape, np.float32)
        return spaces.Box(np.broadcast_to(self.low, shape), np.broadcast_to(self.high, shape), dtype=np.float32)

    def _validated(self, action: Any) -> Float64Array:
        shape = self.space.shape
        expected = f"expected {' x '.join(map(str, shape))} finite numbers (action_mode={self._mode!r})"
        try:
            array = np.asarray(action, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"action: {expected}, got {type(action).__name__}: {error}") from error
        if array.shape != shape:
            raise InvalidInputError(f"action: {expected}, got shape {array.shape}; env.action_space says more")
        if not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InvalidInputError(f"action: {expected}, got {array[tuple(where)]} at index {where}; nothing was done")
        return array

    def _physical(self, array: Float64Array) -> Float64Array:
        if not self._normalized:
            return array
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        return low + (array + 1.0) / 2.0 * (high - low)

    def _as_chunk(self, physical: Float64Array, last: Float32Array) -> Float64Array:
        """Physical actions of the mode's shape to [17, 25]."""
        if self._mode == "chunk":
            return physical
        progress = _minimum_jerk()[:, None]
        return (1.0 - progress) * last + progress * physical

    def _share_outside_training(self, chunk: Float64Array, last: Float32Array) -> float:
        statistics = self._statistics
        outside = (chunk < statistics.low - _ROUNDING) | (chunk > statistics.high + _ROUNDING)
        changes = np.abs(np.diff(chunk, axis=0, prepend=last[None].astype(np.float64)))
        return float((outside | (changes > statistics.max_change + _ROUNDING)).mean())


def _minimum_jerk() -> Float64Array:
    """Share of the way gone after each frame, [17]: the polynomial that starts and stops without velocity and jolt."""
    time = np.minimum(np.arange(1, FRAMES_PER_CLIP + 1) / REACH_FRAMES, 1.0)
    return time**3 * (10.0 - 15.0 * time + 6.0 * time**2)
