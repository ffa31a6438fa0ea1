"""Checks the inputs of tokenizers, and whether the tokens of a data set belong to a tokenizer."""

import logging
from copy import copy

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP

logger = logging.getLogger(__name__)

CLIPS_AT_ONCE = 4096


def check_tokenizer(tokenizer: VideoTokenizer, *datasets: Dataset) -> None:
    """Checks that data sets were tokenised by this tokenizer.

    A data set whose tokenizer is unknown (from 1X) only needs tokens within the codebook.

    Raises:
        CheckpointError: a data set was tokenised by another tokenizer, or has tokens outside the codebook.
    """
    for dataset in datasets:
        made_by = dataset.metadata.tokenizer
        if made_by is not None and made_by != tokenizer.token_identity:
            raise CheckpointError(
                f"{dataset.directory} was tokenised by {made_by}, not by this tokenizer ({tokenizer.token_identity}); "
                "tokenise it again or give the tokenizer that made it"
            )
        if made_by is None and dataset.has(ShardFile.TOKENS):
            logger.warning("%s: its tokenizer is unknown; assuming the given one", dataset.directory)
        check_codebook(dataset, tokenizer.codebook_size)


def check_codebook(dataset: Dataset, codebook_size: int) -> None:
    """Checks that each token of a data set is in the codebook (about a second for each gigabyte).

    Raises:
        CheckpointError: a token is not; the message names the shard and the clip.
    """
    for shard in dataset.shards:
        # A copy releases the files that it maps; the maps of a whole split count as gigabytes.
        tokens = copy(shard).tokens
        if tokens is None:
            continue
        for first in range(0, len(tokens), CLIPS_AT_ONCE):
            part = tokens[first : first + CLIPS_AT_ONCE]
            # As unsigned numbers, negative tokens are too large as well.
            if part.size and int(part.view(np.uint32).max()) >= codebook_size:
                clip = first + int((part.view(np.uint32) >= codebook_size).any(axis=(1, 2, 3)).argmax())
                wrong = tokens[clip].view(np.uint32)
                raise CheckpointError(
                    f"{dataset.directory}: expected tokens from 0 to {codebook_size - 1}, the tokenizer's codebook, "
                    f"got {tokens[clip][wrong >= codebook_size][0]} in clip {clip} of shard {shard.index}; give the "
                    "tokenizer that made them, or copy the shard again"
                )


def check_clips(clips: Tensor, spatial_compression: int) -> None:
    """Checks clips before they are encoded.

    Raises:
        InvalidInputError: not uint8 [B, 17, H, W, 3], or H or W is not a multiple of `spatial_compression`.
    """
    shape = list(clips.shape)
    is_clip = clips.ndim == 5 and shape[1] == FRAMES_PER_CLIP and shape[4] == 3 and min(shape[2:4]) > 0
    if not is_clip or shape[2] % spatial_compression or shape[3] % spatial_compression:
        raise InvalidInputError(
            f"clips: expected [B, {FRAMES_PER_CLIP}, H, W, 3], H and W multiples of {spatial_compression}, got {shape}"
            f"{_about_clips(shape)}"
        )
    if clips.dtype != torch.uint8:
        raise InvalidInputError(f"clips: expected uint8 images in [0, 255], got {clips.dtype}")


def check_tokens(tokens: Tensor, codebook_size: int) -> None:
    """Checks tokens before they are decoded.

    Raises:
        InvalidInputError: not integers [B, 3, h, w], or outside the codebook.
    """
    if tokens.ndim != 4 or tokens.shape[1] != LATENTS_PER_CLIP:
        raise InvalidInputError(
            f"tokens: expected [B, {LATENTS_PER_CLIP}, h, w], got {list(tokens.shape)}"
            f"{_about_tokens(list(tokens.shape))}"
        )
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise InvalidInputError(f"tokens: expected integers, got {tokens.dtype}")
    lowest, highest = (int(tokens.min()), int(tokens.max())) if tokens.numel() else (0, 0)
    if not 0 <= lowest <= highest < codebook_size:
        raise InvalidInputError(
            f"tokens outside the codebook: expected 0..{codebook_size - 1}, got {lowest}..{highest}; "
            "check that they are from this tokenizer, one number for each position, and without mask tokens"
        )


def _about_clips(shape: list[int]) -> str:
    """Returns a remedy for clips of a wrong shape, if it is known."""
    if len(shape) == 5 and shape[4] == 3 and shape[1] != FRAMES_PER_CLIP:
        return (
            f"; the tokenizer encodes 1 + 8k frames, and a clip has {FRAMES_PER_CLIP} (1 + 8 * 2), not {shape[1]}: "
            "cut or pad it"
        )
    if len(shape) == 5 and 3 in shape[1:3]:
        return "; move the frames before height and width, and the channels after them"
    return ""


def _about_tokens(shape: list[int]) -> str:
    """Returns a remedy for tokens of a wrong shape, if it is known."""
    if len(shape) == 5:
        return "; combine factorised tokens to one number for each position first"
    if len(shape) == 3 or (len(shape) == 4 and shape[1] < LATENTS_PER_CLIP):
        return f"; give all {LATENTS_PER_CLIP} latents of a clip together, in a batch of clips"
    return ""
