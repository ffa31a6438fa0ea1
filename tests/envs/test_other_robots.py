"""Environments of a checkpoint whose robot has joints of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.checkpoint import load, save
from hwm_env.envs.wrappers import RecordLeRobot
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.robot import Joint, Robot
from hwm_env.tasks.follow_recording import FollowRecording
from hwm_env.types import ACTION_NAMES
from tests.arm import ARM, COLUMNS
from tests.conftest import make_tiny_checkpoint
from tests.data.test_robot_states import write_clips
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout
from tests.service.servers import serving

REST = np.delete(np.arange(25), COLUMNS)
LOW = np.array([0, -1.92, -1.75, -1.69, -1.66], np.float32)
HIGH = np.array([1, 1.92, 1.75, 1.69, 1.66], np.float32)


@pytest.fixture(scope="module")
def arm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("arm")
    save(replace(make_tiny_checkpoint(), robot=ARM), directory)
    return directory


@pytest.fixture
def make_arm(make_env: MakeEnv, arm_checkpoint: Path) -> MakeEnv:
    return lambda **arguments: make_env(
        **{"checkpoint": arm_checkpoint, "task": None, "obs_mode": "state", **arguments}
    )


def test_checkpoints_keep_their_robot(arm_checkpoint: Path, tiny_checkpoint: Path) -> None:
    assert load(arm_checkpoint).robot == ARM
    assert '"robot"' not in (tiny_checkpoint / "config.json").read_text()


def test_actions_and_states_are_the_robots_joints_within_its_limits(make_arm: MakeEnv) -> None:
    env = make_arm()
    assert env.unwrapped.robot == ARM
    assert env.action_space.shape == (17, 6)
    np.testing.assert_array_equal(env.action_space.low[3, :5], LOW)
    np.testing.assert_array_equal(env.action_space.high[3, :5], HIGH)
    statistics = load(env.unwrapped.spec.kwargs["checkpoint"]).statistics
    assert env.action_space.low[0, 5] == statistics.low[12], "the robot states no limits of its last joint"
    np.testing.assert_array_equal(env.observation_space["state"].high, env.action_space.high[0])
    observation, _ = env.reset(seed=0)
    before, bounds = env.unwrapped.moment.measured[-1], (env.action_space.low[0], env.action_space.high[0])
    np.testing.assert_array_equal(observation["state"], np.clip(before[COLUMNS], *bounds))
    env.action_space.seed(0)
    action = env.action_space.sample()
    observation, _, _, _, info = env.step(action)
    measured = env.unwrapped.moment.measured
    np.testing.assert_array_equal(measured[:, COLUMNS], action)
    np.testing.assert_array_equal(measured[:, REST], np.tile(before[REST], (17, 1)))
    np.testing.assert_array_equal(observation["state"], action[-1])
    assert not info["action_clipped"]


@pytest.mark.parametrize("mode", ["hold", "delta"])
def test_other_action_modes(make_arm: MakeEnv, mode: str) -> None:
    env = make_arm(action_mode=mode, normalized_actions=True)
    assert env.action_space.shape == (6,)
    env.reset(seed=0)
    before = env.unwrapped.moment.measured[-1]
    env.step(np.array([0, 1, 0, 0, 0, 0], np.float32))
    after = env.unwrapped.moment.measured[-1]
    np.testing.assert_allclose(after[REST], before[REST], atol=1e-6)
    if mode == "hold":
        assert after[8] == pytest.approx(1.92)
        assert after[21] == pytest.approx(0.5)
    else:
        assert after[8] > before[8]
        assert after[21] == pytest.approx(before[21])


def test_limits_may_be_wider_than_the_data(make_arm: MakeEnv) -> None:
    """Then an action is executed as it is, and said to be outside the data by the robot's own name."""
    env = make_arm(action_mode="hold", out_of_range="refuse")
    env.reset(seed=0)
    data_low = load(env.unwrapped.spec.kwargs["checkpoint"]).statistics.low[6]
    assert data_low > -1.7
    action = env.action_space.sample() * 0
    action[2] = -1.7
    info = env.step(action)[-1]
    assert env.unwrapped.moment.measured[-1, 6] == pytest.approx(-1.7)
    assert "shoulder_lift.pos" in info["action_ood_joints"]
    assert not info["action_clipped"]
    action[2] = -1.8
    with pytest.raises(InvalidInputError, match=r"shoulder_lift.pos would be -1.8, .* nearest allowed value is -1.75"):
        env.step(action)


