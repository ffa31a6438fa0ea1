"""The interface of video tokenizers."""

from typing import Final, Protocol, Self

import torch
from torch import Tensor

INTEGERS: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""Types that tokens may have."""


class VideoTokenizer(Protocol):
    """Encodes clips of 17 frames to 3 latents of tokens, and decodes them.

    Both directions are deterministic, independent for each clip of a batch, and causal in time: the first latent
    depends on frame 0 only, the second on frames 0-8, the third on all 17; likewise, frame 0 is decoded from the first
    latent only and frames 1-8 from the first two.
    """

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Number of levels of each digit of a token, the fastest-running digit first."""
        ...

    @property
    def codebook_size(self) -> int:
        """Number of codes (V), the product of `fsq_levels`."""
        ...

    @property
    def identity(self) -> str:
        """Hash of configuration and weights."""
        ...

    @property
    def token_identity(self) -> str:
        """Names what its tokens mean: equal for tokenizers that can decode each other's tokens, else `identity`."""
        ...

    @property
    def spatial_compression(self) -> int:
        """Pixels for each token in both directions."""
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
        """Decodes only the last frame, equal to that of `decode` to the bit and possibly faster.

        Args:
            tokens: int [B, 3, h, w], each in [0, V).

        Returns:
            uint8 [B, 8 * h, 8 * w, 3].

        Raises:
            InvalidInputError: wrong shape or dtype, or tokens outside the codebook.
        """
        ...
