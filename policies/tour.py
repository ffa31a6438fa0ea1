"""A scripted tour: turn, drive, raise the arms; for demonstrations."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hwm_env.reference.robot import RATE_LIMITS, pose
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, Float32Array

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
"""What each env step is called and where it leads, within the robot's rate limits."""


class Tour:
    """Follows TOUR, then stands still; needs `obs_mode="pixels_state"` and `action_mode="chunk"`."""

    name = "tour"

    def reset(self, seed: int) -> None:
        """Goes back to the beginning; nothing in a tour is random."""
        self._step = 0

    def act(self, observation: Mapping[str, Any]) -> Float32Array:
        """A chunk [17, 25] that moves from the present state towards the step's pose, no faster than the robot can."""
        target = TOUR[self._step][1] if self._step < len(TOUR) else pose({})
        self._step += 1
        most = RATE_LIMITS / FRAME_RATE_HZ
        chunk = np.empty((FRAMES_PER_CLIP, len(target)), np.float32)
        state = np.asarray(observation["state"], np.float32)
        for frame in range(FRAMES_PER_CLIP):
            state = state + np.clip(target - state, -most, most)
            chunk[frame] = state
        return chunk
