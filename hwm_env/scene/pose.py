"""Poses in the plane: x (m), y (m) and yaw (rad, positive turns left) in the last axis of a tensor.

A pose is the frame of the base in the frame of the room; a motion is one pose in the frame of another.
"""

import math

import torch
from torch import Tensor

from hwm_env.types import ANGULAR_VELOCITY, FRAME_RATE_HZ, LINEAR_VELOCITY


def wrap_angle(angle_rad: Tensor) -> Tensor:
    """Wraps angles to [-pi, pi)."""
    return (angle_rad + math.pi).remainder(2 * math.pi) - math.pi


def compose(pose: Tensor, motion: Tensor) -> Tensor:
    """Moves poses by motions in their own frames.

    Args:
        pose: float [..., 3].
        motion: float [..., 3], broadcastable to `pose`.

    Returns:
        float [..., 3]; yaw is not wrapped, so it is differentiable and continuous.
    """
    yaw = pose[..., 2]
    cos, sin = yaw.cos(), yaw.sin()
    x = pose[..., 0] + cos * motion[..., 0] - sin * motion[..., 1]
    y = pose[..., 1] + sin * motion[..., 0] + cos * motion[..., 1]
    return torch.stack(torch.broadcast_tensors(x, y, yaw + motion[..., 2]), dim=-1)


def relative(pose: Tensor, other: Tensor) -> Tensor:
    """Returns the motion from one pose to another, float [..., 3], yaw in [-pi, pi)."""
    offset = other[..., :2] - pose[..., :2]
    cos, sin = pose[..., 2].cos(), pose[..., 2].sin()
    x = cos * offset[..., 0] + sin * offset[..., 1]
    y = cos * offset[..., 1] - sin * offset[..., 0]
    return torch.stack([x, y, wrap_angle(other[..., 2] - pose[..., 2])], dim=-1)


def wheel_motions(numbers_A: Tensor) -> Tensor:
    """Returns the motion that the wheels report for each frame: an exact circular arc.

    Args:
        numbers_A: the 25 numbers of each frame, float [..., 25].

    Returns:
        float [..., 3]: the motion from the pose before the frame to the pose at it, without obstacles.
    """
    turn = numbers_A[..., ANGULAR_VELOCITY] / FRAME_RATE_HZ
    chord = numbers_A[..., LINEAR_VELOCITY] / FRAME_RATE_HZ * torch.sinc(turn / (2 * math.pi))
    return torch.stack([chord * (turn / 2).cos(), chord * (turn / 2).sin(), turn], dim=-1)


def integrate_wheels(pose: Tensor, numbers_FA: Tensor) -> Tensor:
    """Returns the poses of a base that follows its wheels without obstacles.

    Args:
        pose: pose before the first frame, float [..., 3].
        numbers_FA: the 25 numbers of F frames, float [..., F, 25].

    Returns:
        float [..., F, 3]: the pose at each frame, yaw not wrapped.
    """
    turns = numbers_FA[..., ANGULAR_VELOCITY] / FRAME_RATE_HZ
    chords = numbers_FA[..., LINEAR_VELOCITY] / FRAME_RATE_HZ * torch.sinc(turns / (2 * math.pi))
    yaws = pose[..., None, 2] + turns.cumsum(dim=-1)
    headings = yaws - turns / 2
    x = pose[..., None, 0] + (chords * headings.cos()).cumsum(dim=-1)
    y = pose[..., None, 1] + (chords * headings.sin()).cumsum(dim=-1)
    return torch.stack([x, y, yaws], dim=-1)
