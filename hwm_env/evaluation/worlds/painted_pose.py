"""Measures the painted pose: the pose that predicted clips show, compared with the truth and the carried pose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.scene.localiser import localise
from hwm_env.scene.pose import compose
from hwm_env.scene.pose_candidates import from_clip_poses
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS, POSE_DIM

PAINTED_STEPS: Final = (10, 20)
"""Env steps after which loops are compared."""
BEGINNINGS: Final = (
    (0.0, 0.0, 0.0),
    (0.4, 0.0, 0.0),
    (-0.4, 0.0, 0.0),
    (0.0, 0.4, 0.0),
    (0.0, -0.4, 0.0),
    (0.0, 0.0, 0.3),
    (0.0, 0.0, -0.3),
)
"""Offsets from the carried pose at which the search begins: ahead (m), to the left (m), turn (rad)."""
BATCH: Final = 8
"""Worlds that are located together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaintedPose:
    """Distances of the painted pose, which is unknown if the clips are unlikely at every pose that was tried."""

    from_truth: PoseError
    """From the true pose."""
    from_carried: PoseError
    """From the carried pose."""


def measure_painted_pose(
    simulator: WorldSimulator, loops: Loops, actions: Tensor, truth: Tensor, steps: Sequence[int] = PAINTED_STEPS
) -> dict[str, PaintedPose]:
    """Locates the newest predicted clips of closed loops, nine at most.

    Args:
        simulator: simulator that predicted them.
        loops: loops of N worlds with a scene.
        actions: actions of the predicted clips, float [N, at least the largest step, 17, 25].
        truth: true poses at their ends, float [N, at least the largest step, 3].
        steps: env steps after which loops are compared; those beyond the loops are left out.

    Returns:
        PaintedPose by env step.
    """
    assert loops.poses is not None, "worlds without a scene carry no pose"
    by_step = {}
    for step in (step for step in steps if step <= loops.tokens.shape[1]):
        newest = slice(max(0, step - HISTORY_CLIPS), step)
        carried = loops.poses[:, step]
        painted = _painted(simulator, loops.tokens[:, newest], actions[:, newest], carried)
        by_step[str(step)] = PaintedPose(
            from_truth=compare_poses(painted, truth[:, step - 1]), from_carried=compare_poses(painted, carried)
        )
    return by_step


def _painted(simulator: WorldSimulator, tokens: Tensor, actions: Tensor, carried: Tensor) -> Tensor:
    """Returns the painted pose at the end of predicted clips, [N, 3]; NaN where it or the carried pose is unknown."""
    scene, readout, device = simulator.scene, simulator.checkpoint.readout, simulator.device
    assert scene is not None, "worlds without a scene carry no pose"
    painted = torch.full_like(carried, torch.nan)
    known = carried.isfinite().all(dim=1).nonzero().flatten()
    for rows in tqdm(known.split(BATCH), desc="painted pose", unit="batch"):
        row_tokens, row_actions = tokens[rows].to(device), actions[rows].to(device)
        beginnings = compose(carried[rows, None].to(device), carried.new_tensor(BEGINNINGS).to(device))
        if readout is not None:
            read = readout.read(row_tokens.flatten(0, 1))[:, :POSE_DIM].unflatten(0, row_tokens.shape[:2])
            beginnings = torch.cat([beginnings, from_clip_poses(read, row_actions)], dim=1)
        found = localise(scene.model, scene.odometry, row_tokens, row_actions, beginnings)
        bound = scene.use.unknown_above
        likely = found.losses <= (torch.inf if bound is None else bound)
        painted[rows] = torch.where(likely[:, None], found.poses, torch.nan).cpu()
    return painted
