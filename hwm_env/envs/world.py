"""What an environment asks of a world, be it learned or the reference."""

from typing import Protocol, TypeVar

from hwm_env.data.statistics import ActionStatistics
from hwm_env.tasks.base import WorldReadout
from hwm_env.types import Float32Array, UInt8Array


class Moment(Protocol):
    """All that a world is after a clip. Never changed, so that keeping a reference saves the world."""

    @property
    def frames(self) -> UInt8Array:
        """What the robot has seen during the clip, [17, S, S, 3]."""
        ...

    @property
    def measured(self) -> Float32Array:
        """The robot's 25 numbers in each frame of the clip, physical units, [17, 25]."""
        ...

    @property
    def readout(self) -> WorldReadout | None:
        """What is known about the last frame; None where nobody knows."""
        ...

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip in nats a token; 0 is certain."""
        ...


M = TypeVar("M", bound=Moment)


class World(Protocol[M]):
    """One world's dynamics, as a function of the moment before."""

    @property
    def identity(self) -> str:
        """The same for worlds that can go on from each other's moments."""
        ...

    @property
    def statistics(self) -> ActionStatistics:
        """Statistics of the actions that the learned world was trained with."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels (S)."""
        ...

    @property
    def num_starts(self) -> int:
        """How many recorded starts there are."""
        ...

    @property
    def has_readout(self) -> bool:
        """Whether moments have a readout."""
        ...

    def begin(self, start: int, seed: int) -> M:
        """Begins at the end of a recorded history.

        Args:
            start: 0 to `num_starts` - 1.
            seed: of all randomness of the world itself, 0..2^63-1.
        """
        ...

    def step(self, moment: M, chunk: Float32Array) -> M:
        """One clip forward.

        Args:
            moment: where to go on from; stays valid.
            chunk: finite actions within the bounds of the training data, physical units, [17, 25].
        """
        ...

    def close(self) -> None:
        """Frees what the world holds; may be called twice."""
        ...
