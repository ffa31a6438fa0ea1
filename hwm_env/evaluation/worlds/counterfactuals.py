"""Does the world do what it is told? Several actions from one moment, each compared with what each would truly show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from hwm_env.errors import DatasetError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import HeldOut
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
"""Numbers that each action aims at; the others stay what they are."""
FREE_PATH_M: Final = 0.5
"""What must lie free ahead, so that "forward" is not "stay"."""
AT_REST: Final = 0.05
"""Largest velocity (m/s, rad/s) of a moment that the actions start from."""
ARM_DOWN_RAD: Final = 0.3
"""Largest shoulder pitch: an arm that is up cannot be raised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterfactuals:
    """How often a predicted clip is nearest to the true clip of its own action."""

    starts: int
    """Moments; each gives a case for every action."""
    right: float
    """Share of cases; chance is 1 / 7."""
    right_by_action: dict[str, float]
    confused_with: dict[str, dict[str, int]]
    """By action, how often each other one's true clip was nearest."""


def measure_counterfactuals(simulator: WorldSimulator, held_out: HeldOut, *, starts: int, seed: int) -> Counterfactuals:
    """Gives each of the actions for one env step, in the learned and in the reference world.

    Args:
        simulator: the world.
        held_out: with true poses; each episode gives at most one start.
        starts: moments at rest, arms hanging and the way ahead free; at most, as many as are found.
        seed: of the worlds; all actions of a moment have the same.

    Raises:
        DatasetError: the recording has no true poses, or no such moment.
        RenderingUnavailableError: there is no OpenGL here.
    """
    poses = held_out.poses().double().numpy()
    numbers = held_out.actions[:, :, -1].numpy()
    found = [(episode, _first_at_rest(poses[episode], numbers[episode])) for episode in range(len(held_out))]
    ends = [(episode, clip) for episode, clip in found if clip is not None][:starts]
    if not ends:
        raise DatasetError(f"none of {len(held_out)} episodes rests before free space; give more starts")
    confusion = np.zeros((len(COMMANDS), len(COMMANDS)), np.int64)
    with ReferenceWorld(simulator.checkpoint.image_size) as world:
        for index, (episode, clip) in enumerate(ends):
            measured, truth = _true_clips(world, poses[episode, clip], numbers[episode, clip])
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
            for row, one in enumerate(frames):
                nearest = psnr_db(one.expand_as(truth), truth).argmax().item()
                confusion[row, int(nearest)] += 1
    return _summary(confusion)


def _summary(confusion: Int64Array) -> Counterfactuals:
    """Of the counts [7, 7], commanded by nearest."""
    starts = int(confusion[0].sum())
    rows = zip(COMMANDS, confusion.tolist(), strict=True)
    by_name = {name: dict(zip(COMMANDS, counts, strict=True)) for name, counts in rows}
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
    world: ReferenceWorld, base_pose: Float64Array, numbers: Float32Array
) -> tuple[Float32Array, torch.Tensor]:
    """What each action would measure, [7, 17, 25], and show, uint8 [7, 17, S, S, 3]."""
    measured, frames = [], []
    for targets in COMMANDS.values():
        wanted = numbers.copy()
        wanted[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] = 0.0
        for name, value in targets.items():
            wanted[ACTION_NAMES.index(name)] = value
        world.set_state(RobotState(base_pose, numbers))
        of_clip, pictures, _ = world.step_clip(np.tile(wanted, (FRAMES_PER_CLIP, 1)))
        measured.append(of_clip)
        frames.append(pictures)
    return np.stack(measured), torch.from_numpy(np.stack(frames))


def _first_at_rest(poses: Float64Array, numbers: Float32Array) -> int | None:
    """The first clip, with a whole history, whose end suits all actions; of poses [C, 3] and numbers [C, 25]."""
    shoulders = [ACTION_NAMES.index(f"{side}_shoulder_pitch") for side in ("left", "right")]
    neck = ACTION_NAMES.index("neck_pitch")
    for clip in range(HISTORY_CLIPS - 1, len(poses)):
        now = numbers[clip]
        if (
            np.abs(now[[LINEAR_VELOCITY, ANGULAR_VELOCITY]]).max() <= AT_REST
            and now[shoulders].max() <= ARM_DOWN_RAD
            and abs(now[neck] - REST_POSE[neck]) <= ARM_DOWN_RAD
            and room.free_path_m(poses[clip, :2], float(poses[clip, 2])) >= FREE_PATH_M
        ):
            return clip
    return None
