"""follow-recording: on a small data set that is written here, against what was written."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.reference import robot
from hwm_env.tasks.follow_recording import FollowRecording
from hwm_env.types import FRAME_RATE_HZ
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint
from tests.tasks.seen import naive_latent_distance, random_tokens

NUM_STEPS = 3
CLIPS = ((14, 13), (12,))
"""Of the segments of each shard."""


@dataclass(frozen=True)
class Place:
    """Where a stretch begins."""

    shard: int
    clip: int


STRETCHES = [Place(0, 0), Place(0, 1), Place(0, 2), Place(0, 14), Place(0, 15), Place(1, 0)]
"""Twelve clips of one segment each."""


@dataclass(frozen=True)
class Written:
    """A data set and what is in it."""

    directory: Path
    states: list[np.ndarray]
    """[N, 25] of each shard."""
    tokens: list[np.ndarray]
    poses: list[np.ndarray]

    def chunk(self, recording: int, clip: int) -> np.ndarray:
        """The robot's numbers in a clip of a stretch, [17, 25]."""
        place = STRETCHES[recording]
        return self.states[place.shard][17 * (place.clip + clip) : 17 * (place.clip + clip + 1)]

    def clip_tokens(self, recording: int, clip: int) -> np.ndarray:
        place = STRETCHES[recording]
        return self.tokens[place.shard][place.clip + clip]

    @property
    def std(self) -> np.ndarray:
        return np.concatenate(self.states).std(axis=0)


