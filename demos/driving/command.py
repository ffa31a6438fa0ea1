"""From what a driver wants to a chunk of 25-number actions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, FRAMES_PER_CLIP, LINEAR_VELOCITY, NUM_JOINTS, Float32Array

GESTURES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "arms down": {
            f"{side}_{joint}": value
            for side in ("left", "right")
            for joint, value in (("shoulder_pitch", 0.0), ("shoulder_roll", 0.12), ("elbow_pitch", 0.35))
        },
        "left arm up": {"left_shoulder_pitch": 1.1, "left_elbow_pitch": 0.9},
        "right arm up": {"right_shoulder_pitch": 1.1, "right_elbow_pitch": 0.9},
        "arms forward": {
            f"{side}_{joint}": value
            for side in ("left", "right")
            for joint, value in (("shoulder_pitch", 1.3), ("elbow_pitch", 0.3))
        },
    }
)
"""Where numbers shall go, by name."""
JOINT_SPEED: Final = 0.6
"""Of a joint whose key is held, as a share of the fastest change in the training data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveCommand:
    """What a driver wants during the next clip."""

    forward: float = 0.0
    """Share of the top speed, -1..1."""
    turn: float = 0.0
    """Share of the top speed of turning, -1..1, positive to the left."""
    speed: float = 1.0
    """Factor of both, 0..1."""
    joints: Mapping[str, float] = field(default_factory=dict)
    """How fast joints and hands move, -1..1, by name (`hwm_env.types.ACTION_NAMES`); others stay."""
    preset: str | None = None
    """Name of GESTURES: the numbers go there, however long it takes, unless they are moved otherwise."""
    presses: int = 0
    """How often presets have been asked for: one that was begun is not begun again with the next clip."""


class Shaper:
    """Makes chunks of commands that are smooth: no number moves faster than any in the training data, nor beyond it.

    Remembers only where presets still lead to, and the newest that it was asked for.

    Args:
        statistics: of the training data.
    """

    def __init__(self, statistics: ActionStatistics) -> None:
        self._low, self._high, self._fastest = statistics.low, statistics.high, statistics.max_change
        self._going: dict[str, float] = {}
        self._presses: int | None = None

    def reset(self) -> None:
        """Goes nowhere any more."""
        self._going.clear()

    def chunk(self, command: DriveCommand, state: Float32Array) -> Float32Array:
        """The actions of the next clip.

        Args:
            command: what is wanted.
            state: the robot's present numbers, [25].

        Returns:
            float32 [17, 25], physical units.
        """
        if command.preset is not None and command.presses != self._presses:
            self._going |= GESTURES[command.preset]
            self._presses = command.presses
        target = state.copy()
        for name, value in self._going.items():
            target[ACTION_NAMES.index(name)] = value
        for name, rate in command.joints.items():
            self._going.pop(name, None)
            index = ACTION_NAMES.index(name)
            target[index] = state[index] + rate * JOINT_SPEED * FRAMES_PER_CLIP * self._fastest[index]
        for index, share in ((LINEAR_VELOCITY, command.forward), (ANGULAR_VELOCITY, command.turn)):
            target[index] = share * command.speed * (self._high[index] if share > 0 else -self._low[index])
        chunk = np.empty((FRAMES_PER_CLIP, len(state)), np.float32)
        now = state
        pace = np.where(np.arange(len(state)) < NUM_JOINTS + 2, JOINT_SPEED, 1.0) * self._fastest
        for frame in range(FRAMES_PER_CLIP):
            now = now + np.clip(np.clip(target, self._low, self._high) - now, -pace, pace)
            chunk[frame] = now
        return chunk
