"""Recorded actions, played from both kinds of files."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from hwm_env.data.writer import DatasetWriter
from hwm_env.envs.wrappers import RecordReplay
from hwm_env.errors import HWMError
from hwm_env.evaluation.policies.loading import load_policies
from policies.recorded import Recorded

CHUNKS = np.arange(3 * 17 * 25, dtype=np.float32).reshape(3, 17, 25)


def test_clips_come_in_turn_and_the_last_one_stays() -> None:
    policy = Recorded("three", CHUNKS)
    for _ in range(2):
        policy.reset([0, 1])
        for expected in (0, 1, 2, 2):
            np.testing.assert_array_equal(policy.act([{}, {}]), np.stack([CHUNKS[expected]] * 2))


def test_the_first_segment_of_a_data_set_is_played(tmp_path: Path) -> None:
    """Plays whole clips only: 40 frames are two clips and a rest."""
    states = np.arange(60 * 25, dtype=np.float32).reshape(60, 25)
    writer = DatasetWriter(tmp_path / "data", image_size=(8, 8))
    frames = np.zeros((60, 8, 8, 3), np.uint8)
    segments = np.repeat(np.array([4, 9], np.int32), [40, 20])
    writer.write_shard(0, states=states, segments=segments, frames=frames)
    writer.finish()
    (policy,) = load_policies(f"policies.recorded:from_dataset@{tmp_path / 'data'}", "face-target")
    assert policy.name == "recording data"
    policy.reset([0])
    played = np.concatenate([policy.act([{}])[0] for _ in range(3)])
    np.testing.assert_array_equal(played[:34], states[:34])
    np.testing.assert_array_equal(played[34:], states[17:34])


def test_a_replay_is_played_as_it_was_executed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    env = gymnasium.make("HWM-v0", checkpoint=str(tiny_checkpoint), decoding_steps=1, task=None, obs_mode="state")
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(2)]
    with RecordReplay(env, tmp_path) as recording:
        recording.reset(seed=0)
        for action in actions:
            recording.step(action)
    (file,) = tmp_path.glob("*.npz")
    (policy,) = load_policies(f"policies.recorded:from_replay@{file}", "face-target")
    policy.reset([0])
    np.testing.assert_array_equal(np.concatenate([policy.act([{}]) for _ in actions]), np.stack(actions))


@pytest.mark.parametrize("factory", ["from_replay", "from_dataset"])
def test_files_that_are_not_there(tmp_path: Path, factory: str) -> None:
    with pytest.raises(HWMError, match="nowhere"):
        load_policies(f"policies.recorded:{factory}@{tmp_path / 'nowhere'}", "face-target")


def test_nothing_to_play() -> None:
    with pytest.raises(HWMError, match="has no actions"):
        Recorded("nothing", CHUNKS[:0])
