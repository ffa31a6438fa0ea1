"""Embeddings: from tokens, actions and scene inputs to vectors for each place in time (and grid position)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.linear import ZeroLinear
from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, FRAMES_PER_LATENT, LATENTS_PER_CLIP

EMBEDDING_STD = 0.02


class TableEmbedding(nn.Module):
    """Embeds a token as a learned vector from its latent's table; the table's last vector stands for "masked"."""

    def __init__(self, codebook_size: int, width: int, *, sequential: bool) -> None:
        super().__init__()
        self.sequential = sequential
        self.tables = nn.ModuleList(nn.Embedding(codebook_size + 1, width) for _ in range(LATENTS_PER_CLIP))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Draws tables whose sum over latents has a deviation of 0.02; the vector of "masked" by Xavier's rule."""
        for table in self.parameters():
            nn.init.normal_(table, std=EMBEDDING_STD / LATENTS_PER_CLIP**0.5, generator=generator)
            nn.init.xavier_normal_(table.data[-1:], generator=generator)

    def forward(self, tokens_BTLHW: Tensor) -> Tensor:
        """Embeds tokens int [B, T, 3, H, W], where V stands for "masked": [B, N, S, D]."""
        flat = rearrange(tokens_BTLHW, "b t l h w -> l b t (h w)")
        vectors = [table(tokens) for table, tokens in zip(self.tables, flat, strict=True)]
        if self.sequential:
            return torch.stack(vectors, dim=2).flatten(1, 2)
        return torch.stack(vectors).sum(dim=0)


class CodeEmbedding(nn.Module):
    """Embeds a token from its FSQ code vector (ordered digits in [-1, 1]) and a flag for "masked".

    Codes that decode to similar pictures start with similar vectors, and no table of V vectors has to be learned. Each
    latent has its own columns in the projection.
    """

    def __init__(self, fsq_levels: Sequence[int], width: int, *, sequential: bool) -> None:
        super().__init__()
        self.sequential = sequential
        self.fsq = FSQ(tuple(fsq_levels))
        self.project = nn.Linear(LATENTS_PER_CLIP * (len(fsq_levels) + 1), width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens_BTLHW: Tensor) -> Tensor:
        """Embeds tokens int [B, T, 3, H, W], where V stands for "masked": [B, N, S, D]."""
        masked = tokens_BTLHW == self.fsq.codebook_size
        digits = self.fsq.codes_to_digits(tokens_BTLHW.masked_fill(masked, 0))
        values = self.fsq.digits_to_values(digits) * ~masked[..., None]
        features = torch.cat([values, masked[..., None].to(values.dtype)], dim=-1)
        if self.sequential:
            own_columns = torch.eye(LATENTS_PER_CLIP, device=features.device)
            columns = rearrange(
                torch.einsum("btlhwc,lk->btlhwkc", features, own_columns), "b t l h w k c -> b (t l) (h w) (k c)"
            )
        else:
            columns = rearrange(features, "b t l h w c -> b t (h w) (l c)")
        x = self.project(columns.to(self.project.weight.dtype))
        embedded: Tensor = x + self.mlp(self.norm(x))
        return embedded


class ActionEmbedding(nn.Module, ABC):
    """Base of modules that embed the actions of each place in time as one vector.

    Actions come in physical units; the statistics that normalise them are part of the weights. A place is a clip of 17
    frames, or a latent of 1, 8 or 8 frames.
    """

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: MaskedHWMConfig) -> None:
        super().__init__()
        self.sequential = config.latent_layout == "sequential"
        self.register_buffer("action_mean", torch.zeros(ACTION_DIM))
        self.register_buffer("action_std", torch.ones(ACTION_DIM))

    @abstractmethod
    def embed(self, chunks_BTFA: Tensor) -> Tensor:
        """Embeds normalised chunks [B, T, 17, 25]: [B, T, places, D]."""

    def forward(self, actions: Tensor) -> Tensor:
        """Embeds actions float [B, 17 * T, 25]: [B, N, D]."""
        normalised = (actions - self.action_mean) / self.action_std
        normalised = normalised.to(next(self.parameters()).dtype)
        return self.embed(rearrange(normalised, "b (t f) a -> b t f a", f=FRAMES_PER_CLIP)).flatten(1, 2)


