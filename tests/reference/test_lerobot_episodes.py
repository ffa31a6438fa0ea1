"""LeRobot data sets of the reference world: the same episodes as its recordings."""

from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.reference.collect import collect
from hwm_env.reference.collection import CollectionConfig
from hwm_env.reference.lerobot_episodes import collect_lerobot
from hwm_env.reference.rendering import can_render
from hwm_env.tokenizers.lerobot_source import lerobot_source

pytest.importorskip("av")
pytest.importorskip("pyarrow")

EPISODES, CLIPS = 2, 2
RECIPE = {"num_episodes": EPISODES, "seed": 4, "split": "validation", "clips_per_episode": CLIPS}


@pytest.mark.slow
def test_they_are_the_episodes_of_the_recording_whatever_the_number_of_workers(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    for workers in (1, 2):
        collect_lerobot(tmp_path / str(workers), **RECIPE, workers=workers)
    files = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert len(files) == 3 * EPISODES + 3
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file
    collect(tmp_path / "raw", **RECIPE, workers=1)
    shard = Dataset(tmp_path / "raw").shards[0]
    assert shard.frames is not None
    assert shard.poses is not None
    source = lerobot_source(tmp_path / "1", (0,), StateMapping(), None)
    assert source.extra["filled_actions"] == {}
    for episode, job in enumerate(source.jobs):
        of_episode = slice(episode * CLIPS * 17, (episode + 1) * CLIPS * 17)
        recording = job.read()
        np.testing.assert_allclose(recording.states, shard.states[of_episode], atol=1e-5)
        assert recording.poses is not None
        np.testing.assert_allclose(recording.poses, shard.poses[of_episode], atol=1e-5)
        error = np.abs(np.stack(list(recording.frames)).astype(float) - shard.frames[of_episode]).mean((1, 2, 3))
        assert error.max() < 6


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="image_size must be even, as videos need it, got 63"):
        collect_lerobot(tmp_path, **RECIPE, image_size=63)
    with pytest.raises(InvalidInputError, match="videos and lerobot are two formats"):
        CollectionConfig(out=tmp_path, videos=True, lerobot=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="expected nothing or an empty directory"):
        collect_lerobot(tmp_path, **RECIPE)
