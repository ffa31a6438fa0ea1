"""face-target: turn the base until something in the reference room is straight ahead."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.fields import CheckedFields
from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import COMPASS_HIGH, COMPASS_LOW, RoomTask, bearing_rad, compass, outcome_of_progress
from hwm_env.types import Float32Array

SUCCESS_RAD: Final = math.radians(10.0)
SMALLEST_TURN_RAD: Final = math.radians(60.0)
"""A landmark is chosen that is at least so far from straight ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceTargetGoal(CheckedFields):
    """The goal of one episode: a landmark straight ahead."""

    landmark: str
    """Its name."""
    x_m: float
    """Its centre."""
    y_m: float
    """Its centre."""

    def observe(self, moment: TaskView) -> Float32Array:
        """Cosine and sine of the bearing (0 straight ahead, positive to the left), distance / 4 m; float32 [3]."""
        return compass(known(moment), self.x_m, self.y_m)

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards radians turned towards the landmark, and facing it at the end of the clip; that ends the episode."""
        turn = self.turn_rad(now)
        return outcome_of_progress(self.turn_rad(previous), turn, success=turn <= SUCCESS_RAD)

    def describe(self) -> dict[str, Any]:
        """The landmark's name and centre, float32 [2] in metres."""
        return {"target": self.landmark, "target_xy": np.array([self.x_m, self.y_m], np.float32)}

    def turn_rad(self, moment: TaskView) -> float:
        """How far the base would have to turn, in 0..pi."""
        return abs(bearing_rad(known(moment), self.x_m, self.y_m))


class FaceTarget(RoomTask):
    """Turn the base until a named landmark of the reference room is straight ahead.

    ## Goal
    The centre of a random landmark that is at least 60 degrees from straight ahead. Observed as cosine and sine of its
    bearing (0 straight ahead, positive to the left) and its distance / 4 m, [3].

    ## Rewards
    - *progress*: radians that the angle between straight ahead and the landmark has shrunk in this env step;
    - *success*: 5 when, at the end of the clip, that angle is at most 10 degrees; passing by within a clip does not
      count.

    ## Episode End
    Terminates with success.

    ## Options
    - *target*: name of a landmark (`hwm_env.reference.room.LANDMARKS`), wherever it is.
    """

    name: Final = "face-target"
    option = "target"
    choices = tuple(room.LANDMARKS)

    def goal_space(self, image_size: int) -> spaces.Box:
        """Bearing as a unit vector, and distance."""
        return spaces.Box(np.array(COMPASS_LOW, np.float32), np.array(COMPASS_HIGH, np.float32), dtype=np.float32)

    def reset(self, episode: EpisodeStart) -> FaceTargetGoal:
        """Chooses a landmark."""
        goals = {name: FaceTargetGoal(landmark=name, x_m=x, y_m=y) for name, (x, y) in room.LANDMARKS.items()}
        aside = [name for name, goal in goals.items() if goal.turn_rad(episode.moment) >= SMALLEST_TURN_RAD]
        return goals[self.choose(episode, aside)]
