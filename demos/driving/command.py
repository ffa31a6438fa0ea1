"""Turns a driver's commands into chunks of actions."""

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
"""Target values of numbers, by gesture."""
JOINT_SPEED: Final = 0.6
"""Speed of joints and hands, as a share of the largest change in the training data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveCommand:
    """A driver's command for the next clip."""

    forward: float = 0.0
    """Share of the largest speed, -1..1."""
    turn: float = 0.0
    """Share of the largest turning speed, -1..1, positive to the left."""
    speed: float = 1.0
    """Factor of both, 0..1."""
    joints: Mapping[str, float] = field(default_factory=dict)
    """Speeds of joints and hands, -1..1, by name (`hwm_env.types.ACTION_NAMES`); others stay."""
    gesture: str | None = None
    """Name of the newest of GESTURES: its numbers move to their targets unless `joints` moves them."""
    presses: int = 0
    """Number of gestures requested so far, so that a gesture is begun only once."""


class Shaper:
    """Makes smooth chunks from commands, within the range and the largest changes of the training data.

    Its only state are the targets of gestures that are not finished, and the number of the newest gesture.

    Args:
        statistics: statistics of the training data's actions.
    """

    def __init__(self, statistics: ActionStatistics) -> None:
        self._low, self._high, self._fastest = statistics.low, statistics.high, statistics.max_change
        self._targets: dict[str, float] = {}
        self._presses: int | None = None

    def reset(self) -> None:
        """Ends all gestures."""
        self._targets.clear()

    def chunk(self, command: DriveCommand, state: Float32Array) -> Float32Array:
        """Returns the actions of the next clip.

        Args:
            command: the driver's command.
            state: present state of the robot, [25].

        Returns:
            float32 [17, 25], physical units.
        """
        if command.gesture is not None and command.presses != self._presses:
            self._targets |= GESTURES[command.gesture]
            self._presses = command.presses
        target = state.copy()
        for name, value in self._targets.items():
            target[ACTION_NAMES.index(name)] = value
        for name, rate in command.joints.items():
            self._targets.pop(name, None)
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
