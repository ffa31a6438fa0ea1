"""The reference world as ground truth of a learned world, with the same starts. Needs MuJoCo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

import numpy as np
import torch
from annotated_types import Len
from pydantic import InstanceOf

from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.world import CheckpointWorld, NothingPainted
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.fields import checked, real_numbers, short
from hwm_env.reference.body import quantities
from hwm_env.reference.kinematics import RobotState, advance, move_base
from hwm_env.reference.world import ReferenceWorld
from hwm_env.robot import EVE
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, WorldReadout
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.types import (
    ACTION_DIM,
    ANGULAR_VELOCITY,
    FRAMES_PER_CLIP,
    LINEAR_VELOCITY,
    POSE_DIM,
    Float32Array,
    Int32Array,
    UInt8Array,
)


@dataclass(frozen=True)
class GroundTruthMoment(NothingPainted):
    """The WorldMoment of the reference world; frames are rendered on first access."""

    path: tuple[RobotState, ...]
    """States after each of the 17 frames."""
    measured: Float32Array
    """The robot's numbers in each frame, [17, 25]."""
    draw: Callable[[RobotState], UInt8Array]
    """Renders the frame [S, S, 3] of a state."""
    tokenizer: VideoTokenizer

    def __post_init__(self) -> None:
        self.measured.setflags(write=False)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state with rendered frames instead of the renderer, which cannot leave its process."""
        rendered = {"frames": self.frames, "last_frame": self.last_frame, "draw": None}
        return {**self.__dict__, **rendered}

    @property
    def robot(self) -> RobotState:
        """State at the last frame."""
        return self.path[-1]

    @cached_property
    def frames(self) -> UInt8Array:
        """All frames, uint8 [17, S, S, 3], read-only; rendered on first access."""
        frames = np.stack([*(self.draw(state) for state in self.path[:-1]), self.last_frame])
        frames.setflags(write=False)
        return frames

    @cached_property
    def last_frame(self) -> UInt8Array:
        """The last frame, uint8 [S, S, 3], read-only; rendered on first access."""
        frame = self.draw(self.robot)
        frame.setflags(write=False)
        return frame

    @cached_property
    def tokens(self) -> Int32Array:
        """Tokens of the frames, int32 [3, h, w], read-only."""
        tokens: Int32Array = self.tokenizer.encode(torch.from_numpy(self.frames.copy())[None])[0].numpy()
        tokens.setflags(write=False)
        return tokens

    @property
    def latents(self) -> Float32Array:
        """Values of the tokens' digits in [-1, 1], float32 [3, h, w, digits]."""
        return latents_of(torch.from_numpy(self.tokens.copy()), self.tokenizer.fsq_levels)

    @property
    def readout_source(self) -> ReadoutSource:
        """The ground truth."""
        return "truth"

    @property
    def pose(self) -> Float32Array:
        """The true pose."""
        return self.readout.base_pose

    @property
    def pose_std(self) -> Float32Array:
        """0: certain."""
        return np.zeros(POSE_DIM, np.float32)

    @property
    def predicted_steps(self) -> int:
        """0: clips are not predicted."""
        return 0

    @cached_property
    def readout(self) -> WorldReadout:
        """The exact read-out."""
        return WorldReadout.from_vector(quantities(self.robot.base_pose[None], self.robot.action[None])[0])


class ReferenceGroundTruth(CheckpointWorld):
    """The reference world as a World, at the starts of a checkpoint.

    Raises:
        CheckpointError: the starts have no poses, or the checkpoint has another robot.
    """

    identity: Final = "reference world"
    trust: Final = None
    is_exact: Final = True
    has_pictures: Final = True
    has_readout: Final = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.robot != EVE:
            raise CheckpointError(
                f"the checkpoint's robot is {checkpoint.robot.name}, and the reference world has {EVE.name} alone; use "
                "the learned world"
            )
        if checkpoint.starts.poses is None:
            raise CheckpointError(
                "the checkpoint's starts have no poses in the reference room; use a checkpoint that was trained on "
                "recordings of the reference world"
            )
        super().__init__(checkpoint)
        self._renderer = ReferenceWorld(checkpoint.image_size)

    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[GroundTruthMoment]:
        """Returns each row's moment at the end of its history; without randomness, so that seeds have no effect.

        A history's last clip is rendered again, along the path of its wheels (which may have slipped at an obstacle).

        Raises:
            InvalidInputError: a history has no pose.
        """
        return [self._end_of(history) for history in histories]

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside; see World."""
        if not isinstance(moment, GroundTruthMoment):
            raise InvalidInputError(f"the state's moment must be one of the reference world, got {short(moment)}")
        checked("the state's path", moment.path, Annotated[tuple[InstanceOf[RobotState], ...], Len(1)])
        numbers = real_numbers("the state's measured", moment.measured, f"{FRAMES_PER_CLIP} x {ACTION_DIM} numbers")
        if numbers.shape != (FRAMES_PER_CLIP, ACTION_DIM) or not np.isfinite(numbers).all():
            raise InvalidInputError(f"the state's measured numbers must be finite [17, 25], got {list(numbers.shape)}")

    def reseeded(self, moment: GroundTruthMoment, seed: int) -> GroundTruthMoment:
        """Returns the same moment: there is no noise."""
        return moment

    def step(self, moments: Sequence[GroundTruthMoment], chunks: Float32Array) -> list[GroundTruthMoment]:
        """Advances each row by one clip, within the robot's joint and rate limits; see World."""
        after = []
        for moment, chunk in zip(moments, chunks, strict=True):
            state, path = moment.robot, []
            for action in chunk:
                state = advance(state, action)
                path.append(state)
            measured = np.stack([state.action for state in path])
            after.append(GroundTruthMoment(tuple(path), measured, self._renderer.draw, self.checkpoint.tokenizer))
        return after

    def close(self) -> None:
        """Frees the OpenGL context; the next rendering opens another one."""
        self._renderer.close()

    def _end_of(self, history: RecordedHistory) -> GroundTruthMoment:
        if history.pose is None:
            raise InvalidInputError("history.pose must be known in the reference world, got None")
        measured = history.actions[-1].copy()
        poses = [history.pose.astype(np.float64)]
        for numbers in measured[:0:-1]:
            poses.append(move_base(poses[-1], -float(numbers[LINEAR_VELOCITY]), -float(numbers[ANGULAR_VELOCITY])))
        path = tuple(RobotState(pose, numbers) for pose, numbers in zip(reversed(poses), measured, strict=True))
        return GroundTruthMoment(path, measured, self._renderer.draw, self.checkpoint.tokenizer)
