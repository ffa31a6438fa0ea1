"""Plays tasks in the reference world without drawing it: exact read-outs, scripted and random robots."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from hwm_env.reference import robot, room
from hwm_env.reference.body import quantities
from hwm_env.reference.kinematics import RobotState, advance, wrap_angle
from hwm_env.robot import EVE
from hwm_env.tasks.base import EpisodeStart, Goal, Outcome, Task, TaskView, WorldReadout
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ, FRAMES_PER_CLIP

ENV_STEPS = 40
LARGEST_CHANGE = robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ)
CELL_M = 0.1

Numbers = dict[str, float]
Script = Callable[[RobotState], Numbers]
"""From the present state to the numbers to aim at, by name."""


@dataclass(frozen=True)
class SeenMoment:
    """The part of a TaskView that tasks of the room look at."""

    readout: WorldReadout
    measured: np.ndarray


@dataclass(frozen=True)
class Played:
    """One episode."""

    moments: list[TaskView]
    outcomes: list[Outcome]

    @property
    def success(self) -> bool:
        return self.outcomes[-1].success

    def total(self, term: str) -> float:
        return sum(outcome.reward_terms[term] for outcome in self.outcomes)


def moment_of(state: RobotState) -> TaskView:
    readout = quantities(state.base_pose[None], state.action[None])[0]
    return SeenMoment(WorldReadout.from_vector(readout), np.tile(state.action, (FRAMES_PER_CLIP, 1)))


def moment_at(x_m: float, y_m: float, yaw_rad: float, **numbers: float) -> TaskView:
    """The robot in its rest pose, but for some numbers."""
    return moment_of(RobotState(np.array([x_m, y_m, yaw_rad]), robot.pose(numbers)))


def begin(task: Task, moment: TaskView, seed: int | np.random.Generator = 0, **options: object) -> Goal:
    task.check_options(options)
    rng = np.random.default_rng(seed)
    start = EpisodeStart(
        rng=rng, moment=moment, history=None, options=options, num_starts=0, recorded=None, tokenizer=None, robot=EVE
    )
    return task.reset(start)


def random_state(rng: np.random.Generator) -> RobotState:
    """At rest in a free place, looking anywhere."""
    xy = rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, 2)
    while not room.is_free(xy, margin_m=0.1):
        xy = rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, 2)
    return RobotState(np.array([*xy, rng.uniform(-np.pi, np.pi)]), robot.REST_POSE)


def play(goal: Goal, state: RobotState, script: Script) -> Played:
    """Plays until success, at most ENV_STEPS; the robot must be able to follow all actions."""
    moments, outcomes = [moment_of(state)], []
    for step in range(1, ENV_STEPS + 1):
        for _ in range(FRAMES_PER_CLIP):
            change = np.clip(robot.pose(script(state)) - state.action, -LARGEST_CHANGE, LARGEST_CHANGE)
            action = np.clip(state.action + change, robot.ACTION_LOW, robot.ACTION_HIGH)
            state = advance(state, action)
            np.testing.assert_allclose(state.action, action, atol=1e-6)
        moments.append(moment_of(state))
        outcomes.append(goal.evaluate(moments[-2], moments[-1], step))
        if outcomes[-1].terminated:
            break
    return Played(moments, outcomes)


def random_script(rng: np.random.Generator) -> Script:
    """Aims at other numbers in every frame, anywhere between the robot's limits, as random action chunks do."""

    def script(state: RobotState) -> Numbers:
        return dict(zip(ACTION_NAMES, rng.uniform(robot.ACTION_LOW, robot.ACTION_HIGH).tolist(), strict=True))

    return script


def turn_by(angle_rad: float) -> Numbers:
    return {"angular_velocity": float(np.clip(2.0 * angle_rad, -0.8, 0.8))}


def bearing(state: RobotState, xy: tuple[float, float]) -> float:
    x, y, yaw = state.base_pose
    return wrap_angle(math.atan2(xy[1] - y, xy[0] - x) - yaw)


class Route:
    """The shortest ways of the base to a place, around all furniture (Dijkstra over cells of 10 cm)."""

    def __init__(self, xy: tuple[float, float]) -> None:
        self._xy = xy
        self._paths: dict[tuple[int, int], float] = {_cell(xy): 0.0}
        queue = [(0.0, _cell(xy))]
        while queue:
            path, (i, j) = heapq.heappop(queue)
            for di, dj in _NEIGHBOURS:
                near, length = (i + di, j + dj), path + math.hypot(di, dj)
                if near in _free_cells() and length < self._paths.get(near, math.inf):
                    self._paths[near] = length
                    heapq.heappush(queue, (length, near))

    def __contains__(self, xy: tuple[float, float]) -> bool:
        return _cell(xy) in self._paths

    def drive(self, state: RobotState) -> Numbers:
        """The velocities that follow the way: turn first, then go."""
        x, y, _ = state.base_pose
        at = _cell((x, y))
        if at not in self._paths:
            at = min(self._paths, key=lambda cell: math.dist((x, y), _place(cell)))
        for _ in range(4):
            if self._paths[at] > 0:
                at = min(
                    ((at[0] + di, at[1] + dj) for di, dj in _NEIGHBOURS), key=lambda c: self._paths.get(c, math.inf)
                )
        ahead = self._xy if self._paths[at] == 0 else _place(at)
        turn, distance = bearing(state, ahead), math.dist((x, y), ahead)
        speed = min(0.65, 1.5 * distance) if abs(turn) < 0.4 else 0.0
        return {**turn_by(turn), "linear_velocity": speed}


_NEIGHBOURS = [(di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1) if (di, dj) != (0, 0)]


@cache
def _free_cells() -> frozenset[tuple[int, int]]:
    most = round(room.HALF_SIZE_M / CELL_M)
    cells = [(i, j) for i in range(-most, most + 1) for j in range(-most, most + 1)]
    free = room.is_free(CELL_M * np.array(cells), margin_m=0.03)
    return frozenset(cell for cell, is_free in zip(cells, free, strict=True) if is_free)


def _cell(xy: tuple[float, float]) -> tuple[int, int]:
    return round(xy[0] / CELL_M), round(xy[1] / CELL_M)


def _place(cell: tuple[int, int]) -> tuple[float, float]:
    return cell[0] * CELL_M, cell[1] * CELL_M
