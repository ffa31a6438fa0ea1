"""Sudden commands, like those of planners, policies in training and people at a keyboard."""

from typing import Final

import numpy as np

from hwm_env.reference import robot
from hwm_env.reference.driving import Driver
from hwm_env.reference.gestures import random_crouch, random_sides
from hwm_env.reference.kinematics import RobotState
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, FRAME_RATE_HZ, LINEAR_VELOCITY, Float32Array

_SHARES: Final = {"rest": 0.38, "arms": 0.42, "head": 0.08, "body": 0.07, "hands": 0.05}
_SECONDS: Final = (0.4, 2.0)
"""Shortest and longest time between two commands: from less than a clip to four clips."""
_ARM_RANGES_RAD: Final = {
    "shoulder_pitch": (0.0, 1.5),
    "shoulder_roll": (-0.05, 0.5),
    "shoulder_yaw": (-0.4, 0.5),
    "elbow_pitch": (0.1, 1.9),
    "elbow_yaw": (-0.6, 0.6),
    "wrist_pitch": (-0.5, 0.5),
    "wrist_roll": (-0.5, 0.5),
}
"""Ranges of a Teleoperator's gestures, here in any combination."""


class Commander:
    """Jumps from one target posture to the next and drives like a Teleoperator; the robot follows as fast as it can.

    Two of five commands are the rest pose, so that arms rise from hanging and heads and hips swing from straight
    again and again.

    Args:
        rng: generator of all random choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._driver = Driver(rng)
        self._numbers = robot.pose({})
        self._frames_left = 0

    def act(self, state: RobotState) -> Float32Array:
        """Returns the target numbers, which may be far from the measured ones.

        Args:
            state: present state of the robot.

        Returns:
            float32 [25], within joint limits.
        """
        if self._frames_left <= 0:
            self._frames_left = round(self._rng.uniform(*_SECONDS) * FRAME_RATE_HZ)
            self._choose()
        self._frames_left -= 1
        self._numbers[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] = self._driver.velocities(state.base_pose)
        return self._numbers.copy()

    def _choose(self) -> None:
        choice = self._rng.choice(list(_SHARES), p=list(_SHARES.values()))
        if choice == "rest":
            self._numbers = robot.pose({})
        elif choice == "arms":
            for side in random_sides(self._rng):
                self._set({f"{side}_{joint}": limits for joint, limits in _ARM_RANGES_RAD.items()})
        elif choice == "head":
            self._set({"neck_pitch": (-0.2, 0.6)})
        elif choice == "body":
            self._set({"hip_yaw": (-0.45, 0.45), "hip_roll": (-0.1, 0.1), "ankle_roll": (-0.05, 0.05)})
            self._set({name: (angle, angle) for name, angle in random_crouch(self._rng).items()})
        else:
            self._set({f"{side}_hand_closure": (0.0, 1.0) for side in random_sides(self._rng)})

    def _set(self, ranges: dict[str, tuple[float, float]]) -> None:
        for name, (low, high) in ranges.items():
            self._numbers[ACTION_NAMES.index(name)] = self._rng.uniform(low, high)