def test_some_of_its_joints_can_be_chosen(make_arm: MakeEnv) -> None:
    env = make_arm(controls=["wrist_roll.pos", "gripper.pos"], action_mode="hold")
    env.reset(seed=0)
    before = env.unwrapped.moment.measured[-1]
    env.step(np.array([0.1, 0.2], np.float32))
    after = env.unwrapped.moment.measured[-1]
    np.testing.assert_allclose(after[[12, 21]], [0.1, 0.2], atol=1e-6)
    others = np.delete(np.arange(25), [12, 21])
    np.testing.assert_allclose(after[others], before[others], atol=1e-6)
    with pytest.raises(InvalidInputError, match=r"controls must be joints of SO-101 .*, got 'hip_yaw'"):
        make_arm(controls=["hip_yaw"])


def test_a_robot_with_the_same_numbers_in_another_order_sees_the_same_world(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(25)
    joints = tuple(Joint(name=f"joint {index}", number=ACTION_NAMES[index]) for index in order)
    save(replace(load(tiny_checkpoint), robot=Robot(name="twin", joints=joints)), tmp_path)
    settings: dict[str, Any] = {"obs_mode": "tokens", "task": None}
    eve, twin = make_env(**settings), make_env(checkpoint=tmp_path, **settings)
    np.testing.assert_array_equal(twin.action_space.low, eve.action_space.low[:, order])
    eve.action_space.seed(0)
    np.testing.assert_array_equal(eve.reset(seed=3)[0], twin.reset(seed=3)[0])
    for _ in range(2):
        action = eve.action_space.sample()
        np.testing.assert_array_equal(eve.step(action)[0], twin.step(action[:, order])[0])


def test_what_needs_eves_body_is_refused(make_arm: MakeEnv, make_env: MakeEnv, arm_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="'drive-to-target' needs a read-out, and there are none of SO-101"):
        make_arm(task="drive-to-target")
    with pytest.raises(CheckpointError, match="the checkpoint's robot is SO-101, and the reference world has EVE"):
        make_env("HWMReference-v0", checkpoint=arm_checkpoint, task=None)
    assert "readout" not in make_arm().reset(seed=0)[1]


def test_following_a_recording(make_arm: MakeEnv, make_env: MakeEnv, arm_checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = load(arm_checkpoint).tokenizer.identity
    states = write_clips(tmp_path, ARM, clips=11, tokenizer=tokenizer, token_grid=(8, 8))
    task = FollowRecording(tmp_path, num_steps=2)
    env = make_arm(task=task)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation["goal"], states[-1, COLUMNS])
    env.step(states[9 * 17 : 10 * 17, COLUMNS])
    assert env.step(states[10 * 17 :, COLUMNS])[-1]["reward_terms"]["state"] == 0
    with pytest.raises(DatasetError, match=r"metadata\.json: robot: expected EVE, got SO-101"):
        make_env(task=FollowRecording(tmp_path, num_steps=2)).reset(seed=0)


def test_recorded_episodes_have_its_names(make_arm: MakeEnv, tmp_path: Path) -> None:
    pytest.importorskip("av")
    parquet = pytest.importorskip("pyarrow.parquet")
    env = RecordLeRobot(make_arm(), tmp_path / "data", "wave")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    expected = env.unwrapped.moment.measured[:, COLUMNS]
    env.close()
    rows = parquet.read_table(tmp_path / "data/data/chunk-000/file-000.parquet").to_pydict()
    np.testing.assert_array_equal(rows["observation.state"][1:], expected)
    info = (tmp_path / "data/meta/info.json").read_text()
    assert '"shoulder_lift.pos"' in info
    assert '"robot_type": "SO-101"' in info


@pytest.mark.slow
def test_a_service_offers_its_joints(arm_checkpoint: Path) -> None:
    settings: dict[str, Any] = {"decoding_steps": 1, "temperature": 1.0, "history": "streaming"}
    with serving(arm_checkpoint, **settings) as server:
        told = server.client.get("/v1/capabilities").json()
        assert told["action_names"] == list(ARM.names)
        np.testing.assert_allclose(told["action_low"][:5], LOW)
        opened = server.post("/v1/sessions", start=3, seed=7)
        chunk = np.zeros((17, 6)).tolist()
        assert len(server.post(f"/v1/sessions/{opened['id']}/step", actions=chunk)["clips"]) == 1
        code, reason = server.refusal(f"/v1/sessions/{opened['id']}/step", actions=np.zeros((17, 25)).tolist())
        assert (code, reason) == (422, "actions must be finite numbers [17, 6] or [T, 17, 6], got shape [17, 25]")
        arguments: dict[str, Any] = {"task": None, "obs_mode": "state"}
        remote = gymnasium.make("HWM-v0", url=server.url, **arguments)
        local = gymnasium.make("HWM-v0", checkpoint=arm_checkpoint, strict=True, **settings, **arguments)
        assert remote.action_space == local.action_space
        assert fingerprint(rollout(remote, seed=0, steps=2)) == fingerprint(rollout(local, seed=0, steps=2))
        remote.close()
        local.close()
