"""Measures whether a world remembers a view: the robot turns away from it, waits, and turns back."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.reference.kinematics import LARGEST_CHANGE, RobotState
from hwm_env.reference.world import ReferenceWorld
from hwm_env.simulator import WorldSimulator
from hwm_env.types import (
    ANGULAR_VELOCITY,
    FRAME_RATE_HZ,
    FRAMES_PER_CLIP,
    HISTORY_CLIPS,
    LINEAR_VELOCITY,
    Float32Array,
    Float64Array,
    UInt8Array,
)

ANGLES_DEG: Final = (90.0, 180.0)
"""Smallest and largest angle of the turn, to the left or to the right."""
SPEED_RAD_S: Final = 0.6
"""Largest speed of the turn."""
STOPPING_CLIPS: Final = 1
"""Clips in which the robot comes to rest before it turns away."""
TURNING_CLIPS: Final = 10
"""Clips for each turn; the robot waits in those that the turn does not need."""
WAITING_CLIPS: Final = 1
"""Smallest number of clips between the turns."""
STAYING_CLIPS: Final = 2
"""Clips after the turn back, which are compared with the truth."""
CLIPS: Final = STOPPING_CLIPS + 2 * TURNING_CLIPS + WAITING_CLIPS + STAYING_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class AwayAndBack:
    """How true the predicted view is after the robot turned away and back; PSNR (dB) against the reference world."""

    starts: int
    """Trips, one per episode."""
    psnr: float
    """PSNR of the two clips after the turn back, mean over starts."""
    psnr_worst: float
    """The same of the worst start."""
    psnr_by_start: list[float]
    """The same of each start."""
    psnr_before: float
    """PSNR of the first predicted clip, before the turn away, for comparison."""
    psnr_tokenizer_ceiling: float
    """PSNR of the two true clips, encoded and decoded."""
    carried_pose: PoseError | None
    """Error of the worlds' carried poses at the end; `None` without a scene."""


class Trip(NamedTuple):
    """Actions, poses and frames of one trip of C clips in the reference world."""

    actions: Float32Array
    """Measured actions, [C, 17, 25]."""
    poses: Float64Array
    """Pose of the base at each frame, [C, 17, 3]."""
    before: UInt8Array
    """Frames in which the robot comes to rest, [1, 17, S, S, 3]."""
    after: UInt8Array
    """Frames after the turn back, [2, 17, S, S, 3]."""


def measure_away_and_back(
    simulator: WorldSimulator, held_out: HeldOut, *, starts: int, seed: int = 0, poses: Tensor | None = None
) -> AwayAndBack:
    """Turns away and back after the first nine clips of each episode, in the learned and in the reference world.

    Args:
        simulator: predicts the clips.
        held_out: E episodes of the reference world with true poses.
        starts: largest number of trips, one per episode.
        seed: seed of the worlds and of the angles.
        poses: poses at the end of the histories, float [E, 3]; `None`: worlds with a scene locate themselves.

    Raises:
        DatasetError: the recording has no true poses.
        RenderingUnavailableError: OpenGL is not available.
    """
    count, last = min(starts, len(held_out)), HISTORY_CLIPS - 1
    rng = np.random.default_rng(seed)
    angles = np.radians(rng.uniform(*ANGLES_DEG, count)) * rng.choice((-1.0, 1.0), count)
    base_poses, states = held_out.poses()[:, last].double().numpy(), held_out.actions[:, last, -1].numpy()
    with ReferenceWorld(simulator.checkpoint.image_size) as world:
        episodes = tqdm(range(count), desc="away and back", unit="episode")
        trips = [travel(world, base_poses[e], states[e], float(angles[e])) for e in episodes]
    past = held_out.tokens[:count, :HISTORY_CLIPS], held_out.actions[:count, :HISTORY_CLIPS]
    chunks = torch.from_numpy(np.stack([trip.actions for trip in trips]))
    seeds = [seed + row for row in range(count)]
    loops = continue_worlds(simulator, *past, chunks, seeds, poses=None if poses is None else poses[:count])
    before, after, ceiling = [], [], []
    for trip, tokens in zip(trips, loops.tokens, strict=True):
        true_before, true_after = torch.from_numpy(trip.before), torch.from_numpy(trip.after)
        recoded = simulator.tokenizer.encode(true_after)
        before.append(_psnr(simulator, tokens[:STOPPING_CLIPS], true_before))
        after.append(_psnr(simulator, tokens[-STAYING_CLIPS:], true_after))
        ceiling.append(_psnr(simulator, recoded, true_after))
    ends = torch.from_numpy(np.stack([trip.poses[-1, -1] for trip in trips]))
    return AwayAndBack(
        starts=count,
        psnr=float(np.mean(after)),
        psnr_worst=min(after),
        psnr_by_start=after,
        psnr_before=float(np.mean(before)),
        psnr_tokenizer_ceiling=float(np.mean(ceiling)),
        carried_pose=None if loops.poses is None else compare_poses(loops.poses[:, -1], ends),
    )


