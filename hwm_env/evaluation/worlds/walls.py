"""Do obstacles stop the robot? Drives against them, and asks the world where it came to stand."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import HeldOut
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
"""Env steps of driving straight on: 2.8 s."""
SPEED_M_S: Final = 0.45
FREE_PATH_M: Final = (0.1, 0.9)
"""What lies free ahead at a case's start: the obstacle is met at least half a clip before the end."""
RIGHT_M: Final = 0.3
"""A stop this near to the true one is right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
    """How drives against obstacles end; distances in metres."""

    cases: int
    judged_by: Literal["carried pose", "read-out"]
    """What says where the base stands: the pose that the world carries, where it has a scene (and the read-out for
    worlds that do not know their place), or the read-out."""
    right: float
    """Share of cases in which the base is said to be within RIGHT_M of its true stop."""
    error_median_m: float
    """From the position that is said to the true stop."""
    error_p90_m: float
    unstopped_median_m: float
    """The same of a robot that no obstacle stops, for comparison."""
    readout_right: float | None
    """The share by the read-out of the predicted pictures; None without one, as all that follows."""
    readout_median_m: float | None
    ceiling_right: float | None
    """The share for the true pictures of the same drives: what lacks there is the read-out's fault, not the world's."""
    ceiling_median_m: float | None


def measure_walls(
    simulator: WorldSimulator, readout: Readout | None, held_out: HeldOut, *, cases: int, seed: int
) -> Walls:
    """Turns recorded histories that end before an obstacle into drives against it.

    Args:
        simulator: the world.
        readout: reads where the base is; not needed for a simulator with a scene.
        held_out: with true poses; each episode gives one case at most.
        cases: at most; as many as are found.
        seed: of the worlds.

    Raises:
        DatasetError: the recording has no true poses, no history ends before an obstacle, or nobody knows where.
        InvalidInputError: there is neither a read-out nor a scene.
        RenderingUnavailableError: there is no OpenGL here.
    """
    poses = held_out.poses().double()
    found = [(episode, _first_before_obstacle(poses[episode].numpy())) for episode in range(len(held_out))]
    ends = [(episode, clip) for episode, clip in found if clip is not None][:cases]
    if not ends:
        raise DatasetError(f"none of {len(held_out)} episodes comes before an obstacle; give more starts")
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
    errors = _said(carried, read)
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
    world: ReferenceWorld, base_pose: Float64Array, numbers: Float32Array
) -> tuple[Float32Array, UInt8Array, Float64Array]:
    """Drives straight on from a recorded moment, all joints held where they are.

    Args:
        world: is left where the drive ends.
        base_pose: x, y, yaw, [3].
        numbers: measured last, [25].

    Returns:
        The measured numbers of the drive, [CLIPS, 17, 25], the pictures of its last clip, uint8 [17, S, S, 3], and the
        pose at its end, [3].
    """
    wanted = numbers.copy()
    wanted[LINEAR_VELOCITY], wanted[ANGULAR_VELOCITY] = SPEED_M_S, 0.0
    world.set_state(RobotState(base_pose, numbers))
    clips = [world.step_clip(np.tile(wanted, (FRAMES_PER_CLIP, 1))) for _ in range(CLIPS)]
    return np.stack([measured for measured, _, _ in clips]), clips[-1][1], world.state.base_pose


def _first_before_obstacle(poses: Float64Array) -> int | None:
    """The first clip, with a whole history, at whose end an obstacle is ahead; of poses [C, 3]."""
    nearest, farthest = FREE_PATH_M
    for clip in range(HISTORY_CLIPS - 1, len(poses)):
        if nearest <= room.free_path_m(poses[clip, :2], float(poses[clip, 2])) <= farthest:
            return clip
    return None


def _said(carried: Tensor | None, read: Tensor | None) -> Tensor:
    """Returns the errors by the carried pose, by the read-out where it is not known."""
    if carried is None:
        if read is None:
            raise InvalidInputError("nothing says where the base stands; give a checkpoint a read-out or a scene")
        return read
    if read is not None:
        return torch.where(carried.isfinite(), carried, read)
    if not carried.isfinite().any():
        raise DatasetError(f"none of {len(carried)} worlds knows its place, and there is no read-out to ask")
    return carried[carried.isfinite()]


def _right(errors: Tensor) -> float:
    return (errors <= RIGHT_M).double().mean().item()


def _distance(poses: Tensor, truth: Tensor) -> Tensor:
    distance: Tensor = (poses[:, :2] - truth[:, :2]).norm(dim=1)
    return distance