class MeanActionEmbedding(ActionEmbedding):
    """Embeds each frame's action and averages over the frames of a place, so that their order is lost."""

    def __init__(self, config: MaskedHWMConfig) -> None:
        super().__init__(config)
        self.mlp = nn.Sequential(nn.Linear(ACTION_DIM, config.width), nn.GELU(), nn.Linear(config.width, config.width))

    def embed(self, chunks_BTFA: Tensor) -> Tensor:
        """Embeds normalised chunks [B, T, 17, 25]: [B, T, places, D]."""
        frames = self.mlp(chunks_BTFA)
        lengths = list(FRAMES_PER_LATENT) if self.sequential else [FRAMES_PER_CLIP]
        return torch.stack([part.mean(dim=2) for part in frames.split(lengths, dim=2)], dim=2)


class ChunkActionEmbedding(ActionEmbedding):
    """Embeds the actions of a place's frames in order; each latent has its own columns in the projection."""

    def __init__(self, config: MaskedHWMConfig) -> None:
        super().__init__(config)
        width = config.width
        self.mlp = nn.Sequential(
            nn.Linear(FRAMES_PER_CLIP * ACTION_DIM, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def embed(self, chunks_BTFA: Tensor) -> Tensor:
        """Embeds normalised chunks [B, T, 17, 25]: [B, T, places, D]."""
        places = chunks_BTFA.unsqueeze(2)
        if self.sequential:
            latents = torch.arange(LATENTS_PER_CLIP, device=chunks_BTFA.device)
            repeats = torch.tensor(FRAMES_PER_LATENT, device=latents.device)
            latent_of_frame = latents.repeat_interleave(repeats, output_size=FRAMES_PER_CLIP)
            places = places * (latent_of_frame == latents[:, None])[:, :, None]
        embedded: Tensor = self.mlp(places.flatten(3))
        return embedded


class SceneEmbedding(nn.Module):
    """Embeds the scene inputs of each grid position; starts with no effect."""

    def __init__(self, config: MaskedHWMConfig) -> None:
        super().__init__()
        self.steps = config.steps_per_clip
        self.project = ZeroLinear(config.scene_width, config.width)

    def forward(self, scene_BTSC: Tensor) -> Tensor:
        """Embeds scene inputs [B, T, S, C]: [B, N, S, D], the same for all places of a clip."""
        embedded: Tensor = self.project(scene_BTSC.to(self.project.weight.dtype))
        return embedded.repeat_interleave(self.steps, dim=1)


def token_embedding(config: MaskedHWMConfig) -> TableEmbedding | CodeEmbedding:
    """Builds the configured token embedding."""
    sequential = config.latent_layout == "sequential"
    if config.token_embedding == "table":
        return TableEmbedding(config.codebook_size, config.width, sequential=sequential)
    return CodeEmbedding(config.fsq_levels, config.width, sequential=sequential)


def action_embedding(config: MaskedHWMConfig) -> ActionEmbedding:
    """Builds the configured action embedding."""
    return MeanActionEmbedding(config) if config.action_pooling == "mean" else ChunkActionEmbedding(config)


def num_slots(config: MaskedHWMConfig) -> int:
    """Returns the number of places in the window of past and future clips."""
    if config.past_latents is not None:
        return LATENTS_PER_CLIP
    return (config.num_past_clips + config.num_future_clips) * config.steps_per_clip


def position_shape(config: MaskedHWMConfig) -> tuple[int, ...]:
    """Returns the shape of the learned positions: the grid's, or the grid's at each place."""
    if config.position_embedding == "window":
        return (num_slots(config), config.num_positions)
    return (config.num_positions,) if config.latent_layout == "stacked" else (LATENTS_PER_CLIP, config.num_positions)
