"""Controllers that drive: for face-target and drive-to-target, and around obstacles."""

import math

import numpy as np

from hwm_env.tasks.room_task import DISTANCE_SCALE_M
from hwm_env.types import ANGULAR_VELOCITY, CLIP_DURATION_S, Float32Array
from policies.experts.controller import SPEED_LIMIT_M_S, TURN_LIMIT_RAD_S, angle, drive

_AHEAD_RAD = 0.4
"""Largest bearing of a place that is driven towards; to others the robot turns first."""
_PROGRESS_M = 0.04
"""Smallest progress towards a place in a clip; with less, the robot is stuck."""
_PATIENCE_CLIPS = 2
"""Clips without progress after which an obstacle is assumed."""
_DETOUR_TURN_RAD = 1.8
_DETOUR_CLIPS = 3
"""Clips that a detour drives straight on after the turn."""


class FaceTargetController:
    """Controls face-target: turns on the spot, in the shorter direction."""

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip; see Controller."""
        return drive(state, turn_rad=angle(*goal[:2].tolist()))


class ApproachController:
    """Drives towards a place and around obstacles, which it detects by a lack of progress.

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
        """Returns the target values of the next clip, [25].

        Args:
            state: state of the robot, [25].
            bearing_rad: direction of the place relative to the robot's heading.
            distance_m: distance to the place.
        """
        self._stuck_clips = self._stuck_clips + 1 if self._makes_no_progress(distance_m) else 0
        if self._stuck_clips == _PATIENCE_CLIPS:
            self._still_to_turn_rad, self._still_to_drive = self._side * _DETOUR_TURN_RAD, _DETOUR_CLIPS
        self._last_distance_m = None
        if self._still_to_turn_rad:
            return self._turn_aside(state)
        if self._still_to_drive:
            self._still_to_drive -= 1
            return drive(state, distance_m=SPEED_LIMIT_M_S)
        if abs(bearing_rad) > _AHEAD_RAD:
            return drive(state, turn_rad=bearing_rad)
        self._last_distance_m = distance_m
        return drive(state, turn_rad=bearing_rad, distance_m=distance_m)

    def _makes_no_progress(self, distance_m: float) -> bool:
        """Checks whether the last clip drove towards the place but hardly reduced the distance."""
        before = self._last_distance_m
        return before is not None and before - distance_m < min(_PROGRESS_M, before / 2)

    def _turn_aside(self, state: Float32Array) -> Float32Array:
        wanted = drive(state, turn_rad=self._still_to_turn_rad)
        left_rad = abs(self._still_to_turn_rad) - abs(float(wanted[ANGULAR_VELOCITY])) * CLIP_DURATION_S
        self._still_to_turn_rad = math.copysign(left_rad, self._side) if left_rad > TURN_LIMIT_RAD_S / 10 else 0.0
        return wanted


class DriveToTargetController:
    """Controls drive-to-target: turns towards the place, then drives.

    Args:
        rng: see ApproachController.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._approach = ApproachController(rng)

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip; see Controller."""
        cos, sin, distance = goal.tolist()
        return self._approach.target(state, angle(cos, sin), distance * DISTANCE_SCALE_M)
