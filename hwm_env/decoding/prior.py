"""A prior for a clip's tokens: logits of another source, such as a scene, mixed into the network's."""

from typing import NamedTuple

from torch import Tensor


class Prior(NamedTuple):
    """Logits that are mixed into the network's own by a weighted mean, softmax by softmax."""

    logits: Tensor
    """Digit logits, float32 [B, L, S, n], or [N, n] for single tokens."""
    own_weights: Tensor
    """Weight of the network's logits in [0, 1], float32 [B], or [N] for single tokens; the prior has the rest."""

    def of_tokens(self, rows: Tensor, latents: Tensor, positions: Tensor) -> "Prior":
        """Returns the prior of single tokens; the index arrays broadcast to one shape, flattened to N."""
        logits = self.logits[rows, latents, positions].flatten(0, -2)
        return Prior(logits, self.own_weights[rows.expand_as(latents)].flatten())

    def select(self, indices: Tensor) -> "Prior":
        """Returns the prior of these rows or tokens."""
        return Prior(self.logits[indices], self.own_weights[indices])

    def mixed(self, own_logits: Tensor) -> Tensor:
        """Mixes in the network's logits [N, n] of single tokens."""
        weights = self.own_weights[:, None]
        return weights * own_logits.float() + (1 - weights) * self.logits
