"""Does a world show what it believes? The pose that its predicted clips show, beside the one that it carries."""

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
"""Env steps after which a loop is judged."""
BEGINNINGS: Final = (
    (0.0, 0.0, 0.0),
    (0.4, 0.0, 0.0),
    (-0.4, 0.0, 0.0),
    (0.0, 0.4, 0.0),
    (0.0, -0.4, 0.0),
    (0.0, 0.0, 0.3),
    (0.0, 0.0, -0.3),
)
"""Where the search begins, beside the carried pose: ahead (m), to the left (m), turned (rad)."""
BATCH: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PaintedPose:
    """Where predicted clips are seen from; unknown where they are unlikely at every pose that was tried."""

    from_truth: PoseError
    from_carried: PoseError
    """How far clips are from where the world believes to be."""


def measure_painted_pose(
    simulator: WorldSimulator, loops: Loops, actions: Tensor, truth: Tensor, steps: Sequence[int] = PAINTED_STEPS
) -> dict[str, PaintedPose]:
    """Locates the newest clips that worlds have predicted, nine at most.

    Args:
        simulator: what predicted them.
        loops: of N worlds with a scene.
        actions: of the predicted clips, float [N, at least the steps, 17, 25].
        truth: poses at the end of each of them, float [N, at least the steps, 3].
        steps: env steps after which loops are judged; those beyond the loops are left out.

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
    """Returns the pose at the end of predicted clips, [N, 3]; NaN where the carried pose or the place is not known."""
    scene, readout, device = simulator.scene, simulator.checkpoint.readout, simulator.device
    assert scene is not None, "worlds without a scene carry no pose"
    painted = torch.full_like(carried, torch.nan)
    known = carried.isfinite().all(dim=1).nonzero().flatten()
    for rows in tqdm(known.split(BATCH), desc="painted pose", unit="batch"):
        of_rows, numbers = tokens[rows].to(device), actions[rows].to(device)
        beginnings = compose(carried[rows, None].to(device), carried.new_tensor(BEGINNINGS).to(device))
        if readout is not None:
            seen = readout.read(of_rows.flatten(0, 1))[:, :POSE_DIM].unflatten(0, of_rows.shape[:2])
            beginnings = torch.cat([beginnings, from_clip_poses(seen, numbers)], dim=1)
        found = localise(scene.model, scene.odometry, of_rows, numbers, beginnings)
        bound = scene.use.unknown_above
        likely = found.losses <= (torch.inf if bound is None else bound)
        painted[rows] = torch.where(likely[:, None], found.poses, torch.nan).cpu()
    return painted
