"""face-target: turn the base until a landmark of the reference room is straight ahead."""

import math
from dataclasses import dataclass
from typing import Final

from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import FloorGoal, FloorTask, bearing_rad, outcome_of_progress

SUCCESS_RAD: Final = math.radians(10.0)
SMALLEST_TURN_RAD: Final = math.radians(60.0)
"""A landmark is chosen that is at least this far from straight ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceTargetGoal(FloorGoal):
    """The goal of one episode: a landmark straight ahead."""

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards radians turned towards the landmark, and facing it at the end of the clip; that ends the episode."""
        turn = self.turn_rad(now)
        return outcome_of_progress(self.turn_rad(previous), turn, success=turn <= SUCCESS_RAD)

    def turn_rad(self, moment: TaskView) -> float:
        """Returns the angle by which the base would have to turn, in 0..pi."""
        return abs(bearing_rad(known(moment), self.x_m, self.y_m))


class FaceTarget(FloorTask):
    """Turn the base until a named landmark of the reference room is straight ahead.

    ## Goal
    The centre of a random landmark that is at least 60 degrees from straight ahead. Observed as cosine and sine of its
    bearing (0 straight ahead, positive to the left) and its distance / 4 m, [3].

    ## Rewards
    - *progress*: decrease of the angle between straight ahead and the landmark in this env step, in radians;
    - *success*: 5 when, at the end of the clip, that angle is at most 10 degrees; passing by within a clip does not
      count.

    ## Episode End
    Terminates with success.

    ## Options
    - *target*: name of a landmark (`hwm_env.reference.room.LANDMARKS`), in any direction.
    """

    kind = "face-target"
    choices = tuple(room.LANDMARKS)

    def reset(self, episode: EpisodeStart) -> FaceTargetGoal:
        """Chooses a landmark."""
        goals = {name: FaceTargetGoal(landmark=name, x_m=x, y_m=y) for name, (x, y) in room.LANDMARKS.items()}
        aside = [name for name, goal in goals.items() if goal.turn_rad(episode.moment) >= SMALLEST_TURN_RAD]
        return goals[self.choose(episode, aside)]
