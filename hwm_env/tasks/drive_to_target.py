"""drive-to-target: drive the base to a place in front of something in the reference room."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.fields import CheckedFields
from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import (
    COMPASS_HIGH,
    COMPASS_LOW,
    RoomTask,
    compass,
    floor_distance_m,
    outcome_of_progress,
)
from hwm_env.types import Float32Array

SUCCESS_RADIUS_M: Final = 0.6
NEAREST_M: Final = 1.5
FARTHEST_M: Final = 4.0
"""A target is chosen between these distances from the start."""
_MARGIN_M: Final = 0.15
"""Room that is left around the base at a standing point."""


def _standing_point(landmark_xy: tuple[float, float]) -> tuple[float, float]:
    """The nearest place to a landmark, on the way to the middle of the room, where the base can stand."""
    landmark = np.array(landmark_xy)
    way = np.linspace(landmark, np.zeros(2), num=round(float(np.hypot(*landmark)) / 0.05))
    x, y = way[np.argmax(room.is_free(way, _MARGIN_M))]
    return float(x), float(y)


STANDING_POINTS: Final = {name: _standing_point(xy) for name, xy in room.LANDMARKS.items()}
"""Where the robot shall stop for each landmark, (x, y) in metres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveToTargetGoal(CheckedFields):
    """The goal of one episode: a place on the floor."""

    landmark: str
    """What it lies in front of."""
    x_m: float
    """Place on the floor."""
    y_m: float
    """Place on the floor."""

    def observe(self, moment: TaskView) -> Float32Array:
        """Cosine and sine of the bearing (0 straight ahead, positive to the left), distance / 4 m; float32 [3]."""
        return compass(known(moment), self.x_m, self.y_m)

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards the metres gained, and arriving; arriving ends the episode."""
        distance = self.distance_m(now)
        return outcome_of_progress(self.distance_m(previous), distance, success=distance <= SUCCESS_RADIUS_M)

    def describe(self) -> dict[str, Any]:
        """The landmark's name and the place, float32 [2] in metres."""
        return {"target": self.landmark, "target_xy": np.array([self.x_m, self.y_m], np.float32)}

    def distance_m(self, moment: TaskView) -> float:
        """From the middle of the base."""
        return floor_distance_m(known(moment), self.x_m, self.y_m)


class DriveToTarget(RoomTask):
    """Drive the base to a place in front of a named landmark of the reference room.

    ## Goal
    A free place on the floor in front of a random landmark, 1.5 to 4 m from the start. Observed as cosine and sine of
    its bearing (0 straight ahead, positive to the left) and its distance / 4 m, [3].

    ## Rewards
    - *progress*: metres that the distance to the target has shrunk in this env step;
    - *success*: 5 when the base is within 0.6 m of the target.

    ## Episode End
    Terminates with success.

    ## Options
    - *target*: name of a landmark (`hwm_env.reference.room.LANDMARKS`), at whatever distance it is.
    """

    name: Final = "drive-to-target"
    option = "target"
    choices = tuple(STANDING_POINTS)

    def goal_space(self, image_size: int) -> spaces.Box:
        """Bearing as a unit vector, and distance."""
        return spaces.Box(np.array(COMPASS_LOW, np.float32), np.array(COMPASS_HIGH, np.float32), dtype=np.float32)

    def reset(self, episode: EpisodeStart) -> DriveToTargetGoal:
        """Chooses a target."""
        targets = {name: DriveToTargetGoal(landmark=name, x_m=x, y_m=y) for name, (x, y) in STANDING_POINTS.items()}
        distances = {name: target.distance_m(episode.moment) for name, target in targets.items()}
        within_reach = [name for name, distance in distances.items() if NEAREST_M <= distance <= FARTHEST_M]
        # A read-out that is far off may leave nothing within reach; then anything but the place itself will do.
        far = [name for name, distance in distances.items() if distance > FARTHEST_M]
        return targets[self.choose(episode, within_reach or far)]
