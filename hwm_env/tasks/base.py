"""What a task is: goals for episodes, and reward, success and termination from what is known about the world."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.types import Float32Array


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldReadout:
    """Named quantities of the world at the end of a clip: exact in the reference world, estimated in a learned one."""

    base_x_m: float
    """Position of the robot's base."""
    base_y_m: float
    """Position of the robot's base."""
    base_yaw_rad: float
    """Heading; 0 looks along x, positive turns left."""

    @classmethod
    def from_pose(cls, pose: npt.ArrayLike) -> "WorldReadout":
        """From x (m), y (m), yaw (rad), [3]."""
        x, y, yaw = (float(number) for number in np.asarray(pose))
        return cls(base_x_m=x, base_y_m=y, base_yaw_rad=yaw)

    @property
    def base_pose(self) -> Float32Array:
        """x (m), y (m), yaw (rad), float32 [3]."""
        return np.array([self.base_x_m, self.base_y_m, self.base_yaw_rad], np.float32)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task judges one env step."""

    reward_terms: Mapping[str, float]
    """Every part of the reward by name."""
    success: bool
    """Whether the goal is reached."""
    terminated: bool
    """Whether the episode ends here for the task's own reasons."""

    @property
    def reward(self) -> float:
        """The sum of the terms."""
        return float(sum(self.reward_terms.values()))


class Goal(Protocol):
    """What is to be done in one episode. Immutable, so that a saved environment may share it."""

    def vector(self, readout: WorldReadout) -> Float32Array:
        """The goal as the robot sees it from here, float32, inside the task's `goal_space`."""
        ...

    def evaluate(self, previous: WorldReadout, now: WorldReadout) -> Outcome:
        """Judges the env step that led from one readout to the next."""
        ...

    def describe(self) -> dict[str, Any]:
        """New entries for the info of `reset`."""
        ...


class Task(Protocol):
    """A task, one definition for learned and reference worlds. Immutable; episodes differ in their Goal."""

    @property
    def name(self) -> str:
        """Short name, as in `make_task`."""
        ...

    @property
    def goal_space(self) -> spaces.Box:
        """Where the goal vectors lie: float32, one axis, finite bounds."""
        ...

    @property
    def option_names(self) -> Collection[str]:
        """Keys of the `options` of `reset` that belong to the task."""
        ...

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Looks at the values before anything is changed.

        Raises:
            InvalidInputError: a value is not allowed.
        """
        ...

    def reset(self, rng: np.random.Generator, readout: WorldReadout, options: Mapping[str, Any]) -> Goal:
        """Chooses the goal of a new episode.

        Args:
            rng: the source of all choices.
            readout: the world at the start of the episode.
            options: checked options of the task.
        """
        ...
