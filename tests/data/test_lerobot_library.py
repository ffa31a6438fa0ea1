"""The library LeRobot and hwm_env read each other's data sets; skipped where LeRobot is not installed.

LeRobot 0.4.4 needs PyTorch below 2.11, so it is none of the extras; install it in an environment of its own.
"""

from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.lerobot_writer import HEAD, LeRobotWriter, encode_episode
from hwm_env.data.state_tables import StateMapping
from hwm_env.tokenizers.lerobot_source import lerobot_source

pytest.importorskip("lerobot")

LENGTHS = (40, 34, 51)


def greys(episode: int) -> np.ndarray:
    return (20 + 60 * episode + np.arange(LENGTHS[episode])).astype(np.uint8)


def frames_of(episode: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(greys(episode)[:, None, None, None], (LENGTHS[episode], 64, 96, 3)))


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    writer = LeRobotWriter(tmp_path / "ours", "walk to the door")
    states = [np.random.default_rng(i).normal(size=(length, 25)).astype(np.float32) for i, length in enumerate(LENGTHS)]
    for index in range(3):
        writer.add(encode_episode(index, sum(LENGTHS[:index]), frames_of(index), states[index]))
    writer.finish()
    data = LeRobotDataset("owner/name", root=tmp_path / "ours", delta_timestamps={"action": [0, 1 / 30]})
    assert (data.num_episodes, data.num_frames, data.fps) == (3, sum(LENGTHS), 30)
    ours = [job.read() for job in lerobot_source(tmp_path / "ours", (0,), StateMapping(), None).jobs]
    for index, length in enumerate(LENGTHS):
        shown = np.stack(list(ours[index].frames))
        for row in (0, 17, length - 2):
            item = data[sum(LENGTHS[:index]) + row]
            assert item["task"] == "walk to the door"
            np.testing.assert_array_equal(item["observation.state"].numpy(), states[index][row])
            np.testing.assert_array_equal(item["action"].numpy()[0], states[index][row + 1])
            np.testing.assert_allclose(ours[index].states[row], states[index][row], atol=1e-4)
            picture = (item[HEAD].permute(1, 2, 0).numpy() * 255).round()
            np.testing.assert_allclose(picture, shown[row], atol=2)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_the_library_writes_is_read(kind: str, tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    names = ["hip_yaw", "neck_pitch", "gripper"]
    features = {name: {"dtype": "float32", "shape": (3,), "names": names} for name in ("observation.state", "action")}
    features[HEAD] = {"dtype": kind, "shape": (64, 96, 3), "names": ["height", "width", "channels"]}
    data = LeRobotDataset.create("owner/name", 30, features, root=tmp_path / "theirs", use_videos=kind == "video")
    for episode, length in enumerate(LENGTHS):
        for row, frame in enumerate(frames_of(episode)):
            numbers = np.array([row / 30, episode, 0], np.float32)
            data.add_frame({"observation.state": numbers, "action": numbers, HEAD: frame, "task": "walk"})
        data.save_episode()
        assert length == row + 1
    data.finalize()
    source = lerobot_source(tmp_path / "theirs", (0,), StateMapping(), None)
    for episode, job in enumerate(source.jobs):
        recording = job.read()
        np.testing.assert_allclose(recording.states[:, 0], np.arange(LENGTHS[episode]) / 30, atol=1e-5)
        frames = np.stack(list(recording.frames)).astype(int)
        np.testing.assert_allclose(frames, frames_of(episode), atol=2 if kind == "video" else 0)
