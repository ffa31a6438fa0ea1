"""Measures how well and how fast worlds locate themselves from recorded histories."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalisationReport:
    """Errors and times of worlds that begin from nine recorded clips."""

    error: PoseError
    """Error of the carried pose at reset."""
    seconds_a_reset: float
    """Median time to begin one world, including the encoding of its history."""
    worst_seconds_a_reset: float
    """Longest time; if the first search finds no likely pose, the whole room is searched."""


class LocatedStarts(NamedTuple):
    """Poses at the end of the first nine clips of each episode, as worlds with a scene locate them."""

    poses: Tensor
    """Located poses, float32 [E, 3], NaN where unknown."""
    seconds: Tensor
    """Time to begin each world, float64 [E]."""

    def compare(self, held_out: HeldOut) -> LocalisationReport:
        """Compares the located poses with the true ones of the recording."""
        truth = held_out.poses()[:, HISTORY_CLIPS - 1]
        return LocalisationReport(
            error=compare_poses(self.poses, truth),
            seconds_a_reset=self.seconds.quantile(0.5).item(),
            worst_seconds_a_reset=self.seconds.max().item(),
        )


def locate_starts(simulator: WorldSimulator, held_out: HeldOut) -> LocatedStarts | None:
    """Begins a world from each episode, one at a time, and returns where they are; `None` without a scene."""
    poses, seconds = [], []
    for episode in tqdm(range(len(held_out)), desc="locate", unit="episode"):
        started_s = time.perf_counter()
        rows = slice(episode, episode + 1)
        located = located_poses(
            simulator, held_out.tokens[rows, :HISTORY_CLIPS], held_out.actions[rows, :HISTORY_CLIPS]
        )
        if located is None:
            return None
        poses.append(located)
        seconds.append(time.perf_counter() - started_s)
    return LocatedStarts(torch.cat(poses), torch.tensor(seconds, dtype=torch.float64))


def located_poses(simulator: WorldSimulator, tokens: Tensor, actions: Tensor) -> Tensor | None:
    """Returns the carried poses of worlds that begin from these histories, on the CPU; `None` without a scene."""
    if simulator.scene is None:
        return None
    state = simulator.begin(tokens, actions, [0] * len(tokens))
    assert state.belief is not None, "worlds with a scene have a belief"
    return state.belief.poses.cpu()


def carry_along(scene: Scene, poses: Tensor, actions: Tensor) -> Tensor:
    """Carries poses along recorded actions by the scene's odometry.

    Args:
        scene: scene with the odometry.
        poses: poses at the beginning, float [E, 3], NaN where unknown.
        actions: measured actions, float [E, C, 17, 25].

    Returns:
        The poses at the beginning and at the end of each clip, float32 [E, C + 1, 3], on the CPU.
    """
    device = next(scene.odometry.parameters()).device
    belief = PoseBelief.certain(poses.to(device))
    carried = [belief.poses]
    for chunk in actions.to(device).unbind(1):
        belief = scene.carried(belief, scene.path(belief, chunk))
        carried.append(belief.poses)
    return torch.stack(carried, dim=1).cpu()
