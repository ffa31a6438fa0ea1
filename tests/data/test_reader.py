import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.format import Layout
from hwm_env.data.reader import Dataset
from hwm_env.errors import DatasetError

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
    with pytest.raises(DatasetError, match=r"video_0\.bin: expected \d+ bytes \(int32 \[3, 3, 8, 8\]\)"):
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


@pytest.mark.parametrize("layout", Layout)
def test_a_copy_in_another_process_maps_the_files_itself(write_dataset, layout: Layout) -> None:
    dataset, shards = write_dataset(np.zeros(5000), layout=layout)
    np.testing.assert_array_equal(dataset.shards[0].states, shards[0]["states"])
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 3000
    np.testing.assert_array_equal(pickle.loads(pickled).shards[0].states, shards[0]["states"])
