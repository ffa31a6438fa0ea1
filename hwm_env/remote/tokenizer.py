"""The tokenizer of a service's checkpoint, which encodes and decodes there."""

import math
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from hwm_env.remote.arrays import packed
from hwm_env.remote.client import ServiceClient
from hwm_env.remote.messages import Capabilities, DecodeAnswer, EncodeAnswer
from hwm_env.remote.pictures import raw_frames


class RemoteTokenizer:
    """A `VideoTokenizer` that asks a service.

    Args:
        client: the service.
        capabilities: what it can do.
    """

    def __init__(self, client: ServiceClient, capabilities: Capabilities) -> None:
        self._client = client
        self.fsq_levels = tuple(capabilities.fsq_levels)
        """Number of levels of each digit of a token."""
        self.codebook_size = math.prod(self.fsq_levels)
        """Number of codes."""
        self.token_identity = capabilities.tokenizer
        """What its tokens mean."""
        self.identity = capabilities.tokenizer
        """The same: the service does not tell its decoder's weights."""
        self.spatial_compression = capabilities.spatial_compression
        """Pixels for each token in both directions."""

    def to(self, device: str | torch.device, /) -> Self:
        """Returns the tokenizer itself: results are always on the CPU."""
        return self

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes clips, see `VideoTokenizer`; raises as `ServiceClient.post`."""
        answer = self._client.post("/v1/encode", {"clips": packed(clips.cpu().numpy())}, EncodeAnswer)
        return torch.from_numpy(answer.tokens.astype(np.int32))

    def decode(self, tokens: Tensor) -> Tensor:
        """Decodes clips, see `VideoTokenizer`; raises as `ServiceClient.post`."""
        return self._decoded(tokens, "all")

    def decode_last(self, tokens: Tensor) -> Tensor:
        """Decodes the last frames of clips, see `VideoTokenizer`; raises as `ServiceClient.post`."""
        return self._decoded(tokens, "last")[:, 0]

    def _decoded(self, tokens: Tensor, frames: Literal["last", "all"]) -> Tensor:
        body = {"tokens": packed(tokens.cpu().numpy().astype(np.int32)), "frames": frames, "encoding": "raw"}
        answer = self._client.post("/v1/decode", body, DecodeAnswer)
        return torch.from_numpy(np.stack([raw_frames(clip) for clip in answer.clips]))
