"""From tokens and action chunks to vectors."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP


class CodeEmbedding(nn.Module):
    """Embeds the three latents of each grid position into one vector.

    A token enters as its FSQ code vector (ordered digits in [-1, 1]) and a flag that says "masked"; so codes that
    decode to similar pictures start out with similar vectors, and no table of V rows has to be learned.
    """

    def __init__(self, fsq_levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.fsq = FSQ(tuple(fsq_levels))
        self.project = nn.Linear(LATENTS_PER_CLIP * (len(fsq_levels) + 1), width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens_BTLHW: Tensor) -> Tensor:
        """Tokens int [B, T, 3, H, W], V standing for "masked", to vectors [B, T, S, D]."""
        masked = tokens_BTLHW == self.fsq.codebook_size
        digits = self.fsq.codes_to_digits(tokens_BTLHW.masked_fill(masked, 0))
        values = self.fsq.digits_to_values(digits) * ~masked[..., None]
        features = torch.cat([values, masked[..., None].to(values.dtype)], dim=-1)
        x = self.project(rearrange(features, "b t l h w c -> b t (h w) (l c)").to(self.project.weight.dtype))
        embedded: Tensor = x + self.mlp(self.norm(x))
        return embedded


class ChunkEmbedding(nn.Module):
    """Embeds the 17 x 25 numbers of an action chunk, in their order, into one vector.

    Takes physical units; the statistics that normalise them are part of the weights.
    """

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("action_mean", torch.zeros(ACTION_DIM))
        self.register_buffer("action_std", torch.ones(ACTION_DIM))
        self.mlp = nn.Sequential(
            nn.Linear(FRAMES_PER_CLIP * ACTION_DIM, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, actions: Tensor) -> Tensor:
        """Actions float [B, 17 * T, 25] to vectors [B, T, D]."""
        normalised = (actions - self.action_mean) / self.action_std
        chunks = rearrange(normalised, "b (t f) a -> b t (f a)", f=FRAMES_PER_CLIP)
        embedded: Tensor = self.mlp(chunks)
        return embedded
