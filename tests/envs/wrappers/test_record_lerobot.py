"""RecordLeRobot: imagined and simulated episodes, exported and read back."""

from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.lerobot import LeRobotLayout
from hwm_env.data.state_tables import StateMapping
from hwm_env.data.videos import read_frames, write_video
from hwm_env.envs.wrappers import RecordLeRobot
from hwm_env.errors import DatasetError, SavingError
from hwm_env.tokenizers.lerobot_source import lerobot_source
from tests.envs.conftest import MakeEnv

pytest.importorskip("av")
parquet = pytest.importorskip("pyarrow.parquet")

STEPS = (2, 1)


@pytest.mark.slow
def test_episodes_are_read_back_as_they_were_played(make_env: MakeEnv, env_id: str, tmp_path: Path) -> None:
    """The rows to the bit, the pictures as far as a video keeps them."""
    env = RecordLeRobot(make_env(env_id, action_mode="delta"), tmp_path / "data", "drive around")
    env.action_space.seed(0)
    frames: list[np.ndarray] = []
    states: list[np.ndarray] = []
    for episode, steps in enumerate(STEPS):
        env.reset(seed=episode)
        moments = [env.unwrapped.moment]
        for _ in range(steps):
            env.step(env.action_space.sample())
            moments.append(env.unwrapped.moment)
        frames.append(np.concatenate([moments[0].frames[-1:], *(moment.frames for moment in moments[1:])]))
        states.append(np.concatenate([moments[0].measured[-1:], *(moment.measured for moment in moments[1:])]))
    assert list(LeRobotLayout.read(tmp_path / "data").episodes) == [0], "the second episode is not over yet"
    env.close()
    for episode in (0, 1):
        rows = parquet.read_table(tmp_path / f"data/data/chunk-000/file-{episode:03d}.parquet").to_pydict()
        np.testing.assert_array_equal(rows["observation.state"], states[episode])
        np.testing.assert_array_equal(rows["action"][:-1], states[episode][1:])
    source = lerobot_source(tmp_path / "data", (0,), StateMapping(), None)
    assert [job.source for job in source.jobs] == ["episode_000000", "episode_000001"]
    for job, of_episode, seen in zip(source.jobs, states, frames, strict=True):
        recording = job.read()
        np.testing.assert_allclose(recording.states, of_episode, atol=1e-4)
        # The tiny checkpoint's frames are noise, of which a video keeps little: compare with one of the same frames.
        write_video(tmp_path / "seen.mp4", seen)
        expected = np.stack(list(read_frames(tmp_path / "seen.mp4", np.arange(len(seen)), None)))
        np.testing.assert_array_equal(np.stack(list(recording.frames)), expected)


def test_an_episode_that_cannot_be_written_is_kept(
    make_env: MakeEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = RecordLeRobot(make_env("HWM-v0"), tmp_path / "data", "drive around")
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape, np.float32))

    def fail(*_: object) -> None:
        raise SavingError("full")

    with monkeypatch.context() as patch:
        patch.setattr("hwm_env.data.lerobot_writer.write_files", fail)
        with pytest.raises(SavingError, match="full"):
            env.reset(seed=1)
    env.step(np.zeros(env.action_space.shape, np.float32))
    env.close()
    layout = LeRobotLayout.read(tmp_path / "data")
    assert {index: episode.length for index, episode in layout.episodes.items()} == {0: 18, 1: 18}


def test_a_directory_with_files_is_left_alone(make_env: MakeEnv, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="expected nothing or an empty directory"):
        RecordLeRobot(make_env("HWM-v0"), tmp_path, "drive around")
