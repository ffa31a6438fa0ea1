import json
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError


@pytest.fixture
def dataset(write_dataset) -> Dataset:
    return write_dataset([0] * 30 + [1] * 41 + [0] * 5, [0] * 90, [4])[0]


def test_against_plain_python(dataset: Dataset) -> None:
    statistics = ActionStatistics.from_dataset(dataset)
    for column in range(25):
        values = sorted(float(state[column]) for shard in dataset.shards for state in shard.states)
        mean = sum(values) / len(values)
        assert statistics.mean[column] == pytest.approx(mean, abs=1e-6)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert statistics.std[column] == pytest.approx(variance**0.5, rel=1e-6)
        assert (statistics.low[column], statistics.high[column]) == (values[0], values[-1])
        for name, share in [("p01", 0.01), ("p99", 0.99)]:
            place = share * (len(values) - 1)
            below, rest = int(place), place % 1
            expected = values[below] * (1 - rest) + values[below + 1] * rest
            assert getattr(statistics, name)[column] == pytest.approx(expected, abs=1e-5)
        largest = 0.0
        for shard in dataset.shards:
            for frame in range(1, shard.num_frames):
                if shard.segments[frame] == shard.segments[frame - 1]:
                    largest = max(largest, abs(float(shard.states[frame, column] - shard.states[frame - 1, column])))
        assert statistics.max_change[column] == pytest.approx(largest, rel=1e-6)


def test_a_jump_between_segments_is_no_change(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path)
    segments = np.array([0] * 5 + [1] * 5, dtype=np.int32)
    states = np.where(segments == 1, 100, 0.25 * np.arange(10))[:, None] * np.ones((1, 25))
    writer.write_shard(0, states=states.astype(np.float32), segments=segments)
    writer.finish()
    assert (ActionStatistics.from_dataset(Dataset(tmp_path)).max_change == 0.25).all()


def test_json_keeps_every_bit(dataset: Dataset) -> None:
    statistics = ActionStatistics.from_dataset(dataset)
    again = ActionStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    for name in statistics.to_dict():
        assert getattr(again, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(again, name), getattr(statistics, name))


def test_a_state_that_is_not_finite_is_named(dataset: Dataset) -> None:
    path = dataset.directory / "robot_states" / "states_1.bin"
    states = np.fromfile(path, np.float32).reshape(-1, 25)
    states[7, 20] = np.nan
    states.tofile(path)
    with pytest.raises(DatasetError, match="shard 1, frame 7: neck_pitch is nan"):
        ActionStatistics.from_dataset(Dataset(dataset.directory))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0] * 24}, "expected mean as 25 finite float32 numbers"),
        ({"std": [float("nan")] * 25}, "expected std as 25 finite"),
        ({"low": "none"}, "expected lists of numbers"),
        ({"median": [0.0] * 25}, "expected the keys .* got .*median"),
    ],
)
def test_bad_dictionaries(dataset: Dataset, change: dict[str, object], message: str) -> None:
    content = ActionStatistics.from_dataset(dataset).to_dict()
    with pytest.raises(DatasetError, match=message):
        ActionStatistics.from_dict({**content, **change})
