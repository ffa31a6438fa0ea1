"""Experts that drive: to face something, and to get to a place."""

import math

import numpy as np

from hwm_env.tasks.room_task import DISTANCE_SCALE_M
from hwm_env.types import ANGULAR_VELOCITY, CLIP_DURATION_S, Float32Array
from policies.experts.controller import SPEED_LIMIT_M_S, TURN_LIMIT_RAD_S, angle, drive

_AHEAD_RAD = 0.4
"""What lies within is driven towards; what does not is first turned to."""
_PROGRESS_M = 0.04
_PATIENCE_CLIPS = 2
"""Who drives towards a place and comes less near in each of so many clips stands before an obstacle."""
_DETOUR_TURN_RAD = 1.8
_DETOUR_CLIPS = 3
"""How long a detour drives straight on after the turn."""


class FaceTargetController:
    """face-target: turns on the spot, the shorter way."""

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """See Controller."""
        return drive(state, turn_rad=angle(*goal[:2].tolist()))


class ApproachController:
    """Drives towards a place, and around what is in the way: it notices obstacles by coming no nearer.

    Args:
        rng: chooses the side on which obstacles are passed.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._side = float(rng.choice((-1.0, 1.0)))
        self._last_distance_m: float | None = None
        self._stuck_clips = 0
        self._still_to_turn_rad = 0.0
        self._still_to_drive = 0

    def target(self, state: Float32Array, bearing_rad: float, distance_m: float) -> Float32Array:
        """Where to move; see Controller."""
        self._stuck_clips = self._stuck_clips + 1 if self._comes_no_nearer(distance_m) else 0
        if self._stuck_clips == _PATIENCE_CLIPS:
            self._still_to_turn_rad, self._still_to_drive = self._side * _DETOUR_TURN_RAD, _DETOUR_CLIPS
        self._last_distance_m = None
        if self._still_to_turn_rad:
            return self._turn_aside(state)
        if self._still_to_drive:
            self._still_to_drive -= 1
            return drive(state, way_m=SPEED_LIMIT_M_S)
        if abs(bearing_rad) > _AHEAD_RAD:
            return drive(state, turn_rad=bearing_rad)
        self._last_distance_m = distance_m
        return drive(state, turn_rad=bearing_rad, way_m=distance_m)

    def _comes_no_nearer(self, distance_m: float) -> bool:
        """Whether the last clip, which drove towards the place, has hardly changed the distance."""
        before = self._last_distance_m
        return before is not None and before - distance_m < min(_PROGRESS_M, before / 2)

    def _turn_aside(self, state: Float32Array) -> Float32Array:
        wanted = drive(state, turn_rad=self._still_to_turn_rad)
        left_rad = abs(self._still_to_turn_rad) - abs(float(wanted[ANGULAR_VELOCITY])) * CLIP_DURATION_S
        self._still_to_turn_rad = math.copysign(left_rad, self._side) if left_rad > TURN_LIMIT_RAD_S / 10 else 0.0
        return wanted


class DriveToTargetController:
    """drive-to-target: turns towards the place, then drives.

    Args:
        rng: see ApproachController.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._approach = ApproachController(rng)

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """See Controller."""
        cos, sin, distance = goal.tolist()
        return self._approach.target(state, angle(cos, sin), distance * DISTANCE_SCALE_M)
