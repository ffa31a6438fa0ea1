"""What an environment asks of a world, be it learned or the reference."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from hwm_env.data.statistics import ActionStatistics
from hwm_env.tasks.base import ReadoutSource, RecordedHistory, TaskView
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.trust import Trust
from hwm_env.types import Float32Array


class WorldMoment(TaskView, Protocol):
    """All that one world is after a clip. Never changed, so that keeping a reference saves the world."""

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 is certain."""
        ...

    @property
    def entropy(self) -> float:
        """Mean entropy of what the clip's tokens were chosen from, in nats a token; 0 is certain."""
        ...

    @property
    def path_entropy(self) -> float:
        """Mean entropy of all clips since the last recorded one, in nats a token."""
        ...

    @property
    def painted_offset(self) -> float:
        """How far the clip seems to be painted from another pose than the carried one (m); 0 without a scene."""
        ...

    @property
    def readout_source(self) -> ReadoutSource | None:
        """Who says what the readout says; `None` without one."""
        ...

    @property
    def pose_std(self) -> Float32Array | None:
        """Standard deviations of the carried pose, x (m), y (m), yaw (rad), [3]; `None` if the world carries none."""
        ...

    @property
    def predicted_steps(self) -> int:
        """Clips since the last recorded one."""
        ...


M = TypeVar("M", bound=WorldMoment)


class World(Protocol[M]):
    """The dynamics of any number of independent worlds, as a function of the moments before."""

    @property
    def identity(self) -> str:
        """The same for worlds that can go on from each other's moments."""
        ...

    @property
    def statistics(self) -> ActionStatistics:
        """Statistics of the actions that the learned world was trained with."""
        ...

    @property
    def trust(self) -> Trust | None:
        """What tells how far to believe a predicted clip; None where nothing does."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether the world is the truth itself."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels (S)."""
        ...

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the token grid (h, w)."""
        ...

    @property
    def tokenizer(self) -> VideoTokenizer:
        """What its tokens are made with."""
        ...

    @property
    def num_starts(self) -> int:
        """How many recorded starts there are."""
        ...

    @property
    def has_readout(self) -> bool:
        """Whether moments have a readout."""
        ...

    def start(self, index: int) -> RecordedHistory:
        """A recorded start, 0 to `num_starts` - 1."""
        ...

    def begin(self, history: RecordedHistory, seed: int) -> M:
        """Begins at the end of a recorded history.

        Args:
            history: where to begin.
            seed: of all randomness of the world itself, 0..2^63-1.

        Raises:
            InvalidInputError: the history does not fit this world.
        """
        ...

    def check(self, moment: object) -> None:
        """Checks a moment that comes from outside, as part of a saved state.

        Raises:
            InvalidInputError: it is none of this world, or was tampered with.
        """
        ...

    def reseeded(self, moment: M, seed: int) -> M:
        """The same moment with another future noise."""
        ...

    def step(self, moments: Sequence[M], chunks: Float32Array) -> list[M]:
        """One clip forward in each world.

        Args:
            moments: where the B worlds go on from; stay valid.
            chunks: finite actions within the bounds of the training data, physical units, [B, 17, 25].

        Raises:
            ModelOutputError: names the worlds in which the model's output is not finite; nothing has changed.
        """
        ...

    def close(self) -> None:
        """Frees what the world holds; may be called twice."""
        ...
