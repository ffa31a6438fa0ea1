"""A planner that notes what its plans imagine and what comes of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwm_env.envs.episodes import Episode
from hwm_env.envs.world import World, WorldMoment
from hwm_env.tasks.base import RecordedHistory, WorldReadout
from policies.mpc import MPC


@dataclass(frozen=True, slots=True)
class Planned:
    """One plan."""

    row: int
    """Row of its episode."""
    step: int
    """Env steps of the episode before it."""
    seconds: float
    """Time that planning took, with finding the pose."""
    worth: float
    """Its imagined return, discounted."""
    gap_m: float | None = None
    """Distance between the imagined and the true place after its first chunk; `None` if nothing came after it."""
    gap_deg: float | None = None
    """Difference of the headings then."""


class TracedMPC(MPC):
    """MPC with a note on each plan; see MPC for the arguments."""

    def begin(self, world: World[Any], histories: Sequence[RecordedHistory], episodes: Sequence[Episode[Any]]) -> None:
        """Begins planning; see Planner."""
        super().begin(world, histories, episodes)
        self.planned: list[Planned] = []
        """All plans, in the order of planning."""
        self._newest: list[tuple[int, WorldReadout | None] | None] = [None] * len(episodes)
        """Index of each row's newest plan, and what it imagines after its first chunk."""
        self._began_s = time.perf_counter()

    def watch(self, episodes: Sequence[Episode[Any]]) -> None:
        """Plans for the rows that have advanced, and compares what they imagined with what came of it."""
        for row, (episode, seen) in enumerate(zip(episodes, self._seen, strict=True)):
            newest = self._newest[row]
            if episode is not seen and newest is not None:
                index, imagined = newest
                gap_m, gap_deg = _gap(imagined, episode.moment.readout)
                self.planned[index] = replace(self.planned[index], gap_m=gap_m, gap_deg=gap_deg)
        self._began_s = time.perf_counter()
        super().watch(episodes)

    def _chosen(self, row: int, episode: Episode[Any], moment: WorldMoment) -> None:
        plan, now_s = self._plans[row], time.perf_counter()
        assert plan is not None, "it has just been made"
        (after,) = self._world.step([moment], plan.chunks[:1])
        self._newest[row] = len(self.planned), after.readout
        self.planned.append(Planned(row, episode.elapsed_steps, now_s - self._began_s, plan.worth))
        self._began_s = time.perf_counter()


def _gap(imagined: WorldReadout | None, true: WorldReadout | None) -> tuple[float, float] | tuple[None, None]:
    """Returns the distance (m) and the difference of the headings (deg) of two read-outs, if both are known."""
    if imagined is None or true is None:
        return None, None
    away, turn = imagined.base_pose - true.base_pose, imagined.base_yaw_rad - true.base_yaw_rad
    return float(np.hypot(*away[:2])), float(np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn)))))