def wandering(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Numbers that the robot can follow, [N, 25]."""
    steps = rng.uniform(-0.9, 0.9, (num_frames, 25)) * robot.RATE_LIMITS / FRAME_RATE_HZ
    states = np.empty((num_frames, 25), np.float32)
    now = robot.REST_POSE.astype(np.float64)
    for frame, step in enumerate(steps):
        now = np.clip(now + step, robot.ACTION_LOW, robot.ACTION_HIGH)
        states[frame] = now
    return states


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, token_grid=(8, 8))
    states, tokens, poses = [], [], []
    for index, segments in enumerate(CLIPS):
        frames = 17 * sum(segments)
        states.append(wandering(rng, frames))
        tokens.append(random_tokens(rng, sum(segments), 3, 8, 8))
        # In the middle of the room.
        poses.append(rng.uniform(-0.3, 0.3, (frames, 3)).astype(np.float32))
        of_frames = np.repeat(np.arange(len(segments), dtype=np.int32), [17 * length for length in segments])
        writer.write_shard(index, states=states[-1], segments=of_frames, tokens=tokens[-1], poses=poses[-1])
    writer.finish()
    return Written(directory, states, tokens, poses)


@pytest.fixture
def task(written: Written) -> FollowRecording:
    return FollowRecording(written.directory, num_steps=NUM_STEPS)


def test_it_begins_where_the_ninth_clip_of_a_stretch_ends(make_env: MakeEnv, written: Written, task: Any) -> None:
    env = make_env(task=task)
    for recording, place in enumerate(STRETCHES):
        info = env.reset(seed=0, options={"recording": recording})[1]
        moment = env.unwrapped.moment
        np.testing.assert_array_equal(moment.tokens, written.clip_tokens(recording, 8))
        np.testing.assert_array_equal(moment.measured, written.chunk(recording, 8))
        np.testing.assert_array_equal(moment.state.tokens[0, 0], written.clip_tokens(recording, 0))
        np.testing.assert_array_equal(info["base_pose"], written.poses[place.shard][17 * (place.clip + 9) - 1])
        assert info["recording"] == recording
        assert "start" not in info


def test_the_goal_is_where_the_robot_was_in_the_end(
    make_env: MakeEnv, env_id: str, written: Written, task: Any
) -> None:
    env = make_env(env_id, task=task, obs_mode="pixels_state")
    for recording in range(len(STRETCHES)):
        observation = env.reset(seed=0, options={"recording": recording})[0]
        np.testing.assert_array_equal(observation["goal"], written.chunk(recording, 8 + NUM_STEPS)[-1])
        assert observation in env.observation_space


def test_what_was_done_then_keeps_the_state(make_env: MakeEnv, env_id: str, written: Written, task: Any) -> None:
    env = make_env(env_id, task=task)
    env.reset(seed=0, options={"recording": 4})
    ends = []
    for clip in range(9, 9 + NUM_STEPS):
        _, reward, terminated, truncated, info = env.step(written.chunk(4, clip))
        assert info["reward_terms"]["state"] == pytest.approx(0.0, abs=1e-4)
        away = naive_latent_distance(env.unwrapped.moment.tokens, written.clip_tokens(4, clip))
        assert info["reward_terms"]["video"] == pytest.approx(-away, abs=1e-6)
        assert reward == sum(info["reward_terms"].values())
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * (NUM_STEPS - 1) + [(True, False)]


def test_other_numbers_cost_their_distance_in_standard_deviations(
    make_env: MakeEnv, written: Written, task: Any
) -> None:
    env = make_env(task=task, max_episode_steps=50)
    env.reset(seed=0, options={"recording": 1})
    chunk = written.chunk(1, 9).copy()
    joint = int(np.argmax(robot.ACTION_HIGH - chunk.max(axis=0)))
    chunk[:, joint] += written.std[joint]
    state = env.step(chunk)[-1]["reward_terms"]["state"]
    assert state == pytest.approx(-math.sqrt(1 / 25), rel=1e-4)
    # The clip before in place of the second one.
    state = env.step(written.chunk(1, 9))[-1]["reward_terms"]["state"]
    off = (written.chunk(1, 9) - written.chunk(1, 10)) / written.std
    assert state == pytest.approx(-np.sqrt((off**2).mean()), rel=1e-4)


@pytest.mark.parametrize(("tolerance", "success"), [(0.0, False), (2.0, True)])
def test_success_is_decided_where_the_recording_ends(
    make_env: MakeEnv, written: Written, tolerance: float, success: bool
) -> None:
    env = make_env(task=FollowRecording(written.directory, num_steps=2, tolerance=tolerance))
    env.reset(seed=0, options={"recording": 0})
    steps = [env.step(written.chunk(0, 9)) for _ in range(3)]
    assert [step[-1]["is_success"] for step in steps] == [False, success, success]
    # Later steps are compared with the last clip.
    assert [step[2] for step in steps] == [False, True, True]


def test_a_recording_of_the_reference_world_is_lived_again_there(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    make_env("HWMReference-v0")  # skips where nothing can be drawn
    from hwm_env.reference.world import ReferenceWorld

    tokenizer = load(tiny_checkpoint).tokenizer
    states = wandering(np.random.default_rng(0), 17 * 11)
    tokens = random_tokens(np.random.default_rng(0), 11, 3, 8, 8)
    poses = np.empty((len(states), 3), np.float32)
    with ReferenceWorld(64) as world:
        for frame, wanted in enumerate(states[: 17 * 9]):
            states[frame] = world.step(wanted)
            poses[frame] = world.state.base_pose
        for clip in (9, 10):
            part = slice(17 * clip, 17 * (clip + 1))
            states[part], frames, poses[part] = world.step_clip(states[part])
            tokens[clip] = tokenizer.encode(torch.from_numpy(frames)[None])[0].numpy()
    writer = DatasetWriter(tmp_path, token_grid=(8, 8), tokenizer=tokenizer.identity)
    writer.write_shard(0, states=states, segments=np.zeros(len(states), np.int32), tokens=tokens, poses=poses)
    writer.finish()
    env = make_env("HWMReference-v0", task=FollowRecording(tmp_path, num_steps=2))
    env.reset(seed=0)
    for clip in (9, 10):
        _, reward, terminated, _, info = env.step(states[17 * clip : 17 * (clip + 1)])
        assert reward == pytest.approx(0.0, abs=0.05), info
    assert terminated
    assert info["is_success"]
    # Standing still in place of that.
    env.reset(seed=0)
    still = env.step(np.tile(states[17 * 9 - 1], (17, 1)))[-1]["reward_terms"]
    assert still["state"] < -0.05


def test_stretches_are_drawn_from_all_and_naming_the_one_drawn_changes_nothing(
    make_env: MakeEnv, task: FollowRecording
) -> None:
    env = make_env(task=task)
    drawn = [env.reset(seed=seed)[1]["recording"] for seed in range(40)]
    assert set(drawn) == set(range(len(STRETCHES)))

    def episodes(**options: int) -> str:
        return fingerprint([env.reset(seed=3, options=options), *(env.reset() for _ in range(5))])

    assert episodes(recording=drawn[3]) == episodes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recording": 6}, r"recording must be below 6, got 6"),
        ({"recording": -1}, "got -1"),
        ({"recording": 1.0}, "got 1.0"),
        ({"recording": True}, "got True"),
        ({"recording": None}, "got None"),
        ({"start": 0}, r"options must be some of \['recording'\], got unknown \['start'\]"),
        ({"state": None}, r"options must be some of \['recording'\], got unknown \['state'\]"),
    ],
)
def test_bad_options_change_nothing(make_env: MakeEnv, task: Any, options: dict[str, Any], message: str) -> None:
    env, twin = make_env(task=task), make_env(task=task)
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match=message):
        env.reset(seed=1, options=options)
    assert fingerprint(env.reset()) == fingerprint(twin.reset())


def test_states_of_the_task_are_gone_back_to(make_env: MakeEnv, written: Written, task: Any) -> None:
    env = make_env(task=task)
    env.reset(seed=0, options={"recording": 2})
    state = env.unwrapped.get_state()
    first = fingerprint(env.step(written.chunk(2, 9)))
    env.reset(seed=1, options={"recording": 5})
    env.unwrapped.set_state(state)
    assert fingerprint(env.step(written.chunk(2, 9))) == first


def test_the_reference_world_wants_to_know_where_the_robot_was(make_env: MakeEnv, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path, token_grid=(8, 8))
    tokens = random_tokens(rng, 10, 3, 8, 8)
    writer.write_shard(0, states=wandering(rng, 170), segments=np.zeros(170, np.int32), tokens=tokens)
    writer.finish()
    task = FollowRecording(tmp_path, num_steps=1)
    make_env(task=task).reset(seed=0)
    with pytest.raises(InvalidInputError, match=r"history.pose must be known in the reference world, got None"):
        make_env("HWMReference-v0", task=task).reset(seed=0)


def test_bad_arguments_are_refused(written: Written, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="num_steps must be at least 1, got 0"):
        FollowRecording(written.directory, num_steps=0)
    assert FollowRecording(written.directory, num_steps=5).goal_space(64).shape == (25,)
    with pytest.raises(DatasetError, match="15 whole clips"):
        FollowRecording(written.directory, num_steps=6)
    with pytest.raises(DatasetError, match=r"metadata\.json"):
        FollowRecording(tmp_path)
