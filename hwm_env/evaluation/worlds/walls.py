"""Measures whether obstacles stop the robot in a learned world: drives against walls and furniture."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import HeldOut, find_clips
from hwm_env.evaluation.worlds.readout_error import dead_reckoning
from hwm_env.model.readout import Readout
from hwm_env.reference import room
from hwm_env.reference.kinematics import RobotState
from hwm_env.reference.world import ReferenceWorld
from hwm_env.simulator import WorldSimulator
from hwm_env.types import (
    ANGULAR_VELOCITY,
    FRAMES_PER_CLIP,
    HISTORY_CLIPS,
    LINEAR_VELOCITY,
    Float32Array,
    Float64Array,
    UInt8Array,
)

CLIPS: Final = 5
"""Env steps of each drive (2.8 s)."""
SPEED_M_S: Final = 0.45
FREE_PATH_M: Final = (0.1, 0.9)
"""Smallest and largest free path ahead at the start of a drive, which meets the obstacle half a clip before its end."""
RIGHT_M: Final = 0.3
"""A stop is right within this distance of the true one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """Where drives against obstacles end; errors are distances (m) to the true stop."""

    cases: int
    """Number of drives."""
    judged_by: Literal["carried pose", "read-out"]
    """Source of the final position: the carried pose with a scene (or the read-out if that is unknown), otherwise the
    read-out."""
    right: float
    """Share of drives that end within RIGHT_M of the true stop, 0..1."""
    error_median_m: float
    """Median error."""
    error_p90_m: float
    """90th percentile of the error."""
    unstopped_median_m: float
    """Median error of a robot that passes through obstacles, for comparison."""
    readout_right: float | None
    """`right` by the read-out of the predicted clips; `None` without a read-out, as for all fields below."""
    readout_median_m: float | None
    """Median error of the read-out."""
    ceiling_right: float | None
    """`right` by the read-out of the true clips: the read-out's own error limits it."""
    ceiling_median_m: float | None
    """Median error of the read-out of the true clips."""


def measure_walls(
    simulator: WorldSimulator, readout: Readout | None, held_out: HeldOut, *, cases: int, seed: int
) -> Walls:
    """Drives against obstacles ahead of recorded histories, in the learned and in the reference world.

    Args:
        simulator: predicts the drives.
        readout: reads the position of the base; not needed for a simulator with a scene.
        held_out: episodes of the reference world with true poses.
        cases: largest number of drives, one per episode.
        seed: seed of the first drive's world; each next one has one more.

    Raises:
        DatasetError: the recording has no true poses, no history ends before an obstacle, or no position is known.
        InvalidInputError: there is neither a read-out nor a scene.
        RenderingUnavailableError: OpenGL is not available.
    """
    poses = held_out.poses().double()
    ends = find_clips(poses, lambda e, c: _is_before_obstacle(poses[e, c].numpy()), cases)
    if not ends:
        raise DatasetError(f"none of {len(held_out)} episodes comes before an obstacle; use more starts")
    begin = torch.stack([poses[episode, clip] for episode, clip in ends])
    with ReferenceWorld(simulator.checkpoint.image_size) as world:
        drives = [drive(world, poses[e, c].numpy(), held_out.actions[e, c, -1].numpy()) for e, c in ends]
    chunks, frames, stops = (torch.from_numpy(np.stack(parts)) for parts in zip(*drives, strict=True))
    tokens = torch.stack([held_out.tokens[e, c - HISTORY_CLIPS + 1 : c + 1] for e, c in ends])
    actions = torch.stack([held_out.actions[e, c - HISTORY_CLIPS + 1 : c + 1] for e, c in ends])
    loops = continue_worlds(simulator, tokens, actions, chunks, [seed + case for case in range(len(ends))])
    read, ceiling = None, None
    if readout is not None:
        read = _distance(readout.read(loops.tokens[:, -1]), stops)
        ceiling = _distance(readout.read(simulator.tokenizer.encode(frames)), stops)
    carried = None if loops.poses is None else _distance(loops.poses[:, -1], stops)
    errors = _best_known(carried, read)
    return Walls(
        cases=len(errors),
        judged_by="read-out" if carried is None else "carried pose",
        right=_right(errors),
        error_median_m=errors.quantile(0.5).item(),
        error_p90_m=errors.quantile(0.9).item(),
        unstopped_median_m=_distance(dead_reckoning(begin, chunks)[:, -1], stops).quantile(0.5).item(),
        readout_right=None if read is None else _right(read),
        readout_median_m=None if read is None else read.quantile(0.5).item(),
        ceiling_right=None if ceiling is None else _right(ceiling),
        ceiling_median_m=None if ceiling is None else ceiling.quantile(0.5).item(),
    )


def drive(
    world: ReferenceWorld, base_pose: Float64Array, state: Float32Array
) -> tuple[Float32Array, UInt8Array, Float64Array]:
    """Drives straight on from a recorded state, without moving any joint.

    Args:
        world: advanced to the end of the drive.
        base_pose: x (m), y (m) and yaw (rad), [3].
        state: last measured state of the robot, [25].

    Returns:
        The measured actions of the drive, [CLIPS, 17, 25], the frames of its last clip, uint8 [17, S, S, 3], and the
        pose at its end, [3].
    """
    wanted = state.copy()
    wanted[LINEAR_VELOCITY], wanted[ANGULAR_VELOCITY] = SPEED_M_S, 0.0
    world.set_state(RobotState(base_pose, state))
    clips = [world.step_clip(np.tile(wanted, (FRAMES_PER_CLIP, 1))) for _ in range(CLIPS)]
    return np.stack([measured for measured, _, _ in clips]), clips[-1][1], world.state.base_pose


def _is_before_obstacle(pose: Float64Array) -> bool:
    """Checks whether an obstacle is ahead of a pose [3] at the distance of FREE_PATH_M."""
    nearest, farthest = FREE_PATH_M
    return nearest <= room.free_path_m(pose[:2], float(pose[2])) <= farthest


def _best_known(carried: Tensor | None, read: Tensor | None) -> Tensor:
    """Returns the errors of the carried poses, or of the read-out where these are unknown."""
    if carried is None:
        if read is None:
            raise InvalidInputError("the checkpoint has neither a read-out nor a scene to locate the base; train one")
        return read
    if read is not None:
        return torch.where(carried.isfinite(), carried, read)
    if not carried.isfinite().any():
        raise DatasetError(f"all {len(carried)} carried poses are unknown, and there is no read-out; train a read-out")
    return carried[carried.isfinite()]


def _right(errors: Tensor) -> float:
    return (errors <= RIGHT_M).double().mean().item()


def _distance(poses: Tensor, truth: Tensor) -> Tensor:
    distance: Tensor = (poses[:, :2] - truth[:, :2]).norm(dim=1)
    return distance
