"""Parametrises plans by knots: a few targets that are pursued one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from annotated_types import Len
from pydantic import SkipValidation

from hwm_env.fields import ActionName, CheckedFields, Count
from hwm_env.tasks.registry import kind_of
from hwm_env.types import ACTION_DIM, ACTION_NAMES, FRAMES_PER_CLIP, Float32Array, Float64Array

DRIVING: Final = ("linear_velocity", "angular_velocity")
RIGHT_ARM: Final = ("right_shoulder_pitch", "right_shoulder_roll", "right_elbow_pitch")
LEFT_ARM: Final = ("left_shoulder_pitch", "left_shoulder_roll", "left_elbow_pitch")
CONTROLS: Final = {"look-at": (*DRIVING, "neck_pitch"), "reach-cube": (*DRIVING, *RIGHT_ARM, *LEFT_ARM)}
"""Numbers that a planner moves for a task; for other tasks only the base."""


def controls_of(task: str) -> tuple[str, ...]:
    """Returns the names of the numbers that matter for a task."""
    return CONTROLS.get(kind_of(task), DRIVING)


@dataclass(frozen=True, slots=True, eq=False)
class Knots(CheckedFields):
    """What a plan's parameters mean: a target for each control at each knot, -1 for the lowest, 1 for the highest.

    The horizon is divided evenly among the knots. In its part each knot's targets are pursued as fast as the training
    data move, and then held. All other numbers stay what they are.
    """

    controls: Annotated[Sequence[ActionName], Len(1)]
    """Names of the numbers that a plan moves."""
    horizon: Count
    """Env steps that a plan covers."""
    count: Count
    """Knots, one after the other, in that time."""
    low: SkipValidation[Float32Array]
    """Lowest value of each number that an environment executes, [25]."""
    high: SkipValidation[Float32Array]
    """Highest value, [25]."""
    max_change: SkipValidation[Float32Array]
    """Largest change of each number from frame to frame, [25]."""

    @property
    def size(self) -> int:
        """Number of parameters of a plan."""
        return self.count * len(self.controls)

    def chunks(self, parameters: Float64Array, state: Float32Array) -> Float32Array:
        """Returns the actions of plans.

        Args:
            parameters: parameters of N plans, [N, size], clipped to -1..1.
            state: present state of the robot, [25].

        Returns:
            float32 [N, horizon, 17, 25], physical units.
        """
        columns = [ACTION_NAMES.index(name) for name in self.controls]
        low, high = self.low[columns], self.high[columns]
        targets = low + (np.clip(parameters, -1.0, 1.0).reshape(-1, self.count, len(columns)) + 1.0) / 2.0 * (
            high - low
        )
        frames = self.horizon * FRAMES_PER_CLIP
        wanted = np.tile(state, (len(targets), frames, 1))
        wanted[:, :, columns] = targets[:, np.arange(frames) * self.count // frames]
        return self._within_rates(wanted, state).reshape(-1, self.horizon, FRAMES_PER_CLIP, ACTION_DIM)

    def shifted(self, parameters: Float64Array) -> Float64Array:
        """A plan's parameters one env step later, [size]: what it wants in the middle of each knot's time; its last
        targets stay."""
        middles = np.arange(self.count) + 0.5 + self.count / self.horizon
        rows = np.minimum(middles.astype(int), self.count - 1)
        shifted: Float64Array = parameters.reshape(self.count, -1)[rows].ravel()
        return shifted

    def _within_rates(self, wanted: Float32Array, state: Float32Array) -> Float32Array:
        """Follows wanted numbers [N, F, 25] from the present ones [25] within the largest change a frame."""
        followed = np.empty_like(wanted)
        last = np.broadcast_to(state, wanted[:, 0].shape)
        for frame in range(wanted.shape[1]):
            last = np.clip(wanted[:, frame], last - self.max_change, last + self.max_change)
            followed[:, frame] = last
        return followed
