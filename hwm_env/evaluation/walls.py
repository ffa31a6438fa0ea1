"""Do obstacles stop the robot? Drives against them, and reads from predicted pictures where it came to stand."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwm_env.errors import DatasetError
from hwm_env.evaluation.closed_loops import continue_worlds
from hwm_env.evaluation.held_out import HeldOut
from hwm_env.evaluation.readout_error import dead_reckoning
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
    right: float
    """Share of cases in which the base is read within RIGHT_M of its true stop."""
    error_median_m: float
    """From the read position to the true stop."""
    error_p90_m: float
    unstopped_median_m: float
    """The same of a robot that no obstacle stops, for comparison."""
    ceiling_right: float
    """The share for the true pictures of the same drives: what lacks there is the read-out's fault, not the world's."""
    ceiling_median_m: float


def measure_walls(simulator: WorldSimulator, readout: Readout, held_out: HeldOut, *, cases: int, seed: int) -> Walls:
    """Turns recorded histories that end before an obstacle into drives against it.

    Args:
        simulator: the world.
        readout: reads where the base is.
        held_out: with true poses; each episode gives one case at most.
        cases: at most; as many as are found.
        seed: of the worlds.

    Raises:
        DatasetError: the recording has no true poses, or no history ends before an obstacle.
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
    predicted = continue_worlds(simulator, tokens, actions, chunks, [seed + case for case in range(len(ends))])
    errors = _distance(readout.read(predicted[:, -1]), stops)
    ceiling = _distance(readout.read(simulator.tokenizer.encode(frames)), stops)
    return Walls(
        cases=len(ends),
        right=(errors <= RIGHT_M).double().mean().item(),
        error_median_m=errors.quantile(0.5).item(),
        error_p90_m=errors.quantile(0.9).item(),
        unstopped_median_m=_distance(dead_reckoning(begin, chunks)[:, -1], stops).quantile(0.5).item(),
        ceiling_right=(ceiling <= RIGHT_M).double().mean().item(),
        ceiling_median_m=ceiling.quantile(0.5).item(),
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


def _distance(poses: Tensor, truth: Tensor) -> Tensor:
    distance: Tensor = (poses[:, :2] - truth[:, :2]).norm(dim=1)
    return distance
