"""Turns recordings of raw images into data sets of tokens."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset, Shard
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import FRAMES_PER_CLIP, Int32Array, UInt8Array


def tokenize_recordings(
    recordings: Path,
    out: Path,
    tokenizer: VideoTokenizer,
    offsets: Sequence[int] = (0,),
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
) -> None:
    """Writes a v2.0 data set with the tokens, states, segments and (where recorded) poses of a recording.

    Each shard of the recording becomes one shard for each offset: from frame `offset` on, so that the same motion is
    cut into clips in several ways. A last clip that is not whole is filled up with its last frame; clips that span two
    segments are encoded as they come, and left out by whoever reads windows.

    Args:
        recordings: data set with raw images.
        out: new directory for the tokens.
        tokenizer: what encodes the clips.
        offsets: frames to leave out at the beginning of each shard, one pass over the recording for each.
        batch_size: clips encoded at a time.
        device: where the tokenizer is, and encodes.

    Raises:
        InvalidInputError: no offsets, or they are negative, repeated, or as long as a shard.
        DatasetError: the recording has no raw images, or of a size that is no multiple of the tokenizer's
            compression, or `out` already holds a data set.
    """
    dataset = Dataset(recordings)
    size = dataset.metadata.image_size
    if size is None or not dataset.has(ShardFile.FRAMES):
        raise DatasetError(f"{recordings} has no raw images to encode; record some with: hwm-env collect")
    if size[0] % tokenizer.spatial_compression or size[1] % tokenizer.spatial_compression:
        raise DatasetError(
            f"{recordings}: expected images with sides that are multiples of {tokenizer.spatial_compression}, "
            f"got {size[0]} x {size[1]}; record it again with another image size"
        )
    _check_offsets(offsets, min(shard.num_frames for shard in dataset.shards))
    writer = DatasetWriter(
        out,
        token_grid=(size[0] // tokenizer.spatial_compression, size[1] // tokenizer.spatial_compression),
        tokenizer=tokenizer.identity,
        extra={**dataset.metadata.extra, "frame_offsets": list(offsets)},
    )
    passes = [(offset, shard) for offset in offsets for shard in dataset.shards]
    for index, (offset, shard) in enumerate(tqdm(passes, desc="tokenize", unit="shard")):
        writer.write_shard(
            index,
            states=shard.states[offset:],
            segments=shard.segments[offset:],
            tokens=_encode(shard, offset, tokenizer, batch_size, device),
            poses=None if shard.poses is None else shard.poses[offset:],
        )
    writer.finish(len(passes))


def _encode(
    shard: Shard, offset: int, tokenizer: VideoTokenizer, batch_size: int, device: str | torch.device
) -> Int32Array:
    """Tokens int32 [ceil((N - offset) / 17), 3, h, w] of a shard."""
    assert shard.frames is not None, f"shard {shard.index} has no raw images"
    batches = []
    for first in range(offset, shard.num_frames, batch_size * FRAMES_PER_CLIP):
        clips = _whole_clips(shard.frames[first : first + batch_size * FRAMES_PER_CLIP])
        batches.append(tokenizer.encode(torch.from_numpy(clips).to(device)).cpu().numpy())
    return np.concatenate(batches)


def _whole_clips(frames: UInt8Array) -> UInt8Array:
    """Frames uint8 [N, H, W, 3] as clips [ceil(N / 17), 17, H, W, 3], the last frame repeated where needed."""
    missing = -len(frames) % FRAMES_PER_CLIP
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return padded.reshape(-1, FRAMES_PER_CLIP, *frames.shape[1:])


def _check_offsets(offsets: Sequence[int], shortest_shard: int) -> None:
    if not offsets or len(set(offsets)) != len(offsets):
        raise InvalidInputError(f"offsets: expected one or more different frame offsets, got {tuple(offsets)}")
    if not 0 <= min(offsets) <= max(offsets) < shortest_shard:
        raise InvalidInputError(
            f"offsets: expected frames from 0 to {shortest_shard - 1} (the shortest shard), got {tuple(offsets)}"
        )
