"""Driving of a teleoperator: short stretches of straight, arc, turn, approach and pause that mind the room."""

from typing import Final

import numpy as np

from hwm_env.reference import room
from hwm_env.reference.kinematics import wrap_angle
from hwm_env.types import FRAME_RATE_HZ, Float64Array

_SHARES: Final = {"pause": 0.20, "turn": 0.30, "forward": 0.14, "backward": 0.06, "arc": 0.16, "approach": 0.14}
_STUBBORN_SHARE: Final = 0.45
"""Probability of driving into an obstacle ahead, so that recordings show the effect of obstacles."""
_BRAKING_PATH_M: Final = 0.45
_CLEAR_PATH_M: Final = 1.6
_APPROACH_SPEED_M_S: Final = 0.4
_APPROACH_FRAMES: Final = 10 * FRAME_RATE_HZ


class Driver:
    """Chooses wheel velocities for one stretch of one to three seconds after the other.

    Args:
        rng: generator of all random choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._velocity_m_s = 0.0
        self._turn_rate_rad_s = 0.0
        self._frames_left = 0
        self._goal: tuple[float, float] | None = None
        self._goal_path_m = 0.0
        self._is_stubborn = False

    def velocities(self, base_pose: Float64Array) -> tuple[float, float]:
        """Returns the target linear (m/s) and angular (rad/s) velocity of this frame.

        Args:
            base_pose: x (m), y (m) and yaw (rad) of the base, [3].
        """
        if self._frames_left <= 0:
            self._choose(base_pose)
        if self._goal is not None:
            self._steer(base_pose, self._goal)
        if not self._is_stubborn:
            self._mind_obstacles(base_pose)
        self._frames_left -= 1
        return self._velocity_m_s, self._turn_rate_rad_s

    def _choose(self, base_pose: Float64Array) -> None:
        self._is_stubborn = False
        is_nose_to_wall = room.free_path_m(base_pose[:2], base_pose[2], _CLEAR_PATH_M) < 2 * _BRAKING_PATH_M
        if is_nose_to_wall and self._rng.random() < 0.8:
            self._turn_away(base_pose)
            return
        choice = self._rng.choice(list(_SHARES), p=list(_SHARES.values()))
        side = self._rng.choice((-1.0, 1.0))
        if choice == "turn":
            self._start(0.0, side * self._rng.uniform(0.3, 0.65))
        elif choice == "forward":
            self._start(self._rng.uniform(0.2, 0.5), 0.0)
        elif choice == "backward":
            self._start(-self._rng.uniform(0.15, 0.3), 0.0)
        elif choice == "arc":
            self._start(self._rng.uniform(0.2, 0.45), side * self._rng.uniform(0.2, 0.5))
        else:
            self._start(0.0, 0.0)
        if choice == "approach":
            self._approach()

    def _approach(self) -> None:
        goes_to_table = self._rng.random() < 0.25
        name = "table" if goes_to_table else str(self._rng.choice(list(room.LANDMARKS)))
        self._goal = room.LANDMARKS[name]
        # The table is useful only within an arm's reach; other landmarks are better seen from further away.
        self._goal_path_m = self._rng.uniform(0.05, 0.3) if name == "table" else self._rng.uniform(0.4, 1.2)
        self._frames_left = _APPROACH_FRAMES

    def _start(self, velocity_m_s: float, turn_rate_rad_s: float, seconds: float | None = None) -> None:
        self._velocity_m_s, self._turn_rate_rad_s = velocity_m_s, turn_rate_rad_s
        self._goal = None
        self._frames_left = round((self._rng.uniform(1.0, 3.0) if seconds is None else seconds) * FRAME_RATE_HZ)

    def _steer(self, base_pose: Float64Array, goal: tuple[float, float]) -> None:
        offset = np.asarray(goal) - base_pose[:2]
        bearing = wrap_angle(float(np.arctan2(offset[1], offset[0])) - float(base_pose[2]))
        self._turn_rate_rad_s = float(np.clip(1.5 * bearing, -0.5, 0.5))
        self._velocity_m_s = _APPROACH_SPEED_M_S if abs(bearing) < 0.4 else 0.0

    def _mind_obstacles(self, base_pose: Float64Array) -> None:
        if self._velocity_m_s == 0.0:
            return
        heading = float(base_pose[2]) + (np.pi if self._velocity_m_s < 0.0 else 0.0)
        wanted_path = _BRAKING_PATH_M if self._goal is None else self._goal_path_m
        if room.free_path_m(base_pose[:2], heading, 1.5) >= wanted_path:
            return
        if self._rng.random() < _STUBBORN_SHARE:
            self._start(self._velocity_m_s, self._turn_rate_rad_s)
            self._is_stubborn = True
        elif self._goal is not None or self._velocity_m_s < 0.0:
            self._start(0.0, 0.0, self._rng.uniform(0.5, 2.0))
        else:
            self._turn_away(base_pose)

    def _turn_away(self, base_pose: Float64Array) -> None:
        """Turns on the spot, usually the shorter way, until the path ahead is free."""
        turns = np.arange(1, 25, dtype=np.float64) * (np.pi / 24)
        needed = {side: self._first_clear_turn(base_pose, side * turns) for side in (-1.0, 1.0)}
        side = min(needed, key=lambda each: needed[each])
        if self._rng.random() < 0.2:
            side = -side
        rate = self._rng.uniform(0.3, 0.65)
        self._start(0.0, side * rate, (needed[side] + self._rng.uniform(0.0, 0.4)) / rate)

    def _first_clear_turn(self, base_pose: Float64Array, turns_rad: Float64Array) -> float:
        for turn in turns_rad:
            if room.free_path_m(base_pose[:2], float(base_pose[2] + turn), _CLEAR_PATH_M) >= _CLEAR_PATH_M:
                return abs(float(turn))
        return float(np.pi)
