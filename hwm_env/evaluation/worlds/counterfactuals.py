"""Measures whether a world follows its actions: several actions from one moment, compared with their true clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from hwm_env.errors import DatasetError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import AT_REST, HeldOut, find_clips
from hwm_env.evaluation.worlds.localisation import located_poses
from hwm_env.reference import room
from hwm_env.reference.kinematics import RobotState
from hwm_env.reference.robot import REST_POSE
from hwm_env.reference.world import ReferenceWorld
from hwm_env.simulator import WorldSimulator
from hwm_env.types import (
    ACTION_NAMES,
    ANGULAR_VELOCITY,
    FRAMES_PER_CLIP,
    HISTORY_CLIPS,
    LINEAR_VELOCITY,
    Float32Array,
    Float64Array,
    Int64Array,
)

COMMANDS: Final[Mapping[str, Mapping[str, float]]] = {
    "stay": {},
    "left": {"angular_velocity": 0.6},
    "right": {"angular_velocity": -0.6},
    "forward": {"linear_velocity": 0.5},
    "nod": {"neck_pitch": 0.6},
    "left_arm_up": {"left_shoulder_pitch": 1.3, "left_elbow_pitch": 0.9},
    "right_arm_up": {"right_shoulder_pitch": 1.3, "right_elbow_pitch": 0.9},
}
"""Target numbers of each action; the others keep their values."""
FREE_PATH_M: Final = 0.5
"""Smallest free path ahead at a start, so that "forward" differs from "stay"."""
ARM_DOWN_RAD: Final = 0.3
"""Largest shoulder pitch at a start, so that arms can be raised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterfactuals:
    """How often a predicted clip is nearest (in PSNR) to the true clip of its own action."""

    starts: int
    """Number of moments, each with a case for every action."""
    right: float
    """Share of cases, 0..1; chance is 1 / 7."""
    right_by_action: dict[str, float]
    """The same by action."""
    confused_with: dict[str, dict[str, int]]
    """By action, how often the true clip of each other action was nearest."""


def measure_counterfactuals(simulator: WorldSimulator, held_out: HeldOut, *, starts: int, seed: int) -> Counterfactuals:
    """Takes each action for one env step from the same moments, in the learned and in the reference world.

    Starts are moments at rest with hanging arms and free space ahead.

    Args:
        simulator: predicts the clips.
        held_out: episodes of the reference world with true poses.
        starts: largest number of starts, one per episode.
        seed: seed of the first start's worlds, equal for all actions; each next start has one more.

    Raises:
        DatasetError: the recording has no true poses, or no such moment.
        RenderingUnavailableError: OpenGL is not available.
    """
    poses = held_out.poses().double()
    states = held_out.actions[:, :, -1].numpy()
    ends = find_clips(poses, lambda e, c: _suits_all_actions(poses[e, c].numpy(), states[e, c]), starts)
    if not ends:
        raise DatasetError(f"none of {len(held_out)} episodes rests before free space; use more starts")
    confusion = np.zeros((len(COMMANDS), len(COMMANDS)), np.int64)
    with ReferenceWorld(simulator.checkpoint.image_size) as world:
        for index, (episode, clip) in enumerate(ends):
            measured, truth = _true_clips(world, poses[episode, clip].numpy(), states[episode, clip])
            history = slice(clip - HISTORY_CLIPS + 1, clip + 1)
            tokens, actions = (
                past[episode, history].expand(len(COMMANDS), *past[episode, history].shape)
                for past in (held_out.tokens, held_out.actions)
            )
            located = located_poses(simulator, tokens[:1], actions[:1])
            loops = continue_worlds(
                simulator,
                tokens,
                actions,
                torch.from_numpy(measured)[:, None],
                [seed + index] * len(COMMANDS),
                poses=None if located is None else located.expand(len(COMMANDS), -1),
            )
            frames = simulator.tokenizer.decode(loops.tokens[:, 0].to(simulator.device)).cpu()
            for action, predicted in enumerate(frames):
                nearest = psnr_db(predicted.expand_as(truth), truth).argmax().item()
                confusion[action, int(nearest)] += 1
    return _summary(confusion)


def _summary(confusion: Int64Array) -> Counterfactuals:
    """Summarises counts [7, 7] of commanded and nearest actions."""
    starts = int(confusion[0].sum())
    by_action = zip(COMMANDS, confusion.tolist(), strict=True)
    by_name = {name: dict(zip(COMMANDS, counts, strict=True)) for name, counts in by_action}
    return Counterfactuals(
        starts=starts,
        right=float(confusion.trace() / confusion.sum()),
        right_by_action={name: counts[name] / starts for name, counts in by_name.items()},
        confused_with={
            name: {other: count for other, count in counts.items() if count and other != name}
            for name, counts in by_name.items()
        },
    )


def _true_clips(
    world: ReferenceWorld, base_pose: Float64Array, state: Float32Array
) -> tuple[Float32Array, torch.Tensor]:
    """Returns the measured actions, [7, 17, 25], and frames, uint8 [7, 17, S, S, 3], of each action's true clip."""
    measured, frames = [], []
    for targets in COMMANDS.values():
        wanted = state.copy()
        wanted[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] = 0.0
        for name, value in targets.items():
            wanted[ACTION_NAMES.index(name)] = value
        world.set_state(RobotState(base_pose, state))
        clip_measured, clip_frames, _ = world.step_clip(np.tile(wanted, (FRAMES_PER_CLIP, 1)))
        measured.append(clip_measured)
        frames.append(clip_frames)
    return np.stack(measured), torch.from_numpy(np.stack(frames))


def _suits_all_actions(pose: Float64Array, state: Float32Array) -> bool:
    """Checks whether every action changes the view from a pose [3] and state [25]."""
    shoulders = [ACTION_NAMES.index(f"{side}_shoulder_pitch") for side in ("left", "right")]
    neck = ACTION_NAMES.index("neck_pitch")
    return bool(
        np.abs(state[[LINEAR_VELOCITY, ANGULAR_VELOCITY]]).max() <= AT_REST
        and state[shoulders].max() <= ARM_DOWN_RAD
        and abs(state[neck] - REST_POSE[neck]) <= ARM_DOWN_RAD
        and room.free_path_m(pose[:2], float(pose[2])) >= FREE_PATH_M
    )
