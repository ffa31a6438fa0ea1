"""Actions: their space, and their conversion to the chunk that a world executes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.data.statistics import ActionStatistics
from hwm_env.envs.config import ActionMode, OutOfRange
from hwm_env.errors import InvalidInputError
from hwm_env.fields import real_numbers, short
from hwm_env.robot import EVE, Robot
from hwm_env.trust import action_excess
from hwm_env.types import (
    ACTION_DIM,
    ANGULAR_VELOCITY,
    FRAMES_PER_CLIP,
    LINEAR_VELOCITY,
    Float32Array,
    Float64Array,
)

REACH_FRAMES: Final = 10
"""Frames after which a held target is reached."""
_SMALLEST_HALF_RANGE: Final = 1e-3
"""Smallest half range of a number, for those that are constant in the training data: a Box needs low < high."""
_ROUNDING: Final = 1e-5
"""Excess over a bound that still counts as within it."""


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedAction:
    """A user's action, converted for a world."""

    chunk: Float32Array
    """The chunk to execute, physical units, within the bounds, [17, 25]."""
    clipped: bool
    """Whether the action was beyond the bounds."""
    excess: Float64Array
    """Excess of each number, before clipping, over the training data, [17, 25]; 0 inside (see `action_excess`)."""
    names: Sequence[str]
    """The robot's names of the 25 numbers."""

    @property
    def ood(self) -> float:
        """Share (0 to 1) of the 17 x 25 numbers that are outside the training data."""
        return float((self.excess > 0).mean())

    @property
    def ood_joints(self) -> dict[str, float]:
        """Largest excess of each number that is outside the training data, by name."""
        largest = self.excess.max(axis=0)
        return {name: float(excess) for name, excess in zip(self.names, largest, strict=True) if excess > 0}


