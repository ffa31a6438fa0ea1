from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.format import Layout
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter

WRITTEN_LAYOUTS = (Layout.TRAIN, Layout.FLAT)
GRID = (2, 3)
IMAGE_SIZE = (4, 6)


def random_shard(segments: Sequence[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns all arrays of one shard; every number differs from its neighbours."""
    rng = np.random.default_rng(seed)
    num_frames = len(segments)
    return {
        "states": rng.normal(size=(num_frames, 25)).astype(np.float32),
        "segments": np.array(segments, dtype=np.int32),
        "tokens": rng.integers(0, 64_000, size=(-(-num_frames // 17), 3, *GRID), dtype=np.int32),
        "frames": rng.integers(0, 256, size=(num_frames, *IMAGE_SIZE, 3), dtype=np.uint8),
        "poses": rng.normal(size=(num_frames, 3)).astype(np.float32),
    }


@pytest.fixture(scope="session")
def write_dataset(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Dataset, list[dict[str, np.ndarray]]]]:
    """Writes a data set with all kinds of files, one shard for each list of segments; returns its arrays too."""

    def write(*segments_by_shard: Sequence[int], layout: Layout = Layout.TRAIN, extra: dict[str, object] | None = None):
        directory: Path = tmp_path_factory.mktemp("dataset")
        shards = [random_shard(segments, seed) for seed, segments in enumerate(segments_by_shard)]
        writer = DatasetWriter(directory, layout=layout, token_grid=GRID, image_size=IMAGE_SIZE, extra=extra)
        for index, shard in enumerate(shards):
            writer.write_shard(index, **shard)
        writer.finish(len(shards))
        return Dataset(directory), shards

    return write