def travel(world: ReferenceWorld, base_pose: Float64Array, state: Float32Array, angle_rad: float) -> Trip:
    """Turns away and back on the spot, without moving any joint.

    Args:
        world: advanced to the end of the trip.
        base_pose: x (m), y (m) and yaw (rad), [3].
        state: last measured state of the robot, [25].
        angle_rad: angle of the turn away, positive to the left.
    """
    world.set_state(RobotState(base_pose, state))
    wanted = np.tile(state, (CLIPS, FRAMES_PER_CLIP, 1))
    wanted[..., LINEAR_VELOCITY] = 0.0
    wanted[..., ANGULAR_VELOCITY] = _turn_rates(angle_rad).reshape(CLIPS, FRAMES_PER_CLIP)
    measured, poses = np.empty_like(wanted), np.empty((CLIPS, FRAMES_PER_CLIP, 3))
    frames = {}
    for clip in range(CLIPS):
        if STOPPING_CLIPS <= clip < CLIPS - STAYING_CLIPS:
            for frame in range(FRAMES_PER_CLIP):
                measured[clip, frame] = world.step(wanted[clip, frame])
                poses[clip, frame] = world.state.base_pose
        else:
            measured[clip], frames[clip], poses[clip] = world.step_clip(wanted[clip])
    clips = np.stack([frames[clip] for clip in sorted(frames)])
    return Trip(measured, poses, clips[:STOPPING_CLIPS], clips[STOPPING_CLIPS:])


def turn_speeds(angle_rad: float) -> Float64Array:
    """Returns the angular velocity (rad/s) of each frame of a turn that begins and ends at rest, [F].

    It ramps up and down at the robot's largest rate and integrates to the angle.
    """
    ramp = math.ceil(SPEED_RAD_S / float(LARGEST_CHANGE[ANGULAR_VELOCITY]))
    level = max(0, math.ceil(abs(angle_rad) * FRAME_RATE_HZ / SPEED_RAD_S) - ramp)
    shares = np.minimum(np.minimum(np.arange(1, 2 * ramp + level), np.arange(2 * ramp + level - 1, 0, -1)) / ramp, 1.0)
    speeds: Float64Array = shares * (angle_rad * FRAME_RATE_HZ / shares.sum())
    return speeds


def _turn_rates(angle_rad: float) -> Float64Array:
    """Returns the angular velocity of each frame of a trip, [CLIPS * 17]."""
    turn = turn_speeds(angle_rad)
    begin, end = STOPPING_CLIPS * FRAMES_PER_CLIP, (CLIPS - STAYING_CLIPS) * FRAMES_PER_CLIP
    rates = np.zeros(CLIPS * FRAMES_PER_CLIP)
    rates[begin : begin + len(turn)] = turn
    rates[end - len(turn) : end] = -turn
    return rates


def _psnr(simulator: WorldSimulator, tokens: Tensor, truth: Tensor) -> float:
    """Returns the mean PSNR (dB) of clips with these tokens."""
    frames = simulator.tokenizer.decode(tokens.to(simulator.device)).cpu()
    return psnr_db(frames, truth).mean().item()
