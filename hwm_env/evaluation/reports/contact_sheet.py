"""Draws contact sheets: evenly spread clips of a data set in one picture."""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from hwm_env.data.format import ShardFile
from hwm_env.data.inspection import whole_clips
from hwm_env.data.labels import enlarged, text_strip
from hwm_env.data.png import write_png
from hwm_env.data.reader import Dataset, Shard
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import FRAMES_PER_CLIP, UInt8Array

MOST_CLIPS: Final = 8
COLUMNS: Final = (0, 4, 8, 12, 16)
"""Frames of a clip that are drawn."""
GAP: Final = 6
"""Pixels between raw and decoded images."""


def draw_contact_sheet(dataset: Dataset, file: Path, tokenizer: VideoTokenizer | None = None) -> None:
    """Draws frames 0, 4, 8, 12 and 16 of up to eight clips, one labelled line of images per clip.

    The images are the raw ones if the data set has them, the decoded tokens if it has tokens and a tokenizer is given,
    or both side by side.

    Args:
        dataset: the data set.
        file: PNG to write, atomically.
        tokenizer: the tokenizer that made the tokens.

    Raises:
        DatasetError: there is no whole clip.
        InvalidInputError: there is nothing to draw, or another tokenizer made the tokens.
        MissingExtraError: Pillow is not installed.
    """
    require_extra("PIL.Image", "evaluation")
    decoder = tokenizer if dataset.has(ShardFile.TOKENS) else None
    if decoder is None and not dataset.has(ShardFile.FRAMES):
        raise InvalidInputError(f"{dataset.directory} has no raw images to draw; give the tokenizer of its tokens")
    made_by = dataset.metadata.tokenizer
    if decoder is not None and made_by not in (None, decoder.token_identity):
        raise InvalidInputError(
            f"tokenizer is {decoder.token_identity}, but {made_by} made the tokens of {dataset.directory}; give the "
            "tokenizer that made them"
        )
    clips = whole_clips(dataset)
    if len(clips) == 0:
        raise DatasetError(
            f"{dataset.directory} has no clip to draw: no {FRAMES_PER_CLIP} frames in a row belong to one segment"
        )
    chosen = np.unique(np.linspace(0, len(clips) - 1, MOST_CLIPS).astype(np.int64))
    picture = np.concatenate([_strip(dataset.shards[shard], clip, decoder) for shard, clip in clips[chosen].tolist()])
    write_png(file, picture)


def _strip(shard: Shard, clip: int, tokenizer: VideoTokenizer | None) -> UInt8Array:
    """Draws the images of one clip below its label."""
    first_frame = clip * FRAMES_PER_CLIP
    drawn, names = [], []
    if shard.frames is not None:
        drawn.append(_side_by_side(shard.frames[[first_frame + column for column in COLUMNS]]))
        names.append("raw")
    if tokenizer is not None and shard.tokens is not None:
        decoded = tokenizer.decode(torch.from_numpy(np.array(shard.tokens[clip : clip + 1]))).cpu().numpy()[0]
        drawn.append(_side_by_side(decoded[list(COLUMNS)]))
        names.append("decoded")
    gap = np.full((drawn[0].shape[0], GAP, 3), 255, np.uint8)
    images = drawn[0] if len(drawn) == 1 else np.concatenate([drawn[0], gap, drawn[1]], axis=1)
    label = f"shard {shard.index}, clip {clip}, segment {shard.segments[first_frame]}: {' | '.join(names)}"
    return np.concatenate([text_strip(label, images.shape[1]), images])


def _side_by_side(frames: UInt8Array) -> UInt8Array:
    """Enlarges frames [N, H, W, 3] and joins them from left to right."""
    return np.concatenate([enlarged(frame) for frame in frames], axis=1)
