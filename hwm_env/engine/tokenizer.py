"""A tokenizer whose frames OpenVINO decodes."""

from typing import Self

import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.engine.functions import key_of, row_functions
from hwm_env.engine.openvino import OpenVINOFunction
from hwm_env.errors import InvalidInputError
from hwm_env.tokenizers.checks import check_tokens
from hwm_env.tokenizers.tiny import TinyTokenizer


class CompiledTokenizer:
    """A `VideoTokenizer` that decodes clips of one size in OpenVINO, and does the rest in PyTorch.

    Args:
        checkpoint: a checkpoint with a built-in tokenizer.
        precision: number type of the decoder's products, "float32" or "bfloat16".

    Raises:
        InvalidInputError: another precision.
    """

    def __init__(self, checkpoint: Checkpoint, precision: str) -> None:
        tokenizer = checkpoint.tokenizer
        assert isinstance(tokenizer, TinyTokenizer), f"{type(tokenizer)} cannot be exported"
        if precision not in ("float32", "bfloat16"):
            raise InvalidInputError(
                f"backend 'openvino' supports precision 'float32' and 'bfloat16', got {precision!r}; choose one of "
                "them, or backend='torch'"
            )
        self._tokenizer = tokenizer
        self._grid_size = checkpoint.model.config.grid_size
        functions = row_functions(checkpoint, checkpoint.decoding)
        self._frames, self._last_frame = (
            OpenVINOFunction(functions[name], name, key_of(name, checkpoint, checkpoint.decoding), precision)
            for name in ("frames", "last_frame")
        )

    @property
    def fsq_levels(self) -> tuple[int, ...]:
        """Number of levels of each digit of a token, the fastest-running digit first."""
        return self._tokenizer.fsq_levels

    @property
    def codebook_size(self) -> int:
        """Number of codes (V)."""
        return self._tokenizer.codebook_size

    @property
    def identity(self) -> str:
        """That of the built-in tokenizer."""
        return self._tokenizer.identity

    @property
    def token_identity(self) -> str:
        """That of the built-in tokenizer."""
        return self._tokenizer.token_identity

    @property
    def spatial_compression(self) -> int:
        """Pixels for each token in both directions."""
        return self._tokenizer.spatial_compression

    def to(self, device: str | torch.device, /) -> Self:
        """Stays on the CPU, where the engine computes."""
        return self

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips, see `TinyTokenizer.encode`."""
        return self._tokenizer.encode(clips)

    def decode(self, tokens: Tensor) -> Tensor:
        """Decodes tokens, see `TinyTokenizer.decode`."""
        check_tokens(tokens, self.codebook_size)
        if tuple(tokens.shape[2:]) != self._grid_size:
            return self._tokenizer.decode(tokens)
        return self._frames(self._values(tokens))[0]

    def decode_last(self, tokens: Tensor) -> Tensor:
        """Decodes only the last frame, see `TinyTokenizer.decode_last`."""
        check_tokens(tokens, self.codebook_size)
        if tuple(tokens.shape[2:]) != self._grid_size:
            return self._tokenizer.decode_last(tokens)
        return self._last_frame(self._values(tokens))[0].squeeze(1)

    def _values(self, tokens: Tensor) -> Tensor:
        return self._tokenizer.fsq.digits_to_values(self._tokenizer.fsq.codes_to_digits(tokens))
