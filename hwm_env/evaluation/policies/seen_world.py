"""The reference world with a read-out's estimates in place of the exact state, which isolates the read-out's error."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.ground_truth import GroundTruthMoment, ReferenceGroundTruth
from hwm_env.errors import CheckpointError
from hwm_env.model.readout import Readout
from hwm_env.tasks.base import WorldReadout
from hwm_env.types import Float32Array


@dataclass(frozen=True)
class SeenMoment(GroundTruthMoment):
    """A moment of the reference world whose read-out is estimated from its frames."""

    reader: Readout

    @cached_property
    def readout(self) -> WorldReadout:
        """The estimate from the clip's tokens."""
        return WorldReadout.from_vector(self.reader.read(torch.from_numpy(self.tokens.copy())[None])[0].numpy())


class SeenWorld(ReferenceGroundTruth):
    """The reference world with a checkpoint's read-out in place of the exact state.

    The state at the start is exact, as in the learned world; the read-out is used from the first step on.

    Raises:
        CheckpointError: there is no read-out, or the starts have no poses.
        RenderingUnavailableError: OpenGL is not available.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.readout is None:
            raise CheckpointError("the checkpoint has no read-out; add one with: hwm-env train-readout CHECKPOINT DATA")
        super().__init__(checkpoint)
        self._reader = checkpoint.readout

    def step(self, moments: Sequence[GroundTruthMoment], chunks: Float32Array) -> list[GroundTruthMoment]:
        """Advances each moment by one clip; see `ReferenceGroundTruth.step`."""
        return [
            SeenMoment(moment.path, moment.measured, moment.draw, moment.tokenizer, self._reader)
            for moment in super().step(moments, chunks)
        ]
