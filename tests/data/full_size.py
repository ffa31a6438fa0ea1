"""Writes a data set of the size of 1X's training split that needs little disk space."""

import os
from pathlib import Path

import numpy as np

from hwm_env.data.files import write_bytes
from hwm_env.data.format import DatasetMetadata, Layout, ShardFile, shard_metadata, write_metadata

NUM_SHARDS = 100
FRAMES_PER_SHARD = 110_000
CLIPS_PER_SHARD = -(-FRAMES_PER_SHARD // 17)


def write_full_size(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Writes 11 million frames: all shards share the states and the segments of the first; the tokens are holes.

    Returns:
        The states float32 [110000, 25] and segments int32 [110000] of every shard.
    """
    rng = np.random.default_rng(0)
    states = rng.normal(size=(FRAMES_PER_SHARD, 25)).astype(np.float32)
    segments = np.cumsum(rng.random(FRAMES_PER_SHARD) < 1 / 1000, dtype=np.int32)
    metadata = DatasetMetadata(num_shards=NUM_SHARDS, hz=30, num_images=NUM_SHARDS * FRAMES_PER_SHARD)
    for index in range(NUM_SHARDS):
        paths = {file: file.path(directory, Layout.TRAIN, index) for file in ShardFile}
        write_bytes(paths[ShardFile.METADATA], shard_metadata(index=index, num_frames=FRAMES_PER_SHARD))
        for file, array in ((ShardFile.STATES, states), (ShardFile.SEGMENTS, segments)):
            if index == 0:
                paths[file].parent.mkdir()
                array.tofile(paths[file])
            else:
                os.link(file.path(directory, Layout.TRAIN, 0), paths[file])
        paths[ShardFile.TOKENS].parent.mkdir(exist_ok=True)
        with paths[ShardFile.TOKENS].open("wb") as tokens:
            tokens.truncate(CLIPS_PER_SHARD * 3 * 32 * 32 * 4)
    write_metadata(directory, metadata)
    return states, segments
