"""What a simulator takes and returns: the state of a batch of rows, and their newest clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from pydantic import InstanceOf
from torch import Tensor

from hwm_env.fields import CountOrZero, checked
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.history import EncodedHistory
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator_input import (
    check_actions,
    check_encoded,
    check_history_tokens,
    check_numbers,
    check_seeds,
    for_each_row,
)
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, POSE_DIM

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class WorldState:
    """The state of a batch of rows. Never changed in place, so that keeping a reference saves it."""

    tokens: Tensor
    """int32 [B, T_p, 3, H, W]: the history's clips."""
    actions: Tensor
    """float32 [B, T_p, 17, 25]: the history's action chunks, physical units."""
    seeds: tuple[int, ...]
    """A seed for each row; together with `step_indices`, it determines all random numbers."""
    step_indices: tuple[int, ...]
    """Env steps since the reset, for each row."""
    encoded: EncodedHistory | None = None
    """The encoded history except its newest clip, which the next step encodes, if it is kept from step to step
    (`history="streaming"`)."""
    belief: PoseBelief | None = None
    """The carried pose of each row; `None` without a scene."""
    paths: Tensor | None = None
    """float32 [B, T_p, 17, 3]: base poses at the frames of the history, NaN where unknown; `None` if the model does not
    read scene inputs."""

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def newest_actions(self) -> Tensor:
        """Actions of the newest clip, float32 [B, 17, 25], on the CPU: copied once for all rows."""
        return self.actions[:, -1].cpu()

    @cached_property
    def belief_on_cpu(self) -> PoseBelief | None:
        """The carried poses on the CPU: copied once for all rows."""
        return None if self.belief is None else PoseBelief(*(part.cpu() for part in self.belief))

    @classmethod
    def join(cls, states: Sequence["WorldState"]) -> "WorldState":
        """Joins batches. All must have histories of equal length, and either all or none of each optional part."""
        encoded = _all_or_none("histories are encoded", [state.encoded for state in states])
        beliefs = _all_or_none("batches have a belief", [state.belief for state in states])
        paths = _all_or_none("batches have paths", [state.paths for state in states])
        return cls(
            torch.cat([state.tokens for state in states]),
            torch.cat([state.actions for state in states]),
            tuple(seed for state in states for seed in state.seeds),
            tuple(index for state in states for index in state.step_indices),
            EncodedHistory.join(encoded) if encoded else None,
            PoseBelief.join(beliefs) if beliefs else None,
            torch.cat(paths) if paths else None,
        )

    def select(self, rows: Sequence[int]) -> "WorldState":
        """Returns these rows in this order; a repeated row has the same past and future."""
        index = torch.as_tensor(rows, device=self.tokens.device)
        return WorldState(
            self.tokens[index],
            self.actions[index],
            tuple(self.seeds[row] for row in rows),
            tuple(self.step_indices[row] for row in rows),
            None if self.encoded is None else self.encoded.select(index),
            None if self.belief is None else self.belief.select(index),
            None if self.paths is None else self.paths[index],
        )

    def expand(self, n: int) -> "WorldState":
        """Returns n copies of a single row, which share its memory."""
        return WorldState(
            self.tokens.expand(n, -1, -1, -1, -1),
            self.actions.expand(n, -1, -1, -1),
            self.seeds * n,
            self.step_indices * n,
            None if self.encoded is None else self.encoded.expand(n),
            None if self.belief is None else self.belief.expand(n),
            None if self.paths is None else self.paths.expand(n, -1, -1, -1),
        )

    def check(self, config: MaskedHWMConfig, num_codes: int) -> None:
        """Checks that a model can continue from this state.

        Args:
            config: configuration of the model.
            num_codes: size of the tokenizer's codebook.

        Raises:
            InvalidInputError: the state belongs to another model, or was tampered with.
        """
        num_rows, num_clips = check_history_tokens(self.tokens, config, num_codes).shape[:2]
        check_actions(self.actions, (num_rows, num_clips, FRAMES_PER_CLIP, ACTION_DIM), "the state's actions")
        check_seeds(self.seeds, num_rows)
        for_each_row("step index", self.step_indices, CountOrZero, num_rows)
        if self.belief is not None:
            checked("the state's belief", self.belief, InstanceOf[PoseBelief])
            check_numbers("the state's poses", self.belief.poses, (num_rows, POSE_DIM))
            check_numbers("the state's covariances", self.belief.covariances, (num_rows, POSE_DIM, POSE_DIM))
        if self.paths is not None:
            check_numbers("the state's paths", self.paths, (num_rows, num_clips, FRAMES_PER_CLIP, POSE_DIM))
        if self.encoded is not None:
            check_encoded(self.encoded, config, (num_rows, num_clips))


