"""look-at: turn head and base until the camera looks at a landmark of the reference room."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.fields import CheckedFields
from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import RoomTask, outcome_of_progress
from hwm_env.types import Float32Array

SUCCESS_RAD: Final = math.radians(10.0)
SMALLEST_ANGLE_RAD: Final = math.radians(45.0)
"""A landmark is chosen that is at least this far from the gaze: outside a picture that is 90 degrees wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LookAtGoal(CheckedFields):
    """The goal of one episode: a landmark in the middle of the picture."""

    landmark: str
    """Name of the landmark."""
    centre_m: tuple[float, float, float]
    """Centre of the landmark in the frame of the room."""

    def observe(self, moment: TaskView) -> Float32Array:
        """Returns the direction of the landmark relative to the gaze, float32 [3].

        Cosine and sine of the horizontal angle (positive to the left), and the vertical angle (rad, positive up) / pi.
        """
        gaze, towards = known(moment).gaze, self._towards(moment)
        turn = _azimuth_rad(towards) - _azimuth_rad(gaze)
        tilt = _elevation_rad(towards) - _elevation_rad(gaze)
        return np.array([math.cos(turn), math.sin(turn), tilt / math.pi], np.float32)

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards radians gained towards the landmark, and looking at it, which ends the episode."""
        angle = self.angle_rad(now)
        return outcome_of_progress(self.angle_rad(previous), angle, success=angle <= SUCCESS_RAD)

    def describe(self) -> dict[str, Any]:
        """Returns the landmark's name and centre, float32 [3] in metres."""
        return {"target": self.landmark, "target_xyz": np.array(self.centre_m, np.float32)}

    def angle_rad(self, moment: TaskView) -> float:
        """Returns the angle between the gaze and the direction from the head to the landmark, in 0..pi."""
        gaze, towards = known(moment).gaze, self._towards(moment)
        return math.atan2(float(np.linalg.norm(np.cross(gaze, towards))), float(gaze @ towards))

    def _towards(self, moment: TaskView) -> Float32Array:
        return np.array(self.centre_m, np.float32) - known(moment).head_m


class LookAt(RoomTask):
    """Turn neck and base until the head camera looks at a named landmark of the reference room.

    ## Goal
    The centre of a random landmark, in three dimensions, that is at least 45 degrees from the gaze.
    Observed as cosine and sine of its horizontal angle from the gaze (positive to the left) and its vertical angle from
    the gaze (rad, positive up) / pi, [3].

    ## Rewards
    - *progress*: decrease of the angle between the gaze and the direction from the camera to the landmark in this env
      step, in radians;
    - *success*: 5 when, at the end of the clip, that angle is at most 10 degrees.

    ## Episode End
    Terminates with success.

    ## Options
    - *target*: name of a landmark (`hwm_env.reference.room.LANDMARK_CENTRES`), in any direction.
    """

    kind = "look-at"
    option = "target"
    choices = tuple(room.LANDMARK_CENTRES)

    def goal_space(self, image_size: int) -> spaces.Box:
        """Returns the bounds: horizontal angle as a unit vector, and vertical angle."""
        return spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(self, episode: EpisodeStart) -> LookAtGoal:
        """Chooses a landmark."""
        goals = {name: LookAtGoal(landmark=name, centre_m=centre) for name, centre in room.LANDMARK_CENTRES.items()}
        out_of_sight = [name for name, goal in goals.items() if goal.angle_rad(episode.moment) >= SMALLEST_ANGLE_RAD]
        return goals[self.choose(episode, out_of_sight)]


def _azimuth_rad(direction: Float32Array) -> float:
    return math.atan2(direction[1], direction[0])


def _elevation_rad(direction: Float32Array) -> float:
    return math.atan2(direction[2], math.hypot(direction[0], direction[1]))