class ActionAdapter:
    """Converts the actions of an environment to chunks.

    Args:
        statistics: statistics of the training data's actions, which determine bounds that the robot does not state.
        mode: "chunk" for an action in each of the 17 frames, "hold" for one that is approached smoothly and then held,
            "delta" for a change from the present numbers, spread evenly over the 17 frames.
        normalized: whether actions are in [-1, 1] instead of physical units.
        out_of_range: treatment of numbers beyond the bounds.
        controls: names of the robot's joints in an action, in this order; None: all. The others keep their values, but
            velocities go to 0.
        robot: the robot, whose joints the 25 numbers carry.

    Raises:
        InvalidInputError: the robot has no joint of a name in `controls`.
    """

    def __init__(
        self,
        statistics: ActionStatistics,
        mode: ActionMode,
        normalized: bool,
        out_of_range: OutOfRange = "clip",
        controls: Sequence[str] | None = None,
        robot: Robot = EVE,
    ) -> None:
        self._statistics = statistics
        self._mode = mode
        self._normalized = normalized
        self._is_strict = out_of_range == "refuse"
        low, high = bounds(statistics, robot)
        slack = np.where(high - low < 2 * _SMALLEST_HALF_RANGE, np.float32(_SMALLEST_HALF_RANGE), np.float32(0))
        self.low: Float32Array = low - slack
        """Lowest value of each number, physical units, [25]."""
        self.high: Float32Array = high + slack
        """Highest value of each number, physical units, [25]."""
        # A clip of the fastest change in the data.
        reach = np.maximum(FRAMES_PER_CLIP * statistics.max_change, np.float32(_SMALLEST_HALF_RANGE))
        self._names = robot.names_of_numbers
        self._sent = np.array(robot.indices if controls is None else _indices(robot, controls))
        left = set(robot.indices) - set(self._sent.tolist())
        self._stopped = [index for index in (LINEAR_VELOCITY, ANGULAR_VELOCITY) if index in left]
        self._space_low: Float32Array = (-reach if mode == "delta" else self.low)[self._sent]
        self._space_high: Float32Array = (reach if mode == "delta" else self.high)[self._sent]
        self._progress = (_even() if mode == "delta" else _minimum_jerk())[:, None]
        self.space = self._make_space()
        """Box of float32, [17, J] or [J] for J joints; with `controls`, [17, C] or [C]."""

    def adapt(self, action: Any, last: Float32Array) -> AdaptedAction:
        """Converts an action.

        Args:
            action: numbers of the shape of `space`.
            last: measured numbers of the last frame, [25].

        Raises:
            InvalidInputError: the action is not of numbers, has another shape, is not finite, or is beyond the bounds
                with `out_of_range="refuse"`.
        """
        sent = self._physical(self._validated(action))
        wanted, allowed = sent, np.clip(sent, self._space_low, self._space_high)
        if self._mode == "delta":
            now = last[self._sent]
            wanted, allowed = now + wanted, np.clip(now + allowed, self.low[self._sent], self.high[self._sent])
        wanted, allowed = self._completed(wanted, last), self._completed(allowed, last)
        beyond = np.abs(wanted - allowed) > _ROUNDING
        if self._is_strict and beyond.any():
            self._refuse(wanted, allowed, beyond)
        excess = action_excess(self._statistics, self._as_chunk(wanted, last)[None], last[None])[0]
        return AdaptedAction(self._as_chunk(allowed, last).astype(np.float32), bool(beyond.any()), excess, self._names)

    def _make_space(self) -> spaces.Box:
        shape = (FRAMES_PER_CLIP, len(self._sent)) if self._mode == "chunk" else (len(self._sent),)
        if self._normalized:
            return spaces.Box(-1.0, 1.0, shape, np.float32)
        low, high = np.broadcast_to(self._space_low, shape), np.broadcast_to(self._space_high, shape)
        return spaces.Box(low, high, dtype=np.float32)

    def _validated(self, action: Any) -> Float64Array:
        shape = self.space.shape
        expected = f"{' x '.join(map(str, shape))} finite numbers (action_mode={self._mode!r})"
        array = real_numbers("action", action, expected)
        if array.shape != shape:
            raise InvalidInputError(f"action: expected {expected}, got shape {array.shape}; see env.action_space")
        if not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InvalidInputError(
                f"action: expected {expected}, got {array[tuple(where)]} at index {where}; no step was taken"
            )
        return array

    def _physical(self, array: Float64Array) -> Float64Array:
        if not self._normalized:
            return array
        low, high = self._space_low.astype(np.float64), self._space_high.astype(np.float64)
        return low + (array + 1.0) / 2.0 * (high - low)

    def _completed(self, sent: Float64Array, last: Float32Array) -> Float64Array:
        """Returns all 25 numbers, [..., 25], from those that were sent."""
        numbers = np.empty((*sent.shape[:-1], ACTION_DIM))
        numbers[...] = last
        numbers[..., self._stopped] = 0.0
        numbers[..., self._sent] = sent
        return numbers

    def _as_chunk(self, numbers: Float64Array, last: Float32Array) -> Float64Array:
        """Returns a chunk [17, 25]: the numbers themselves, or the path to them from the last ones."""
        if self._mode == "chunk":
            return numbers
        return (1.0 - self._progress) * last + self._progress * numbers

    def _refuse(self, wanted: Float64Array, allowed: Float64Array, beyond: Any) -> None:
        where = tuple(np.argwhere(beyond)[0])
        raise InvalidInputError(
            f"action: {self._names[where[-1]]} would be {wanted[where]:.4g}, which is beyond the bounds; the nearest "
            f"allowed value is {allowed[where]:.4g} (out_of_range='clip' takes it); no step was taken"
        )


def bounds(statistics: ActionStatistics, robot: Robot) -> tuple[Float32Array, Float32Array]:
    """Returns the lowest and highest value of each number, [25]: the robot's limits, else the data's extremes."""
    low, high = robot.limits()
    return np.where(np.isnan(low), statistics.low, low), np.where(np.isnan(high), statistics.high, high)


def _indices(robot: Robot, controls: Sequence[str]) -> list[int]:
    if unknown := [name for name in controls if name not in robot.names]:
        raise InvalidInputError(
            f"controls must be joints of {robot.name} ({', '.join(robot.names)}), got {short(unknown[0])}"
        )
    return [robot.indices[robot.names.index(name)] for name in controls]


def _minimum_jerk() -> Float64Array:
    """Returns the progress after each frame, [17]: minimum jerk, without velocity or acceleration at both ends."""
    time = np.minimum(np.arange(1, FRAMES_PER_CLIP + 1) / REACH_FRAMES, 1.0)
    return time**3 * (10.0 - 15.0 * time + 6.0 * time**2)


def _even() -> Float64Array:
    """Returns the progress after each frame, [17]: equal in every frame, so that steps join without a stop."""
    return np.arange(1, FRAMES_PER_CLIP + 1) / FRAMES_PER_CLIP
