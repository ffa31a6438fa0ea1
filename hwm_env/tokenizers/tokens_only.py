"""A tokenizer that shows no frames, so that what should run without any is sure to."""

from typing import Self

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.tokenizers.base import VideoTokenizer


class TokensOnly:
    """Another tokenizer, but for decoding, which is an error; a VideoTokenizer."""

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Levels of each digit of a token."""
        return self._tokenizer.fsq_levels

    @property
    def codebook_size(self) -> int:
        """Number of codes."""
        return self._tokenizer.codebook_size

    @property
    def identity(self) -> str:
        """That of the other tokenizer."""
        return self._tokenizer.identity

    @property
    def spatial_compression(self) -> int:
        """Pixels a token in each direction."""
        return self._tokenizer.spatial_compression

    def to(self, device: str | torch.device, /) -> Self:
        """Moves the weights to a device, in place."""
        self._tokenizer.to(device)
        return self

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips."""
        return self._tokenizer.encode(clips)

    def decode(self, tokens: Tensor) -> Tensor:
        """Refuses.

        Raises:
            InvalidInputError: always.
        """
        raise InvalidInputError("somebody looks at frames of an environment that was made with tokens_only=True")

    decode_last = decode
