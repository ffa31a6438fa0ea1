"""What the rest of the package expects of a video tokenizer."""

from typing import Final, Protocol, Self

import torch
from torch import Tensor

INTEGERS: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""Types that tokens may have."""


class VideoTokenizer(Protocol):
    """Turns clips of 17 frames into 3 latent frames of tokens and back.

    Both directions are deterministic, work a clip at a time (no clip depends on its neighbours in the batch) and are
    causal in time: the first latent depends on frame 0 alone, the second on frames 0-8, the third on all 17;
    likewise, frame 0 is decoded from the first latent alone and frames 1-8 from the first two.
    """

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Levels of each digit of a token, the fastest-running digit first."""
        ...

    @property
    def codebook_size(self) -> int:
        """Number of codes (V), the product of `fsq_levels`."""
        ...

    @property
    def identity(self) -> str:
        """Hash of configuration and weights: tokens are only worth something to the tokenizer that made them."""
        ...

    @property
    def spatial_compression(self) -> int:
        """Pixels a token in each direction."""
        ...

    def to(self, device: str | torch.device, /) -> Self:
        """Moves the weights to a device, in place."""
        ...

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips.

        Args:
            clips: uint8 [B, 17, H, W, 3], H and W multiples of 8.

        Returns:
            int32 [B, 3, H / 8, W / 8], each in [0, V).

        Raises:
            InvalidInputError: wrong shape or dtype.
        """
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Decodes tokens.

        Args:
            tokens: int [B, 3, h, w], each in [0, V).

        Returns:
            uint8 [B, 17, 8 * h, 8 * w, 3].

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        ...

    def decode_last(self, tokens: Tensor) -> Tensor:
        """The last frame of what `decode` gives, to the bit, which may cost less than all: uint8 [B, 8 * h, 8 * w, 3].

        Args:
            tokens: int [B, 3, h, w], each in [0, V).

        Raises:
            InvalidInputError: as `decode`.
        """
        ...
