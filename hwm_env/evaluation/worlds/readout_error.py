"""Measures the errors of a read-out by quantity, on recorded clips and on predicted ones in closed loops.

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
"""Env steps after which closed loops are compared."""
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
"""Unit of the error of each quantity; `hand_in_view` covers the hands, left or right, in the camera's field of view."""

Summary = dict[str, dict[str, float | str]]
"""By quantity: `median` and `p90` (90th percentile) of the error, its `unit`, and the `count` of errors."""


def summarise(read: Tensor, truth: Tensor) -> Summary:
    """Summarises the errors of quantities.

    Args:
        read: estimated quantities, [N, 15], see `Readout.read`.
        truth: true quantities, [N, 15].

    Returns:
        A Summary, without `hand_in_view` if no hand is in view.
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
    """Returns the errors by quantity, in the units of UNITS: [N] each, except for `hand_in_view`; see `summarise`."""
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
    """Checks whether the left and the right hand are in the field of view of a camera without roll.

    Args:
        truth: true quantities, [N, 15], see `Readout.read`.

    Returns:
        bool [N, 2].
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
    """Measures a read-out on held-out recorded clips, and in closed loops with the recorded actions.

    In a closed loop the truth is the recording, so the error is that of the read-out plus the drift of the learned
    world. It is reported with three others: that on the recorded clip of the same step (the read-out alone), that of
    dead reckoning, which integrates the wheels' velocities from the true start and ignores obstacles (base only: all
    other quantities follow from the actions), and that of a robot that never moves.

    Args:
        readout: the read-out.
        simulator: predicts the clips.
        recording: directory of raw images and true poses, in uninterrupted stretches of 9 + `max(steps)` clips.
        starts: number of closed loops, one per stretch.
        steps: env steps after which loops are compared.
        seed: seed of the first loop's world; each next one has one more.

    Returns:
        Ready for JSON: `starts`, `start` (a Summary for the last clips before the loops) and `closed_loop`, see
        `compare_readouts`.

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
        "closed_loop": compare_readouts(readout, held_out, predicted, steps),
    }


def compare_readouts(
    readout: Readout, held_out: HeldOut, predicted: Tensor, steps: Sequence[int] = CLOSED_LOOP_STEPS
) -> dict[str, dict[str, Summary]]:
    """Compares what is read in closed loops with the truth and with baselines; see `measure_held_out`.

    Args:
        readout: reads the clips.
        held_out: E episodes with true poses.
        predicted: tokens of the loops' clips, from `run_closed_loops`, int [E, steps, 3, H, W].
        steps: env steps after which loops are compared; those beyond the loops are left out.

    Returns:
        A Summary by env step, then by `predicted`, `recorded`, `dead_reckoning` and `never_moved`.
    """
    truth = held_out.quantities()
    begin, states = truth[:, HISTORY_CLIPS - 1], held_out.actions[:, :, -1]
    reckoned = quantities_of(
        dead_reckoning(begin[:, :3], held_out.actions[:, HISTORY_CLIPS:]), states[:, HISTORY_CLIPS:]
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
    """Integrates the wheels' velocities along exact circular arcs, without obstacles.

    Args:
        poses: poses at the beginning, x (m), y (m) and yaw (rad), [E, 3].
        actions: measured actions, [E, C, 17, 25].

    Returns:
        The pose at the end of each clip, [E, C, 3].
    """
    of_frames = integrate_wheels(poses.double(), actions.flatten(1, 2).double())
    return of_frames[:, FRAMES_PER_CLIP - 1 :: FRAMES_PER_CLIP]


def _in_frame_of_base(read: Tensor) -> Tensor:
    """Returns head, gaze, left and right hand of quantities [N, 15] in the frame of the base, [N, 4, 3]."""
    parts: Tensor = to_raw(read, 1.0)[:, 4:].unflatten(1, (4, 3))
    return parts


def read_clips(readout: Readout, tokens: Tensor) -> Tensor:
    """Reads quantities from the tokens of clips, int [N, 3, H, W]: float32 [N, 15], on the CPU."""
    device = next(readout.parameters()).device
    return torch.cat([readout.read(part.to(device)).cpu() for part in tokens.split(BATCH)])
