"""Behaviour of the robot in recordings: a scripted teleoperator with smooth motion, or a commander."""

from collections.abc import Callable
from typing import Final, Literal, Protocol

import numpy as np

from hwm_env.reference import robot
from hwm_env.reference.commander import Commander
from hwm_env.reference.driving import Driver
from hwm_env.reference.gestures import Gesturer
from hwm_env.reference.kinematics import RobotState
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, FRAME_RATE_HZ, LINEAR_VELOCITY, Float32Array


def _stiffness(name: str) -> float:
    if name.endswith("velocity"):
        return 6.0
    if name.endswith("closure"):
        return 5.0
    return 3.0 if name.startswith(("left_", "right_", "neck")) else 2.5


_STIFFNESS_1_S: Final = np.array([_stiffness(name) for name in ACTION_NAMES])
"""Natural frequency of each number's critically damped approach to its target: 3 settles within two seconds."""


class Teleoperator:
    """Acts smoothly, like people who record robot data; equal generators and states give equal actions.

    Args:
        rng: generator of all random choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._driver = Driver(rng)
        self._gesturer = Gesturer(rng)
        self._change_per_s = np.zeros(len(ACTION_NAMES))

    def act(self, state: RobotState) -> Float32Array:
        """Returns the next action, a small step from the measured numbers of `state` towards the present targets.

        Args:
            state: present state of the robot.

        Returns:
            float32 [25], within joint and rate limits.
        """
        targets = self._gesturer.targets().astype(np.float64)
        targets[LINEAR_VELOCITY], targets[ANGULAR_VELOCITY] = self._driver.velocities(state.base_pose)
        pull = _STIFFNESS_1_S**2 * (targets - state.action) - 2.0 * _STIFFNESS_1_S * self._change_per_s
        change = self._change_per_s + pull / FRAME_RATE_HZ
        self._change_per_s = np.clip(change, -robot.RATE_LIMITS, robot.RATE_LIMITS)
        action = state.action + self._change_per_s / FRAME_RATE_HZ
        return np.clip(action, robot.ACTION_LOW, robot.ACTION_HIGH).astype(np.float32)


class Operator(Protocol):
    """A source of the robot's actions in a recording."""

    def act(self, state: RobotState) -> Float32Array:
        """Returns the next action, float32 [25]."""
        ...


Behaviour = Literal["teleoperator", "commander", "both"]
"""Smooth motion, as of people who record robot data; sudden commands, as of policies in training; or both in turn."""


def operator_of(behaviour: Behaviour, episode: int) -> Callable[[np.random.Generator], Operator]:
    """Returns the class that makes the operator of an episode from its generator.

    Args:
        behaviour: behaviour of the recording.
        episode: index of the episode; with "both", even ones are a teleoperator's.
    """
    return Commander if behaviour == "commander" or (behaviour == "both" and episode % 2) else Teleoperator
