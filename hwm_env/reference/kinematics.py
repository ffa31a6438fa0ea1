"""Motion of the robot: a pure function from state and action to the next state, one frame (1/30 s) later."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.types import (
    ACTION_DIM,
    ANGULAR_VELOCITY,
    FRAME_RATE_HZ,
    LINEAR_VELOCITY,
    Float32Array,
    Float64Array,
    frozen,
)

LARGEST_CHANGE: Final = robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ)
"""Largest change of each action number in one frame, [25]."""


@dataclass(frozen=True, slots=True, eq=False)
class RobotState:
    """All that the next frame depends on besides the action. Immutable; its arrays are read-only copies."""

    base_pose: Float64Array
    """x (m), y (m), yaw (rad, in [-pi, pi)), [3]."""
    action: Float32Array
    """The measured numbers of the last frame, [25]."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_pose", frozen(self.base_pose))
        object.__setattr__(self, "action", frozen(self.action))


def advance(state: RobotState, action: Float32Array) -> RobotState:
    """Advances by one frame: joints, hands and wheels follow the action within their limits, then the base moves.

    The measured velocities are those of the *wheels*: when an obstacle blocks the way, the base stays where it is and
    the wheels slip at the commanded speed. Turning on the spot is always possible.

    Args:
        state: state before the frame.
        action: target numbers, finite, [25].

    Returns:
        The state after the frame; its `action` holds the measured numbers.

    Raises:
        InvalidInputError: the action has another shape or is not finite.
    """
    wanted = _validated(action)
    bounded = np.clip(wanted, robot.ACTION_LOW, robot.ACTION_HIGH)
    measured = np.clip(bounded, state.action - LARGEST_CHANGE, state.action + LARGEST_CHANGE)
    velocity, turn_rate = float(measured[LINEAR_VELOCITY]), float(measured[ANGULAR_VELOCITY])
    return RobotState(move_base(state.base_pose, velocity, turn_rate), measured)


def move_base(base_pose: Float64Array, velocity_m_s: float, turn_rate_rad_s: float) -> Float64Array:
    """Moves the base for one frame along an exact circular arc, or only turns it if the arc ends in an obstacle.

    Args:
        base_pose: x (m), y (m) and yaw (rad), [3].
        velocity_m_s: forward speed.
        turn_rate_rad_s: positive turns left.

    Returns:
        The new pose, [3], yaw wrapped to [-pi, pi).
    """
    turn = turn_rate_rad_s / FRAME_RATE_HZ
    chord = velocity_m_s / FRAME_RATE_HZ * np.sinc(turn / (2.0 * np.pi))
    chord_heading = base_pose[2] + turn / 2.0
    xy = base_pose[:2] + chord * np.array([np.cos(chord_heading), np.sin(chord_heading)])
    if not room.is_free(xy):
        xy = base_pose[:2]
    return np.array([xy[0], xy[1], wrap_angle(float(base_pose[2]) + turn)])


def wrap_angle(angle_rad: float) -> float:
    """Returns the same direction in [-pi, pi)."""
    return (angle_rad + np.pi) % (2.0 * np.pi) - np.pi


def _validated(action: Float32Array) -> Float32Array:
    array = np.asarray(action, np.float32)
    if array.shape != (ACTION_DIM,):
        raise InvalidInputError(f"action must have shape ({ACTION_DIM},), got {array.shape}")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array)).tolist()
        raise InvalidInputError(f"action must be finite, got NaN or infinity at indices {bad}; clean it first")
    return array