@dataclass(frozen=True)
class Clip:
    """The newest clip of each row."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    log_prob: Tensor
    """float32 [B, 3, H, W]: log-probability of each token when it was chosen, in nats."""
    entropy: Tensor
    """float32 [B, 3, H, W]: entropy of the distribution that each token was chosen from, in nats."""
    tokenizer: VideoTokenizer
    path: Tensor | None = None
    """float32 [B, 17, 3]: carried poses at the clip's frames, x and y (m) and yaw (rad), NaN where unknown; `None`
    without a scene, or for a recorded clip."""
    alone: bool = False
    """Whether the frames of a row are decoded alone, so that they do not depend on the batch to the bit."""
    together: bool = False
    """Whether, on the CPU too, the frames of all rows are decoded when those of one are asked for, unless `alone`: that
    takes less time than one row after the other."""

    def select(self, rows: Sequence[int]) -> "Clip":
        """Returns the clips of these rows, in this order."""
        index = torch.as_tensor(rows, device=self.tokens.device)
        path = None if self.path is None else self.path[index]
        parts = self.tokens[index], self.log_prob[index], self.entropy[index]
        return Clip(*parts, self.tokenizer, path, self.alone, self.together)

    @classmethod
    def join(cls, clips: Sequence["Clip"]) -> "Clip":
        """Joins the clips of several batches, in this order."""
        paths = _all_or_none("clips have a path", [clip.path for clip in clips])
        return cls(
            torch.cat([clip.tokens for clip in clips]),
            torch.cat([clip.log_prob for clip in clips]),
            torch.cat([clip.entropy for clip in clips]),
            clips[0].tokenizer,
            torch.cat(paths) if paths else None,
            clips[0].alone,
            clips[0].together,
        )

    @property
    def on_cpu(self) -> "Clip":
        """These clips on the CPU: copied once for all rows."""
        return self if self.tokens.device.type == "cpu" else self._copy_on_cpu

    @cached_property
    def frames(self) -> Tensor:
        """uint8 [B, 17, height, width, 3]; decoded at the first access."""
        return self.tokenizer.decode(self.tokens)

    def frames_of(self, row: int) -> Tensor:
        """Returns a row's frames on the CPU, uint8 [17, height, width, 3]."""
        if self._decodes_together:
            return self._frames_on_cpu[row]
        return self.tokenizer.decode(self.tokens[row : row + 1])[0].cpu()

    def last_frame_of(self, row: int) -> Tensor:
        """Returns a row's last frame on the CPU, uint8 [height, width, 3]."""
        if self._decodes_together:
            return self._last_frames_on_cpu[row]
        return self.tokenizer.decode_last(self.tokens[row : row + 1])[0].cpu()

    @property
    def _decodes_together(self) -> bool:
        """Whether the rows' frames are decoded at once: a GPU takes hardly longer than for one."""
        return (self.together or self.tokens.device.type != "cpu") and not self.alone

    @cached_property
    def _copy_on_cpu(self) -> "Clip":
        parts = (self.tokens.cpu(), self.log_prob.cpu(), self.entropy.cpu())
        path = None if self.path is None else self.path.cpu()
        return Clip(*parts, self.tokenizer, path, self.alone, self.together)

    @cached_property
    def _frames_on_cpu(self) -> Tensor:
        return self.frames.cpu()

    @cached_property
    def _last_frames_on_cpu(self) -> Tensor:
        return self.tokenizer.decode_last(self.tokens).cpu()

    @property
    def confidence(self) -> Tensor:
        """Mean log-probability of the clip's tokens, float32 [B], in nats per token."""
        return self.log_prob.mean(dim=(1, 2, 3))

    @property
    def mean_entropy(self) -> Tensor:
        """Mean entropy of the distributions that the tokens were chosen from, float32 [B], in nats per token."""
        return self.entropy.mean(dim=(1, 2, 3))


def _all_or_none(what: str, parts: Sequence[_Part | None]) -> list[_Part]:
    """Returns the parts, or an empty list if there are none."""
    given = [part for part in parts if part is not None]
    assert len(given) in (0, len(parts)), f"{len(given)} of {len(parts)} {what}"
    return given
