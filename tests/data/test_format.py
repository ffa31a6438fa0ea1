"""The bytes on disk, compared with files written by hand in the 1X format."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.format import DatasetMetadata, Layout, read_metadata
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from tests.data.conftest import WRITTEN_LAYOUTS

FOLDERS = {"metadata": "metadata", "video": "videos", "states": "robot_states", "segment_idx": "segment_indices"}
NUM_FRAMES = (40, 17)


def write_by_hand(directory: Path, layout: Layout, metadata: dict[str, object]) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)

    def path(stem: str, index: int, suffix: str) -> Path:
        folder = directory / FOLDERS[stem] if layout is Layout.TRAIN else directory
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{stem}_{index}.{suffix}"

    shards = []
    for index, num_frames in enumerate(NUM_FRAMES):
        shard = {
            "states": rng.normal(size=(num_frames, 25)).astype("<f4"),
            "segments": (np.arange(num_frames) // 20).astype("<i4"),
            "tokens": rng.integers(0, 64_000, size=((num_frames + 16) // 17, 3, 32, 32)).astype("<i4"),
        }
        shard["states"].tofile(path("states", index, "bin"))
        shard["segments"].tofile(path("segment_idx", index, "bin"))
        shard["tokens"].tofile(path("video", index, "bin"))
        path("metadata", index, "json").write_text(json.dumps({"shard_num_frames": num_frames, "shard_ind": index}))
        shards.append(shard)
    (directory / "metadata.json").write_text(json.dumps(metadata))
    return shards


ONE_X_METADATA = {"num_shards": 2, "hz": 30, "num_images": sum(NUM_FRAMES)}


@pytest.mark.parametrize("layout", WRITTEN_LAYOUTS)
def test_reads_files_made_by_hand(tmp_path: Path, layout: Layout) -> None:
    shards = write_by_hand(tmp_path, layout, {**ONE_X_METADATA, "query": "eve", "s": {"any": ["thing"]}})
    dataset = Dataset(tmp_path)
    assert dataset.metadata.extra == {"query": "eve", "s": {"any": ["thing"]}}
    assert dataset.metadata.hz == 30
    assert dataset.num_frames == sum(NUM_FRAMES)
    for shard, expected in zip(dataset.shards, shards, strict=True):
        assert shard.num_frames == len(expected["states"])
        np.testing.assert_array_equal(shard.states, expected["states"])
        np.testing.assert_array_equal(shard.segments, expected["segments"])
        np.testing.assert_array_equal(shard.tokens, expected["tokens"])
        assert shard.frames is None
        assert shard.poses is None


@pytest.mark.parametrize("layout", WRITTEN_LAYOUTS)
def test_writes_the_same_files_as_by_hand(tmp_path: Path, layout: Layout) -> None:
    by_hand, written = tmp_path / "by_hand", tmp_path / "written"
    shards = write_by_hand(by_hand, layout, ONE_X_METADATA)
    writer = DatasetWriter(written, layout=layout, token_grid=(32, 32))
    for index, shard in enumerate(shards):
        writer.write_shard(index, **shard)
    writer.finish()

    def content(path: Path) -> object:
        return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()

    def tree(directory: Path) -> dict[Path, object]:
        return {path.relative_to(directory): content(path) for path in directory.rglob("*") if path.is_file()}

    assert tree(written) == tree(by_hand)


def test_metadata_survives_json() -> None:
    metadata = DatasetMetadata(
        num_shards=3,
        hz=30,
        num_images=99,
        token_grid=(8, 6),
        image_size=(64, 48),
        tokenizer="abc",
        extra={"split": "train", "seed": 7},
    )
    assert DatasetMetadata.from_json(json.loads(json.dumps(metadata.to_json()))) == metadata


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_shards", None),
        ("num_shards", -1),
        ("num_shards", True),
        ("num_images", 1.5),
        ("num_images", "many"),
        ("hz", 0),
        ("hz", "30"),
        ("token_grid", [32]),
        ("token_grid", [8, 0]),
        ("token_grid", 64),
        ("image_size", "64x64"),
        ("tokenizer", 5),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps({**ONE_X_METADATA, key: value}))
    with pytest.raises(DatasetError, match=rf'metadata\.json: "{key}"(\[[01]\])? must be'):
        read_metadata(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1, 2]", ""])
def test_metadata_that_is_no_json_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(DatasetError, match=r"metadata\.json"):
        read_metadata(tmp_path)
