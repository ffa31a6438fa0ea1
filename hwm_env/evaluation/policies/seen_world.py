"""The reference world as a read-out sees it: what of a learned world's error is the read-out's alone."""

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
    """A moment of which nobody knows more than its pictures tell."""

    reader: Readout

    @cached_property
    def readout(self) -> WorldReadout:
        """What the read-out makes of the clip's tokens."""
        return WorldReadout.from_vector(self.reader.read(torch.from_numpy(self.tokens.copy())[None])[0].numpy())


class SeenWorld(ReferenceGroundTruth):
    """The reference world with a checkpoint's read-out in place of the exact state, after the first step; the start is
    known, as it is in the learned world.

    Raises:
        CheckpointError: there is no read-out, or the starts come without poses.
        RenderingUnavailableError: there is no OpenGL here.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.readout is None:
            raise CheckpointError("the checkpoint has no read-out to see with; train one with `hwm-env train-readout`")
        super().__init__(checkpoint)
        self._reader = checkpoint.readout

    def step(self, moments: Sequence[GroundTruthMoment], chunks: Float32Array) -> list[GroundTruthMoment]:
        """See ReferenceGroundTruth."""
        return [
            SeenMoment(moment.path, moment.measured, moment.draw, moment.tokenizer, self._reader)
            for moment in super().step(moments, chunks)
        ]
