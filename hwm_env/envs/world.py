"""The protocols that environments need of a world and its moments, and what worlds of a checkpoint share."""

from collections.abc import Sequence, Sized
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.statistics import ActionStatistics
from hwm_env.robot import Robot
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, TaskView
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.trust import Trust
from hwm_env.types import Float32Array


class WorldMoment(TaskView, Protocol):
    """All that is known of one row after a clip. Never modified, so that keeping a reference saves the row."""

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 is certain."""
        ...

    @property
    def entropy(self) -> float:
        """Mean entropy of the distributions of the clip's tokens, in nats a token; 0 is certain."""
        ...

    @property
    def path_entropy(self) -> float:
        """Mean entropy of all clips since the last recorded one, in nats a token."""
        ...

    @property
    def painted_offset(self) -> float:
        """Distance of the painted pose from the carried one (m); 0 without a scene."""
        ...

    @property
    def readout_source(self) -> ReadoutSource | None:
        """Where the read-out comes from; `None` without one."""
        ...

    @property
    def pose(self) -> Float32Array | None:
        """The carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        ...

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of the carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        ...

    @property
    def predicted_steps(self) -> int:
        """Number of clips since the last recorded one."""
        ...


M = TypeVar("M", bound=WorldMoment)


class NothingPainted:
    """Base class of moments without predicted tokens, which have nothing to be uncertain about."""

    __slots__ = ()

    @property
    def confidence(self) -> float:
        """0: no tokens are predicted."""
        return 0.0

    @property
    def entropy(self) -> float:
        """0: no tokens are predicted."""
        return 0.0

    @property
    def path_entropy(self) -> float:
        """0: no tokens are predicted."""
        return 0.0

    @property
    def painted_offset(self) -> float:
        """0: nothing is painted at another place than the pose."""
        return 0.0


class WorldSource(Protocol):
    """What environments use of a checkpoint: of one on this machine, or of one that a service describes."""

    @property
    def starts(self) -> Sized:
        """Recorded histories at which episodes may begin."""
        ...

    @property
    def statistics(self) -> ActionStatistics:
        """Statistics of the training data's actions."""
        ...

    @property
    def robot(self) -> Robot:
        """The robot, whose joints the 25 numbers of an action carry."""
        ...

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The tokenizer of the world's tokens."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of frames in pixels."""
        ...

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of a latent's tokens."""
        ...


class World(Protocol[M]):
    """The dynamics of a batch of independent rows, as a function of their moments; holds no moments itself."""

    @property
    def checkpoint(self) -> WorldSource:
        """The checkpoint whose starts, action statistics, tokenizer and shapes the world uses."""
        ...

    @property
    def identity(self) -> str:
        """Name of the dynamics; equal for worlds that can continue from each other's moments."""
        ...

    @property
    def trust(self) -> Trust | None:
        """Estimates how far to believe a predicted clip; `None` if the world is not calibrated."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether the world is the ground truth."""
        ...

    @property
    def has_pictures(self) -> bool:
        """Whether moments have frames and tokens."""
        ...

    @property
    def has_readout(self) -> bool:
        """Whether moments have a read-out."""
        ...

    def start(self, index: int) -> RecordedHistory:
        """Returns a start of the checkpoint, 0 to its number of starts - 1."""
        ...

    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[M]:
        """Returns each row's moment at the end of its recorded history.

        Args:
            histories: recorded clips of the B rows.
            seeds: seeds of all of the rows' own randomness, 0..2^63-1.

        Raises:
            InvalidInputError: a history does not fit this world.
        """
        ...

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside, as part of a saved state.

        Raises:
            InvalidInputError: it is not a moment of this world, or it was tampered with.
        """
        ...

    def reseeded(self, moment: M, seed: int) -> M:
        """Returns the same moment with other future noise."""
        ...

    def step(self, moments: Sequence[M], chunks: Float32Array) -> list[M]:
        """Advances each row by one clip.

        Args:
            moments: present moments of the B rows; stay valid.
            chunks: finite actions within the environment's bounds, physical units, [B, 17, 25].

        Raises:
            ModelOutputError: the model's output is not finite; names the rows. Nothing has changed.
        """
        ...

    def close(self) -> None:
        """Frees the resources of the world; may be called twice."""
        ...


class CheckpointWorld:
    """Base class of worlds that begin at a checkpoint's starts.

    Args:
        checkpoint: see World.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def start(self, index: int) -> RecordedHistory:
        """Returns a start of the checkpoint; see World."""
        starts = self.checkpoint.starts
        pose = None if starts.poses is None else to_array(starts.poses[index])
        return RecordedHistory(to_array(starts.tokens[index]), to_array(starts.actions[index]), pose)


def to_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Returns a copy of a tensor as an array, which users may modify."""
    return tensor.cpu().numpy().copy()
