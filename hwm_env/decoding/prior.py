"""What is known of a clip's tokens before any of them is revealed."""

from typing import NamedTuple

from torch import Tensor


class Prior(NamedTuple):
    """Logits of another source, mixed into the network's own: a weighted mean of logits, softmax by softmax."""

    logits: Tensor
    """Digit logits, float32 [B, L, S, n]; of single tokens [N, n]."""
    own_weights: Tensor
    """Weight of the network's logits in [0, 1], the rest is this prior's; float32 [B]; of single tokens [N]."""

    def of_tokens(self, worlds: Tensor, latents: Tensor, positions: Tensor) -> "Prior":
        """Returns the prior of chosen tokens: index arrays of one shape, flattened to N."""
        logits = self.logits[worlds, latents, positions].flatten(0, -2)
        return Prior(logits, self.own_weights[worlds.expand_as(latents)].flatten())

    def select(self, rows: Tensor) -> "Prior":
        """Returns the prior of these rows."""
        return Prior(self.logits[rows], self.own_weights[rows])

    def mixed(self, own_logits: Tensor) -> Tensor:
        """Returns the mixture with the network's logits [N, n]."""
        weights = self.own_weights[:, None]
        return weights * own_logits.float() + (1 - weights) * self.logits
