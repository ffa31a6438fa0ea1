"""drive-to-target: drive the base to a place in front of a landmark of the reference room."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import FloorGoal, FloorTask, floor_distance_m, outcome_of_progress

SUCCESS_RADIUS_M: Final = 0.6
NEAREST_M: Final = 1.5
FARTHEST_M: Final = 4.0
"""A target is chosen between these distances from the start."""
_MARGIN_M: Final = 0.15
"""Free space around the base at a standing point."""


def _standing_point(landmark_xy: tuple[float, float]) -> tuple[float, float]:
    """Returns the free place nearest to a landmark on the line from there to the middle of the room."""
    landmark = np.array(landmark_xy)
    way = np.linspace(landmark, np.zeros(2), num=round(float(np.hypot(*landmark)) / 0.05))
    x, y = way[np.argmax(room.is_free(way, _MARGIN_M))]
    return float(x), float(y)


STANDING_POINTS: Final = {name: _standing_point(xy) for name, xy in room.LANDMARKS.items()}
"""The place in front of each landmark where the robot should stop, (x, y) in metres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveToTargetGoal(FloorGoal):
    """The goal of one episode: a place in front of a landmark."""

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards the metres gained and the arrival, which ends the episode."""
        distance = self.distance_m(now)
        return outcome_of_progress(self.distance_m(previous), distance, success=distance <= SUCCESS_RADIUS_M)

    def distance_m(self, moment: TaskView) -> float:
        """Returns the distance from the middle of the base."""
        return floor_distance_m(known(moment), self.x_m, self.y_m)


class DriveToTarget(FloorTask):
    """Drive the base to a place in front of a named landmark of the reference room.

    ## Goal
    A free place on the floor in front of a random landmark, 1.5 to 4 m from the start. Observed as cosine and sine of
    its bearing (0 straight ahead, positive to the left) and its distance / 4 m, [3].

    ## Rewards
    - *progress*: decrease of the distance to the target in this env step, in metres;
    - *success*: 5 when the base is within 0.6 m of the target.

    ## Episode End
    Terminates with success.

    ## Options
    - *target*: name of a landmark (`hwm_env.reference.room.LANDMARKS`), at any distance.
    """

    kind = "drive-to-target"
    choices = tuple(STANDING_POINTS)

    def reset(self, episode: EpisodeStart) -> DriveToTargetGoal:
        """Chooses a target."""
        targets = {name: DriveToTargetGoal(landmark=name, x_m=x, y_m=y) for name, (x, y) in STANDING_POINTS.items()}
        distances = {name: target.distance_m(episode.moment) for name, target in targets.items()}
        within_reach = [name for name, distance in distances.items() if NEAREST_M <= distance <= FARTHEST_M]
        # A read-out that is far off may leave no target within reach; then any that is not here already will do.
        far = [name for name, distance in distances.items() if distance > FARTHEST_M]
        return targets[self.choose(episode, within_reach or far)]
