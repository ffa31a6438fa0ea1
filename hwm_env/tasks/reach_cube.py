"""reach-cube: bring a hand to one of the cubes on the table of the reference room."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.fields import CheckedFields
from hwm_env.reference import room
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from hwm_env.tasks.room_task import (
    DISTANCE_SCALE_M,
    LARGEST_SCALED_DISTANCE,
    RoomTask,
    in_robot_frame,
    outcome_of_progress,
)
from hwm_env.types import Float32Array

SUCCESS_RADIUS_M: Final = 0.25
"""Largest distance from a hand's grip to the centre of the cube, whose faces are 0.11 m from its centre. From the
nearest free floor the robot gets within 0.2 m without bending its legs, and to the centre itself with them."""
NEAREST_M: Final = 0.5
"""A cube is chosen that is farther than this from both hands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReachCubeGoal(CheckedFields):
    """The goal of one episode: a hand at a cube."""

    cube: str
    """Colour of the cube."""
    centre_m: tuple[float, float, float]
    """Centre of the cube in the frame of the room."""

    def observe(self, moment: TaskView) -> Float32Array:
        """Returns the cube's offsets from the base and from the nearer hand, in the robot's frame.

        Returns:
            float32 [6]: x ahead, y to the left, z up from the middle of the base on the floor, in units of 4 m (clipped
            to 4); the same from the hand, in metres (clipped to 1).
        """
        readout = known(moment)
        base = np.array([readout.base_x_m, readout.base_y_m, 0.0], np.float32)
        from_base = in_robot_frame(readout, self._centre() - base) / DISTANCE_SCALE_M
        from_hand = in_robot_frame(readout, self._from_nearer_hand(moment))
        return np.concatenate(
            [np.clip(from_base, -LARGEST_SCALED_DISTANCE, LARGEST_SCALED_DISTANCE), np.clip(from_hand, -1.0, 1.0)],
            dtype=np.float32,
        )

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards metres gained by the nearer hand, and reaching the cube, which ends the episode."""
        distance = self.distance_m(now)
        return outcome_of_progress(self.distance_m(previous), distance, success=distance <= SUCCESS_RADIUS_M)

    def describe(self) -> dict[str, Any]:
        """Returns the cube's colour and centre, float32 [3] in metres."""
        return {"cube": self.cube, "cube_xyz": self._centre()}

    def distance_m(self, moment: TaskView) -> float:
        """Returns the distance from the nearer hand to the cube's centre."""
        return float(np.linalg.norm(self._from_nearer_hand(moment)))

    def _centre(self) -> Float32Array:
        return np.array(self.centre_m, np.float32)

    def _from_nearer_hand(self, moment: TaskView) -> Float32Array:
        readout = known(moment)
        offsets = (self._centre() - readout.left_hand_m, self._centre() - readout.right_hand_m)
        return min(offsets, key=lambda offset: float(np.linalg.norm(offset)))


class ReachCube(RoomTask):
    """Bring either hand to a named cube on the table of the reference room; usually the base must drive first.

    ## Goal
    A random cube of three that no hand is within 0.5 m of. Observed as its centre in the robot's frame (x ahead, y to
    the left, z up) from the middle of the base on the floor, in units of 4 m, and from the nearer hand in metres,
    clipped to 1 m, [6].

    ## Rewards
    - *progress*: decrease of the distance from the nearer hand to the cube's centre in this env step, in metres;
    - *success*: 5 when that distance is at most 0.25 m. A hand's position is where it grips, between its fingers; the
      cube's faces are 0.11 m from its centre.

    ## Episode End
    Terminates with success.

    ## Options
    - *cube*: "red", "green" or "blue", at any distance from the hands.
    """

    kind = "reach-cube"
    option = "cube"
    choices = tuple(room.CUBES)

    def goal_space(self, image_size: int) -> spaces.Box:
        """Returns the bounds of the cube's offsets from base and hand."""
        high = np.array([LARGEST_SCALED_DISTANCE] * 3 + [1.0] * 3, np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def reset(self, episode: EpisodeStart) -> ReachCubeGoal:
        """Chooses a cube."""
        goals = {name: ReachCubeGoal(cube=name, centre_m=centre) for name, centre in room.CUBES.items()}
        away = [name for name, goal in goals.items() if goal.distance_m(episode.moment) > NEAREST_M]
        return goals[self.choose(episode, away)]
