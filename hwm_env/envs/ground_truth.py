"""The reference world as an environment sees it, begun where the learned world begins. Needs MuJoCo."""

from dataclasses import dataclass

import numpy as np

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import CheckpointError
from hwm_env.reference.kinematics import RobotState, move_base
from hwm_env.reference.world import ReferenceWorld
from hwm_env.tasks.base import WorldReadout
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY, Float32Array, Float64Array, UInt8Array


@dataclass(frozen=True)
class GroundTruthMoment:
    """A Moment of the reference world."""

    state: RobotState
    """At the last frame."""
    frames: UInt8Array
    """Drawn after each frame, [17, S, S, 3]."""
    measured: Float32Array
    """The robot's numbers in each frame, [17, 25]."""

    @property
    def readout(self) -> WorldReadout:
        """The exact state."""
        return WorldReadout.from_pose(self.state.base_pose)

    @property
    def confidence(self) -> float:
        """0: certain."""
        return 0.0


class ReferenceGroundTruth:
    """A World that MuJoCo draws and whose laws are programmed, at the starts of a checkpoint.

    Raises:
        CheckpointError: the starts come without poses, so that nobody knows where they are.
        RenderingUnavailableError: there is no OpenGL here.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.starts.poses is None:
            raise CheckpointError(
                "the checkpoint's starts have no poses in the reference room; use a checkpoint that was trained on "
                "recordings of the reference world"
            )
        self._statistics = checkpoint.statistics
        self._poses: Float64Array = checkpoint.starts.poses.cpu().double().numpy()
        self._actions: Float32Array = checkpoint.starts.actions[:, -1].cpu().numpy()
        self._image_size = checkpoint.image_size
        self._opened: ReferenceWorld | None = ReferenceWorld(self._image_size)

    @property
    def identity(self) -> str:
        """There is only one reference world."""
        return "reference world"

    @property
    def statistics(self) -> ActionStatistics:
        """Of the training data's actions."""
        return self._statistics

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels."""
        return self._image_size

    @property
    def num_starts(self) -> int:
        """Starts of the checkpoint."""
        return len(self._poses)

    @property
    def has_readout(self) -> bool:
        """The reference world knows everything."""
        return True

    def begin(self, start: int, seed: int) -> GroundTruthMoment:
        """Begins at a start; the world has no randomness, so the seed changes nothing.

        The start's last clip is drawn anew, along the path that its wheels tell (at an obstacle they may have slipped).
        """
        measured = self._actions[start].copy()
        poses = [self._poses[start]]
        for numbers in measured[:0:-1]:
            poses.append(move_base(poses[-1], -float(numbers[LINEAR_VELOCITY]), -float(numbers[ANGULAR_VELOCITY])))
        frames = []
        world = self._world
        for pose, numbers in zip(reversed(poses), measured, strict=True):
            world.set_state(RobotState(pose, numbers))
            frames.append(world.render())
        return GroundTruthMoment(world.state, np.stack(frames), measured)

    def step(self, moment: GroundTruthMoment, chunk: Float32Array) -> GroundTruthMoment:
        """One clip forward; the measured numbers are the chunk after the robot's joint and rate limits. See World."""
        world = self._world
        world.set_state(moment.state)
        measured, frames, _ = world.step_clip(chunk)
        return GroundTruthMoment(world.state, frames, measured)

    def close(self) -> None:
        """Frees the OpenGL context; the world opens another one when it is used again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _world(self) -> ReferenceWorld:
        if self._opened is None:
            self._opened = ReferenceWorld(self._image_size)
        return self._opened
