"""MaskedHWM: a masked video transformer that predicts a clip's tokens from past clips and from actions.

After "Humanoid World Models" (arXiv 2506.01182), with the options that MaskedHWMConfig names.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.model.attention import KeyValues, Rotation
from hwm_env.model.block import Block
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.embedding import ChunkEmbedding, CodeEmbedding
from hwm_env.model.heads import FactoredHead
from hwm_env.model.linear import initialise
from hwm_env.model.masking import clip_causal_visibility
from hwm_env.model.rope import rotation, spatial_angles, temporal_angles
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP

EMBEDDING_STD = 0.02


class History(NamedTuple):
    """What the future needs of the past: each layer's keys and values, and how many clips they stand for."""

    layers: tuple[KeyValues, ...]
    num_clips: int


class MaskedHWM(nn.Module):
    """Masked Humanoid World Model.

    Runs wherever its inputs are; all randomness of initialisation comes from `generator`.
    """

    rotation_cos: Tensor
    rotation_sin: Tensor

    def __init__(self, config: MaskedHWMConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokens = CodeEmbedding(config.fsq_levels, config.width)
        self.actions = ChunkEmbedding(config.width)
        self.positions = nn.Parameter(torch.empty(config.num_positions, config.width))
        self.streams = nn.Parameter(torch.empty(4, config.width))
        self.blocks = nn.ModuleList(
            Block(config, shared=layer >= config.shared_layers_start, last=layer == config.num_layers - 1)
            for layer in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = FactoredHead(config.fsq_levels, config.width, config.grid_size)
        cos, sin = rotation(spatial_angles(*config.grid_size, config.head_width, config.rope_base))
        self.register_buffer("rotation_cos", cos, persistent=False)
        self.register_buffer("rotation_sin", sin, persistent=False)
        initialise(self, generator)
        nn.init.normal_(self.positions, std=EMBEDDING_STD, generator=generator)
        nn.init.normal_(self.streams, std=EMBEDDING_STD, generator=generator)

    def forward(self, v_p: Tensor, v_f: Tensor, a_p: Tensor, a_f: Tensor) -> Tensor:
        """Log-probabilities of the future video's tokens, in one pass over all clips.

        Args:
            v_p: past tokens, int [B, 3, T_p, H, W].
            v_f: future tokens, int [B, 3, T_f, H, W]; `config.mask_token` where unknown.
            a_p: past actions, float [B, 17 * T_p, 25], physical units.
            a_f: future actions, float [B, 17 * T_f, 25].

        Returns:
            float [3, B, T_f, H, W, V], normalised over V.

        Raises:
            InvalidInputError: a shape does not fit the others or the configuration.
        """
        self._check(v_p, v_f, a_p, a_f)
        past, future = (rearrange(v, "b l t h w -> b t l h w") for v in (v_p, v_f))
        future_times = torch.arange(v_f.shape[2], device=v_f.device) + v_p.shape[2]
        digit_logits = self.predict(past, future, a_p, a_f, future_times, parallel_targets=False)
        return rearrange(self.head.joint(digit_logits), "b t l h w v -> l b t h w v")

    def predict(
        self,
        past_BTLHW: Tensor,
        future_BTLHW: Tensor,
        a_p: Tensor,
        a_f: Tensor,
        future_times: Tensor,
        *,
        parallel_targets: bool,
    ) -> Tensor:
        """Digit logits of the future clips, in one pass over all clips.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W]; their clip times are 0..T_p-1.
            future_BTLHW: future tokens, int [B, T_f, 3, H, W].
            a_p: past actions, float [B, 17 * T_p, 25].
            a_f: future actions, float [B, 17 * T_f, 25].
            future_times: int [T_f], clip times of the future clips.
            parallel_targets: each future clip is a target of its own (see `clip_causal_visibility`).

        Returns:
            float [B, T_f, 3, H, W, sum(levels)].
        """
        num_past = past_BTLHW.shape[1]
        past_times = torch.arange(num_past, device=past_BTLHW.device)
        visible = clip_causal_visibility(past_times, future_times, parallel_targets=parallel_targets)
        tokens = torch.cat([past_BTLHW, future_BTLHW], dim=1)
        actions = torch.cat([a_p, a_f], dim=1)
        features, _ = self._run(
            tokens, self.actions(actions), num_past, torch.cat([past_times, future_times]), visible, None
        )
        digit_logits: Tensor = self.head(self.norm(features[:, num_past:]))
        return digit_logits

    def encode_history(self, past_BTLHW: Tensor, a_p: Tensor) -> History:
        """Keys and values of the past, which under the clip-causal mask no future clip can change.

        Args:
            past_BTLHW: past tokens, int [B, T_p, 3, H, W].
            a_p: past actions, float [B, 17 * T_p, 25].
        """
        num_past = past_BTLHW.shape[1]
        times = torch.arange(num_past, device=past_BTLHW.device)
        visible = clip_causal_visibility(times, times[:0], parallel_targets=False)
        _, layers = self._run(past_BTLHW, self.actions(a_p), num_past, times, visible, None)
        return History(tuple(layers), num_past)

    def embed_actions(self, a_f: Tensor) -> Tensor:
        """Embeds action chunks [B, 17 * T, 25] once for many decoding steps: [B, T, D]."""
        embedded: Tensor = self.actions(a_f)
        return embedded

    def predict_next(self, history: History, next_BLHW: Tensor, action_embedding_BTD: Tensor) -> Tensor:
        """Digit logits of the clip that follows the history: the same function as `predict` with one future clip.

        Args:
            history: from `encode_history`.
            next_BLHW: tokens of the next clip, int [B, 3, H, W], `config.mask_token` where unknown.
            action_embedding_BTD: from `embed_actions`, [B, 1, D].

        Returns:
            float [B, 3, H, W, sum(levels)].
        """
        time = torch.tensor([history.num_clips], device=next_BLHW.device)
        features, _ = self._run(next_BLHW.unsqueeze(1), action_embedding_BTD, 0, time, None, history)
        digit_logits: Tensor = self.head(self.norm(features)).squeeze(1)
        return digit_logits

    def _run(
        self,
        tokens_BTLHW: Tensor,
        condition_BTD: Tensor,
        num_past: int,
        times_T: Tensor,
        visible: Tensor | None,
        history: History | None,
    ) -> tuple[Tensor, list[KeyValues]]:
        """Runs all blocks: video features [B, T, S, D] and each layer's keys and values."""
        config = self.config
        is_future = (torch.arange(len(times_T), device=times_T.device) >= num_past).long()
        video = self.tokens(tokens_BTLHW) + self.positions + (condition_BTD + self.streams[is_future]).unsqueeze(2)
        acting = condition_BTD + self.streams[2 + is_future]
        rotation_S: Rotation = (self.rotation_cos, self.rotation_sin)
        rotation_T = rotation(temporal_angles(times_T, config.head_width, config.rope_base))
        layers = []
        for index, block in enumerate(self.blocks):
            past = None if history is None else history.layers[index]
            video, acting, own = block(video, acting, condition_BTD, num_past, rotation_S, rotation_T, visible, past)
            layers.append(own)
        return video, layers

    def _check(self, v_p: Tensor, v_f: Tensor, a_p: Tensor, a_f: Tensor) -> None:
        config = self.config
        batch = len(v_p)
        for name, video, actions in (("past", v_p, a_p), ("future", v_f, a_f)):
            expected = (batch, LATENTS_PER_CLIP, video.shape[2] if video.ndim == 5 else "T", *config.grid_size)
            if tuple(video.shape) != expected:
                raise InvalidInputError(f"{name} video must have shape {expected}, got {tuple(video.shape)}")
            wanted = (batch, FRAMES_PER_CLIP * video.shape[2], ACTION_DIM)
            if tuple(actions.shape) != wanted:
                raise InvalidInputError(f"{name} actions must have shape {wanted}, got {tuple(actions.shape)}")
        if not 1 <= v_p.shape[2] <= config.num_past_clips:
            raise InvalidInputError(f"the past must have 1 to {config.num_past_clips} clips, got {v_p.shape[2]}")
