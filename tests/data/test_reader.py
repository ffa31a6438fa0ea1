import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.format import Layout
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from tests.data.conftest import WRITTEN_LAYOUTS

FILES = ["robot_states/states_1.bin", "segment_indices/segment_idx_1.bin", "videos/video_1.bin"]
OUR_FILES = ["frames/frames_1.bin", "poses/poses_1.bin"]


@pytest.fixture
def directory(write_dataset) -> Path:
    return write_dataset([0] * 40, [1] * 30)[0].directory


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent, found nothing"):
        Dataset(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file, found a file"):
        Dataset(tmp_path / "file")
    with pytest.raises(DatasetError, match=r"has no metadata\.json.*interrupted"):
        Dataset(tmp_path)
    (tmp_path / "metadata.json").write_text('{"num_shards": 0, "hz": 30, "num_images": 0}')
    with pytest.raises(DatasetError, match="is empty"):
        Dataset(tmp_path)


@pytest.mark.parametrize("name", FILES + OUR_FILES)
@pytest.mark.parametrize("change", [-1, -8, 4])
def test_a_file_of_the_wrong_size(directory: Path, name: str, change: int) -> None:
    path = directory / name
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size + change)
    with pytest.raises(DatasetError, match=rf"{path}: expected {size} bytes .*, got {size + change}; .*copy it again"):
        Dataset(directory)


@pytest.mark.parametrize("name", ["metadata/metadata_1.json", *FILES, *OUR_FILES])
def test_a_missing_file(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(DatasetError, match=rf"{directory / name}.*copy"):
        Dataset(directory)


def test_the_grid_of_another_data_set(directory: Path) -> None:
    metadata = json.loads((directory / "metadata.json").read_text())
    (directory / "metadata.json").write_text(json.dumps({**metadata, "token_grid": [8, 8]}))
    with pytest.raises(DatasetError, match=r"video_0\.bin: expected \d+ bytes \(int32 \[3, 3, 8, 8\]\).*again$"):
        Dataset(directory)


@pytest.mark.parametrize("layout", WRITTEN_LAYOUTS)
def test_a_grid_that_was_not_declared_is_guessed(tmp_path: Path, layout: Layout) -> None:
    writer = DatasetWriter(tmp_path, layout=layout, token_grid=(8, 8))
    tokens = np.zeros((3, 3, 8, 8), np.int32)
    writer.write_shard(0, states=np.zeros((40, 25), np.float32), segments=np.zeros(40, np.int32), tokens=tokens)
    writer.finish()
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    del metadata["token_grid"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    message = r'expected \d+ bytes \(int32 \[3, 3, 32, 32\]\), got 2304.*"token_grid": \[8, 8\] into metadata\.json'
    with pytest.raises(DatasetError, match=message):
        Dataset(tmp_path)


def test_the_directory_of_all_splits(write_dataset, tmp_path: Path) -> None:
    for split in ("val_v2.0", "train_v2.0"):
        shutil.copytree(write_dataset([0] * 20)[0].directory, tmp_path / split)
    with pytest.raises(DatasetError, match=r"holds train_v2\.0, val_v2\.0; give one of them, such as .*/train_v2\.0$"):
        Dataset(tmp_path)


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("layout", WRITTEN_LAYOUTS)
def test_another_number_of_shards(write_dataset, layout: Layout, num_shards: int) -> None:
    directory = write_dataset([0] * 40, [1] * 30, layout=layout)[0].directory
    metadata = json.loads((directory / "metadata.json").read_text())
    (directory / "metadata.json").write_text(json.dumps({**metadata, "num_shards": num_shards}))
    message = (
        rf"metadata\.json says {num_shards} shards, the last one with .*/states_{num_shards - 1}\.bin.* those of 2;"
    )
    with pytest.raises(DatasetError, match=message):
        Dataset(directory)


@pytest.mark.parametrize("name", ["segment_idx_0.bin", "segment_idx_1.bin", "metadata_1.json", "states_0.bin"])
def test_a_flat_data_set_is_as_strict(write_dataset, name: str) -> None:
    directory = write_dataset([0] * 40, [1] * 30, layout=Layout.FLAT)[0].directory
    (directory / name).unlink()
    with pytest.raises(DatasetError, match=rf"{directory / name}.*copy"):
        Dataset(directory)


@pytest.mark.parametrize("content", ["", "{", "[3]"])
@pytest.mark.parametrize("name", ["metadata.json", "metadata/metadata_1.json"])
def test_unreadable_metadata_is_named(directory: Path, name: str, content: str) -> None:
    (directory / name).write_text(content)
    with pytest.raises(DatasetError, match=rf"{directory / name}"):
        Dataset(directory)


def test_images_of_unknown_size(directory: Path) -> None:
    metadata = json.loads((directory / "metadata.json").read_text())
    del metadata["image_size"]
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(DatasetError, match=r'frames_0\.bin .*"image_size"'):
        Dataset(directory)


def test_metadata_that_disagrees_with_the_shards(directory: Path) -> None:
    metadata = json.loads((directory / "metadata.json").read_text())
    (directory / "metadata.json").write_text(json.dumps({**metadata, "num_images": 71}))
    with pytest.raises(DatasetError, match="says 71 images, but its 2 shards have 70 frames"):
        Dataset(directory)
    (directory / "metadata" / "metadata_0.json").write_text('{"shard_num_frames": 0}')
    with pytest.raises(DatasetError, match=r"metadata_0\.json.*shard_num_frames"):
        Dataset(directory)


@pytest.mark.parametrize("layout", WRITTEN_LAYOUTS)
def test_a_copy_in_another_process_maps_the_files_itself(write_dataset, layout: Layout) -> None:
    dataset, shards = write_dataset(np.zeros(5000), layout=layout)
    np.testing.assert_array_equal(dataset.shards[0].states, shards[0]["states"])
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 3000
    np.testing.assert_array_equal(pickle.loads(pickled).shards[0].states, shards[0]["states"])


@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_cannot_be_written_to(write_dataset, monkeypatch: pytest.MonkeyPatch, mapped: bool) -> None:
    monkeypatch.setattr("hwm_env.data.reader.MAX_READ_BYTES", 0 if mapped else 2**19)
    shard = write_dataset([0] * 40)[0].shards[0]
    poses = np.zeros((40, 3), np.float32)
    corrected = shard.with_poses(poses)
    poses += 1
    assert not corrected.poses.any(), "the caller's array is copied"
    for array in (shard.states, shard.segments, shard.tokens, shard.frames, shard.poses, corrected.poses):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_segments_of_a_test_sample_cannot_be_written_to(write_dataset) -> None:
    dataset = write_dataset([0] * 40, layout=Layout.FLAT)[0]
    (dataset.directory / "segment_idx_0.bin").unlink()
    with pytest.raises(ValueError, match="read-only"):
        Dataset(dataset.directory).shards[0].segments[0] = 1
