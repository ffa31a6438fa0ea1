"""How far off is a read-out, quantity by quantity: on recorded clips, and on predicted ones in closed loops.

Head, gaze and hands are compared in the frame of the base, so that an error of the base does not count twice.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.held_out import HeldOut, quantities_of
from hwm_env.model.readout import Readout, to_raw
from hwm_env.reference.robot import CAMERA_FOV_DEG
from hwm_env.scene.pose import integrate_wheels
from hwm_env.simulator import WorldSimulator
from hwm_env.types import FRAMES_PER_CLIP, HISTORY_CLIPS

CLOSED_LOOP_STEPS: Final = (1, 5, 10, 20)
"""Env steps after which a closed loop is judged."""
BATCH: Final = 32

UNITS: Final = {
    "base_position": "m",
    "heading": "deg",
    "head_position": "m",
    "gaze": "deg",
    "left_hand": "m",
    "right_hand": "m",
    "hand_in_view": "m",
}
"""The quantities; `hand_in_view` are the hands, left and right together, that are in the camera's field of view."""

Summary = dict[str, dict[str, float | str]]
"""By quantity: median and p90 (nine in ten are below it) of the error, its unit, and how many were judged."""


def summarise(read: Tensor, truth: Tensor) -> Summary:
    """Compares quantities with the true ones.

    Args:
        read: [N, 15], see `Readout.read`.
        truth: [N, 15].

    Returns:
        A Summary; without `hand_in_view` where no hand is.
    """
    return {
        name: {
            "median": error.quantile(0.5).item(),
            "p90": error.quantile(0.9).item(),
            "unit": UNITS[name],
            "count": len(error),
        }
        for name, error in errors(read, truth).items()
        if len(error)
    }


