"""Codebook heads: predict a token's probability as the product of one or more softmaxes."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear

from hwm_env.tokenizers.fsq import FSQ


class CodebookHead(nn.Module):
    """Predicts tokens digit by digit; each latent has its own outputs in the projection.

    `factored`: one softmax per digit of a token, sum(levels) outputs instead of prod(levels). `joint`: a single softmax
    over the codebook, one digit of V levels.
    """

    def __init__(self, levels: Sequence[int], width: int, num_latents: int, num_rows: int) -> None:
        """Creates the projection.

        Args:
            levels: number of outcomes of each softmax.
            width: channels of the vectors that tokens are predicted from (D).
            num_latents: predicted latents (L).
            num_rows: rows of the token grid (H).
        """
        super().__init__()
        self.levels = tuple(levels)
        self.fsq = FSQ(self.levels)
        self.rows = num_rows
        self.num_latents = num_latents
        self.project = nn.Linear(width, num_latents * sum(self.levels))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Draws a joint head by Xavier's rule, near uniform; a factored head starts like any linear layer."""
        if len(self.levels) == 1:
            for rows in self.project.weight.data.chunk(self.num_latents):
                nn.init.xavier_normal_(rows, generator=generator)

    def forward(self, x_BTLSD: Tensor) -> Tensor:
        """Predicts digit logits [B, T, L, H, W, n] from [B, T, L, S, D], or from [B, T, 1, S, D] for all latents."""
        if x_BTLSD.shape[2] == 1:
            logits: Tensor = rearrange(self.project(x_BTLSD), "b t 1 s (l n) -> b t l s n", l=self.num_latents)
        else:
            logits = torch.stack([self.logits(x, index) for index, x in enumerate(x_BTLSD.unbind(2))], dim=2)
        arranged: Tensor = rearrange(logits, "b t l (h w) n -> b t l h w n", h=self.rows)
        return arranged

    def logits(self, x_D: Tensor, latent: int) -> Tensor:
        """Predicts digit logits [..., n] of one latent, counted from the first predicted one, from [..., D]."""
        weight, bias = self.rows_of(latent)
        return linear(x_D, weight, bias)

    def logits_of(self, x_ND: Tensor, latents_N: Tensor) -> Tensor:
        """Predicts digit logits [N, n] of vectors [N, D] that belong to these latents.

        It computes the logits of all latents. Unlike `logits`, it has no shape that depends on the latents, so that it
        can be exported.
        """
        logits_NLn = self.project(x_ND).unflatten(-1, (self.num_latents, -1))
        chosen: Tensor = logits_NLn.take_along_dim(latents_N[:, None, None], dim=1).squeeze(1)
        return chosen

    def rows_of(self, latent: int) -> tuple[Tensor, Tensor]:
        """Returns one latent's part of the projection: weight [n, D] and bias [n]."""
        size = sum(self.levels)
        rows = slice(latent * size, (latent + 1) * size)
        return self.project.weight[rows], self.project.bias[rows]

    def split(self, digit_logits: Tensor) -> tuple[Tensor, ...]:
        """Splits digit logits [..., n] into one tensor [..., levels] per digit."""
        return torch.split(digit_logits, list(self.levels), dim=-1)

    def joint(self, digit_logits: Tensor) -> Tensor:
        """Returns logits over the whole codebook, [..., n] to [..., V]; with several digits they are normalised.

        Digits are independent given the network's features, so a token's log-probability is the sum of its digits'.
        """
        if len(self.levels) == 1:
            return digit_logits
        tokens = torch.arange(self.fsq.codebook_size, device=digit_logits.device)
        digits = self.fsq.codes_to_digits(tokens)
        parts = [part.log_softmax(dim=-1)[..., digits[:, i]] for i, part in enumerate(self.split(digit_logits))]
        return torch.stack(parts).sum(dim=0)

    def cross_entropy(self, digit_logits: Tensor, tokens: Tensor) -> Tensor:
        """Returns the negative log-likelihood of tokens [...] under digit logits [..., n]: float [...], in nats."""
        digits = self.fsq.codes_to_digits(tokens)
        chosen = [
            part.float().log_softmax(dim=-1).gather(-1, digits[..., i : i + 1])
            for i, part in enumerate(self.split(digit_logits))
        ]
        return -torch.cat(chosen, dim=-1).sum(dim=-1)
