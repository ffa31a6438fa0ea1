"""Factored codebook head: one small softmax per FSQ digit."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import LATENTS_PER_CLIP


class FactoredHead(nn.Module):
    """Predicts each digit of each latent's token by itself: sum(levels) outputs in place of prod(levels)."""

    def __init__(self, fsq_levels: Sequence[int], width: int, grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.fsq = FSQ(tuple(fsq_levels))
        self.levels = tuple(fsq_levels)
        self.rows = grid_size[0]
        self.project = nn.Linear(width, LATENTS_PER_CLIP * sum(self.levels))

    def forward(self, x_BTSD: Tensor) -> Tensor:
        """Vectors [B, T, S, D] to digit logits [B, T, 3, H, W, sum(levels)], digit after digit."""
        logits: Tensor = self.project(x_BTSD)
        return rearrange(logits, "b t (h w) (l n) -> b t l h w n", h=self.rows, l=LATENTS_PER_CLIP)

    def split(self, digit_logits: Tensor) -> tuple[Tensor, ...]:
        """Digit logits [..., sum(levels)] to one tensor [..., level] a digit."""
        return torch.split(digit_logits, list(self.levels), dim=-1)

    def joint(self, digit_logits: Tensor) -> Tensor:
        """Log-probabilities over the whole codebook: [..., sum(levels)] to [..., V].

        The digits are independent given the network's features, so a token's log-probability is the sum of its digits'.
        """
        tokens = torch.arange(self.fsq.codebook_size, device=digit_logits.device)
        digits = self.fsq.codes_to_digits(tokens)
        parts = [part.log_softmax(dim=-1)[..., digits[:, i]] for i, part in enumerate(self.split(digit_logits))]
        return torch.stack(parts).sum(dim=0)

    def cross_entropy(self, digit_logits: Tensor, tokens: Tensor) -> Tensor:
        """Negative log-likelihood of tokens [...] under digit logits [..., sum(levels)]: float [...], nats a token."""
        digits = self.fsq.codes_to_digits(tokens)
        chosen = [
            part.float().log_softmax(dim=-1).gather(-1, digits[..., i : i + 1])
            for i, part in enumerate(self.split(digit_logits))
        ]
        return -torch.cat(chosen, dim=-1).sum(dim=-1)
