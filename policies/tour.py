"""A scripted tour for demonstrations: turns, drives and raises the arms."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hwm_env.policy import SCRIPTED, Interface
from hwm_env.reference.robot import pose
from hwm_env.types import Float32Array
from policies.following import follow

_RIGHT_ARM: Final = {"right_shoulder_pitch": 1.1, "right_elbow_pitch": 0.9}
_LEFT_ARM: Final = {"left_shoulder_pitch": 1.1, "left_elbow_pitch": 0.9}

TOUR: Final[tuple[tuple[str, Float32Array], ...]] = (
    ("turn left", pose({"angular_velocity": 0.5})),
    ("turn left", pose({"angular_velocity": 0.5})),
    ("drive", pose({"linear_velocity": 0.4})),
    ("drive", pose({"linear_velocity": 0.4})),
    ("right arm up", pose(_RIGHT_ARM)),
    ("right arm up", pose(_RIGHT_ARM)),
    ("turn right", pose({**_RIGHT_ARM, "angular_velocity": -0.5})),
    ("turn right", pose({**_RIGHT_ARM, "angular_velocity": -0.5})),
    ("both arms up", pose({**_RIGHT_ARM, **_LEFT_ARM})),
    ("both arms up", pose({**_RIGHT_ARM, **_LEFT_ARM})),
    ("arms down", pose({})),
    ("turn left", pose({"angular_velocity": 0.5})),
)
"""Name and target of each env step."""


class Tour:
    """Follows TOUR, then stands still."""

    name: Final = "tour"
    family: Final = SCRIPTED
    interface: Final = Interface(obs_mode="state")

    def reset(self, seeds: Sequence[int]) -> None:
        """Goes back to the first step; the seeds are ignored."""
        self._step = 0

    def act(self, observations: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Returns chunks that move from the present states to the step's target at the robot's largest rates.

        Args:
            observations: observations with a `state`, [25]; other entries are ignored.

        Returns:
            float32 [B, 17, 25].
        """
        target = TOUR[self._step][1] if self._step < len(TOUR) else pose({})
        self._step += 1
        states = np.stack([observation["state"] for observation in observations]).astype(np.float32)
        return follow(states, np.broadcast_to(target, states.shape))


def tour(task: str) -> Tour:
    """Makes the policy, which is the same for all tasks."""
    return Tour()