def errors(read: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The error of every clip by quantity, in the units of UNITS: [N] each, fewer or more for `hand_in_view`."""
    turn = read[:, 2] - truth[:, 2]
    head, gaze, left, right = _in_frame_of_base(read).unbind(1)
    true_head, true_gaze, true_left, true_right = _in_frame_of_base(truth).unbind(1)
    hands = torch.stack([left - true_left, right - true_right], dim=1).norm(dim=2)
    return {
        "base_position": (read[:, :2] - truth[:, :2]).norm(dim=1),
        "heading": torch.atan2(turn.sin(), turn.cos()).abs().rad2deg(),
        "head_position": (head - true_head).norm(dim=1),
        "gaze": torch.atan2(torch.linalg.cross(gaze, true_gaze).norm(dim=1), (gaze * true_gaze).sum(dim=1)).rad2deg(),
        "left_hand": hands[:, 0],
        "right_hand": hands[:, 1],
        "hand_in_view": hands[hands_in_view(truth)],
    }


def hands_in_view(truth: Tensor) -> Tensor:
    """Whether left and right hand are in the field of view of a camera that does not lean sideways: bool [N, 2].

    Args:
        truth: [N, 15], see `Readout.read`.
    """
    head, gaze, left, right = truth[:, 3:].unflatten(1, (4, 3)).unbind(1)
    offsets = torch.stack([left - head, right - head], dim=1)
    sideways = torch.stack([gaze[:, 1], -gaze[:, 0], torch.zeros_like(gaze[:, 0])], dim=1)
    sideways = sideways / sideways.norm(dim=1, keepdim=True)
    ahead = (offsets * gaze[:, None]).sum(dim=2)
    reach = ahead * math.tan(math.radians(CAMERA_FOV_DEG / 2))
    across = (offsets * sideways[:, None]).sum(dim=2)
    up = (offsets * torch.linalg.cross(sideways, gaze)[:, None]).sum(dim=2)
    in_view: Tensor = (ahead > 0) & (across.abs() <= reach) & (up.abs() <= reach)
    return in_view


def measure_held_out(
    readout: Readout,
    simulator: WorldSimulator,
    recording: Path,
    *,
    starts: int,
    steps: Sequence[int] = CLOSED_LOOP_STEPS,
    seed: int = 0,
) -> dict[str, object]:
    """Judges a read-out on recorded clips that no training saw, and in closed loops with the recorded actions.

    In a closed loop the truth is where the robot was in the recording: the error is that of the read-out and the drift
    of the learned world together. Beside it stands the error on the recorded clip of the same step, that is, of the
    read-out alone; of dead reckoning, that adds up the wheels' velocities from the true start and knows of no obstacle
    (base only: all else it takes from the actions); and of a robot that never moved.

    Args:
        readout: what is judged.
        simulator: predicts the clips.
        recording: raw images and true poses, in uninterrupted stretches of nine clips and the longest loop's.
        starts: closed loops, one a stretch.
        steps: env steps after which they are judged.
        seed: of the worlds.

    Returns:
        What JSON can hold: `starts`, `start` (a Summary for the last clips before the loops) and `closed_loop`, by env
        step and then by `predicted`, `recorded`, `dead_reckoning` and `never_moved` a Summary.

    Raises:
        DatasetError: the recording has fewer such stretches, no raw images or no true poses.
    """
    held_out = HeldOut(
        recording, simulator.tokenizer, clips_per_episode=HISTORY_CLIPS + max(steps), num_episodes=starts
    )
    begin = held_out.quantities()[:, HISTORY_CLIPS - 1]
    predicted = run_closed_loops(simulator, held_out, max(steps), seed).tokens
    return {
        "starts": starts,
        "start": summarise(read_clips(readout, held_out.tokens[:, HISTORY_CLIPS - 1]), begin),
        "closed_loop": judge_loops(readout, held_out, predicted, steps),
    }


def judge_loops(
    readout: Readout, held_out: HeldOut, predicted: Tensor, steps: Sequence[int] = CLOSED_LOOP_STEPS
) -> dict[str, dict[str, Summary]]:
    """Where closed loops lead, with the recorded actions; see `measure_held_out`.

    Args:
        readout: reads the clips.
        held_out: E episodes with true poses.
        predicted: tokens of the loops' clips, from `run_closed_loops`, int [E, most steps, 3, H, W].
        steps: env steps after which they are judged; those beyond the loops are left out.

    Returns:
        By env step and then by `predicted`, `recorded`, `dead_reckoning` and `never_moved` a Summary.
    """
    truth = held_out.quantities()
    begin, numbers = truth[:, HISTORY_CLIPS - 1], held_out.actions[:, :, -1]
    reckoned = quantities_of(
        dead_reckoning(begin[:, :3], held_out.actions[:, HISTORY_CLIPS:]), numbers[:, HISTORY_CLIPS:]
    )
    by_step = {}
    for step in (step for step in steps if step <= predicted.shape[1]):
        clip = HISTORY_CLIPS + step - 1
        by_step[str(step)] = {
            "predicted": summarise(read_clips(readout, predicted[:, step - 1]), truth[:, clip]),
            "recorded": summarise(read_clips(readout, held_out.tokens[:, clip]), truth[:, clip]),
            "dead_reckoning": summarise(reckoned[:, step - 1], truth[:, clip]),
            "never_moved": summarise(begin, truth[:, clip]),
        }
    return by_step


def dead_reckoning(poses: Tensor, actions: Tensor) -> Tensor:
    """Where the wheels would bring a base in an empty world, along exact circular arcs.

    Args:
        poses: x (m), y (m), yaw (rad) at the beginning, [E, 3].
        actions: measured numbers, [E, C, 17, 25].

    Returns:
        The pose at the end of each of the C clips, [E, C, 3].
    """
    of_frames = integrate_wheels(poses.double(), actions.flatten(1, 2).double())
    return of_frames[:, FRAMES_PER_CLIP - 1 :: FRAMES_PER_CLIP]


def _in_frame_of_base(read: Tensor) -> Tensor:
    """Head, gaze, left and right hand of quantities [N, 15]: [N, 4, 3]."""
    parts: Tensor = to_raw(read, 1.0)[:, 4:].unflatten(1, (4, 3))
    return parts


def read_clips(readout: Readout, tokens: Tensor) -> Tensor:
    """Reads clips [N, 3, H, W]: float32 [N, 15]."""
    device = next(readout.parameters()).device
    return torch.cat([readout.read(part.to(device)).cpu() for part in tokens.split(BATCH)])
