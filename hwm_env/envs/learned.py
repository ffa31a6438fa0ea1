"""The learned world as an environment sees it: a batch of one on WorldSimulator, and the pose read-out."""

from dataclasses import dataclass
from functools import cached_property

import torch

from hwm_env.data.statistics import ActionStatistics
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.tasks.base import WorldReadout
from hwm_env.types import Float32Array, UInt8Array


@dataclass(frozen=True)
class LearnedMoment:
    """A Moment of a learned world."""

    state: WorldState
    """One world."""
    clip: Clip
    """The newest clip of its history."""
    readout: WorldReadout | None
    """The pose recorded with a start; from then on the pose that the read-out sees in the tokens."""

    @cached_property
    def frames(self) -> UInt8Array:
        """Decoded when first asked for, [17, S, S, 3]."""
        frames: UInt8Array = self.clip.frames[0].cpu().numpy()
        return frames

    @property
    def measured(self) -> Float32Array:
        """The executed actions, [17, 25]: the learned world is kinematic in them."""
        measured: Float32Array = self.state.actions[0, -1].cpu().numpy()
        return measured

    @property
    def confidence(self) -> float:
        """Mean log-probability of the clip's tokens in nats a token; 0 for a recorded clip."""
        return float(self.clip.confidence)


class LearnedWorld:
    """A World that a trained model dreams."""

    def __init__(self, simulator: WorldSimulator) -> None:
        self._simulator = simulator
        self._checkpoint = simulator.checkpoint
        self._identity = f"learned world {self._checkpoint.identity}"

    @property
    def identity(self) -> str:
        """Names the model's weights."""
        return self._identity

    @property
    def statistics(self) -> ActionStatistics:
        """Of the training data's actions."""
        return self._checkpoint.statistics

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame in pixels."""
        return self._checkpoint.image_size

    @property
    def num_starts(self) -> int:
        """Starts of the checkpoint."""
        return len(self._checkpoint.starts)

    @property
    def has_readout(self) -> bool:
        """Whether the checkpoint has a pose read-out."""
        return self._checkpoint.readout is not None

    def begin(self, start: int, seed: int) -> LearnedMoment:
        """Begins at the end of a recorded history; see World."""
        state = self._simulator.reset([start], [seed])
        tokens = state.tokens[:, -1]
        clip = Clip(tokens, torch.zeros(tokens.shape, device=tokens.device), self._simulator.tokenizer)
        poses = self._checkpoint.starts.poses
        if poses is None or not self.has_readout:
            return LearnedMoment(state, clip, self._read_out(clip))
        return LearnedMoment(state, clip, WorldReadout.from_pose(poses[start].cpu().numpy()))

    def step(self, moment: LearnedMoment, chunk: Float32Array) -> LearnedMoment:
        """Dreams one clip; see World."""
        state, clip = self._simulator.step(moment.state, torch.from_numpy(chunk)[None])
        return LearnedMoment(state, clip, self._read_out(clip))

    def close(self) -> None:
        """Nothing to free."""

    def _read_out(self, clip: Clip) -> WorldReadout | None:
        if self._checkpoint.readout is None:
            return None
        return WorldReadout.from_pose(self._checkpoint.readout.pose(clip.tokens)[0].cpu().numpy())
