"""Environments whose worlds carry a pose."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load, save
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv
from hwm_env.errors import InvalidInputError
from hwm_env.reference.body import quantities
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.trust import Calibration, TokenStatistics, Trust
from hwm_env.trust.calibration import FEATURES
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint
from tests.envs.test_vector import info_of, same
from tests.scene.scenes import make_checkpoint, make_scene

STEPS = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose scene has obstacles, so that carried poses are not those of the wheels alone."""
    directory = tmp_path_factory.mktemp("scene")
    save(make_checkpoint(make_scene(walls=True, history_weights=(0.3,))), directory)
    return str(directory)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with a read-out whose starts have no poses and whose scene finds none of them."""
    directory = tmp_path_factory.mktemp("lost")
    made = make_checkpoint(make_scene(unknown_above=0.1))
    starts = replace(made.starts, tokens=made.starts.tokens[:, -1:], actions=made.starts.actions[:, -1:], poses=None)
    save(replace(made, starts=starts), directory)
    return str(directory)


def believing(env: gymnasium.Env[Any, Any], pose: list[float], std: float = 0.0) -> None:
    """Moves the carried pose of an environment's world."""
    unwrapped = env.unwrapped
    assert isinstance(unwrapped, HumanoidWorldModelEnv)
    state = unwrapped.get_state()
    moment = state.episode.moment
    belief = PoseBelief(torch.tensor([pose]), std**2 * torch.eye(3)[None])
    moved = replace(moment, states=replace(moment.state, belief=belief), clip=moment.clip.select([moment.row]), row=0)
    unwrapped.set_state(replace(state, episode=replace(state.episode, moment=moved)))


def test_info_says_where_the_base_is_and_who_says_so(make_env: MakeEnv, checkpoint: str) -> None:
    env = make_env(checkpoint=checkpoint)
    info = env.reset(seed=0)[1]
    starts = env.unwrapped.simulator.checkpoint.starts
    np.testing.assert_array_equal(info["pose"], starts.poses[info["start"]])
    assert info["readout_source"] == "recording"
    for _ in range(2):
        info = env.step(env.action_space.sample())[-1]
        state = env.unwrapped.moment.state
        assert info["readout_source"] == "scene"
        for value in (info["pose"], info["pose_std"]):
            assert (value.shape, value.dtype) == ((3,), np.float32)
        np.testing.assert_array_equal(info["pose"], state.belief.poses[0])
        np.testing.assert_array_equal(info["base_pose"], info["pose"])
        np.testing.assert_array_equal(info["pose_std"], np.zeros(3))
        # Head, gaze and hands are those of the robot's kinematics.
        whole = quantities(info["pose"][None], state.actions[0, -1:, :][:, -1].numpy())[0]
        np.testing.assert_allclose(info["readout"]["head_m"], whole[3:6], atol=1e-5)
        np.testing.assert_allclose(info["readout"]["right_hand_m"], whole[12:15], atol=1e-5)


def calibrate(checkpoint: str, weights: dict[str, float], directory: Path) -> str:
    """Saves the checkpoint with a calibration with these weights, 0 for the other features; returns the directory."""
    loaded = load(checkpoint)
    weights = {**dict.fromkeys(FEATURES, 0.0), **weights}
    calibration = Calibration(bound_psnr_db=14.0, intercept=-2.0, weights=weights)
    statistics = TokenStatistics.from_tokens(loaded.starts.tokens.flatten(0, 1), loaded.tokenizer.fsq_levels)
    save(replace(loaded, trust=Trust(statistics, calibration)), directory)
    return str(directory)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_whether_a_world_paints_what_it_believes_is_told_where_the_calibration_asks(
    make_env: MakeEnv, checkpoint: str, tmp_path: Path, weight: float
) -> None:
    env = make_env(checkpoint=calibrate(checkpoint, {"painted_offset": weight}, tmp_path))
    first = env.reset(seed=0)[1]
    info = env.step(env.action_space.sample())[-1]
    if weight == 0.0:
        assert "painted_offset" not in first | info
        return
    assert first["painted_offset"] == 0.0
    assert 0.0 < info["painted_offset"] < 0.6
    log_odds = -2.0 + weight * info["painted_offset"]
    assert info["error_probability"] == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-5)


def test_the_uncertainty_of_the_pose_is_told(make_env: MakeEnv, checkpoint: str) -> None:
    env = make_env(checkpoint=checkpoint)
    env.reset(seed=0)
    believing(env, [0.5, 0.0, 1.0], std=0.2)
    std = env.step(env.action_space.sample())[-1]["pose_std"]
    assert std[2] == pytest.approx(0.2, abs=1e-5)
    assert (std[:2] >= 0.2 - 1e-5).all()


@pytest.mark.slow
def test_a_world_that_does_not_know_its_place_asks_the_read_out(make_env: MakeEnv, lost: str) -> None:
    env = make_env(checkpoint=lost)
    for begin in (True, False):
        info = env.reset(seed=0)[1] if begin else env.step(env.action_space.sample())[-1]
        assert info["readout_source"] == "network"
        assert "pose" not in info
        assert "pose_std" not in info
        moment = env.unwrapped.moment
        expected = env.unwrapped.simulator.checkpoint.readout.read(torch.from_numpy(moment.tokens)[None])[0, :3]
        np.testing.assert_array_equal(info["base_pose"], expected)


@pytest.mark.slow
def test_a_task_that_needs_the_place_refuses_an_unknown_one(make_env: MakeEnv, lost: str, tmp_path: Path) -> None:
    save(replace(load(lost), readout=None), tmp_path)
    env = make_env(checkpoint=str(tmp_path), task="drive-to-target")
    with pytest.raises(InvalidInputError, match="shows a place that this checkpoint's scene does not know"):
        env.reset(seed=0)
    free = make_env(checkpoint=str(tmp_path), task=None)
    for begin in (True, False):
        info = free.reset(seed=0)[1] if begin else free.step(free.action_space.sample())[-1]
        assert not {"pose", "pose_std", "painted_offset", "base_pose", "readout", "readout_source"} & set(info)


@pytest.mark.slow
def test_saved_and_copied_worlds_have_the_same_future(make_env: MakeEnv, checkpoint: str) -> None:
    env, other = make_env(checkpoint=checkpoint), make_env(checkpoint=checkpoint)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(4)]
    env.step(actions[0])
    saved = env.unwrapped.get_state()
    future = [fingerprint(env.step(action)) for action in actions[1:]]
    other.reset(seed=3)
    for state in (saved, copy.deepcopy(saved), pickle.loads(pickle.dumps(saved))):
        other.unwrapped.set_state(state)
        assert [fingerprint(other.step(action)) for action in actions[1:]] == future
    # An episode that begins there continues from the same pose.
    info = env.reset(seed=1, options={"state": saved})[1]
    np.testing.assert_array_equal(info["pose"], saved.episode.moment.state.belief.poses[0])
    assert info["readout_source"] == "scene"


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_many_worlds_live_what_single_ones_live(
    make_env: MakeEnv, checkpoint: str, tmp_path: Path, history: str
) -> None:
    """Two slices of a strict simulator, the second one padded; the info tells how far to believe each world."""
    calibrated = calibrate(checkpoint, {"drift": 0.001, "path_entropy": 0.1, "painted_offset": 1.0}, tmp_path)
    arguments: dict[str, Any] = {"checkpoint": calibrated, "strict": True, "history": history, "obs_mode": "tokens"}
    envs, singles = gymnasium.make_vec("HWM-v0", num_envs=10, **arguments), [make_env(**arguments) for _ in range(10)]
    _, infos = envs.reset(seed=10)
    for world, env in enumerate(singles):
        assert same(env.reset(seed=10 + world)[1], info_of(infos, world))
    envs.action_space.seed(0)
    for _ in range(STEPS):
        actions = envs.action_space.sample()
        tokens, rewards, *_, infos = envs.step(actions)
        for world, env in enumerate(singles):
            own_tokens, reward, *_, info = env.step(actions[world])
            assert np.array_equal(tokens[world], own_tokens)
            assert rewards[world] == reward
            assert same(info, info_of(infos, world))
            assert info["readout_source"] == "scene"
            assert 0 < info["error_probability"] < 1
            assert {"drift", "painted_offset"} <= set(info)
    envs.close()


def test_worlds_with_and_without_a_place_live_in_one_batch(checkpoint: str, tmp_path: Path) -> None:
    """Rows with and without a known pose share a batch."""
    made = make_checkpoint(make_scene(history_weights=(0.3,)))
    assert made.starts.poses is not None
    poses = made.starts.poses.clone()
    poses[1] = 100.0  # outside the map
    save(replace(made, starts=replace(made.starts, poses=poses)), tmp_path)
    simulator = HumanoidWorldModelEnv(checkpoint=tmp_path, task=None)
    envs = gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=str(tmp_path), task=None)
    envs.reset(seed=0, options={"per_world": [{"start": 0}, {"start": 1}]})
    infos = envs.step(envs.action_space.sample())[-1]
    assert infos["readout_source"].tolist() == ["scene", "network"]
    assert infos["_pose"].tolist() == infos["_pose_std"].tolist() == [True, False]
    envs.close()
    simulator.close()


def test_tasks_judge_by_the_carried_pose(make_env: MakeEnv, checkpoint: str) -> None:
    env = make_env(checkpoint=checkpoint, task="drive-to-target")
    info = env.reset(seed=0)[1]
    x, y = info["target_xy"].tolist()
    rest = np.zeros(env.action_space.shape, np.float32)
    rewards = []
    for distance in (3.0, 0.3):
        believing(env, [x - distance, y, 0.0])
        saved = env.unwrapped.moment.states.belief.poses
        assert saved[0, 0] == pytest.approx(x - distance)
        _, reward, terminated, _, info = env.step(rest)
        assert info["pose"][:2].tolist() == pytest.approx([x - distance, y], abs=0.3)
        assert info["is_success"] == terminated == (distance < 0.6)
        rewards.append(reward)
    assert rewards[1] > rewards[0] + 4


@pytest.mark.parametrize("at", ["here", "elsewhere"])
def test_a_policy_is_shown_the_way_from_the_carried_pose(make_env: MakeEnv, checkpoint: str, at: str) -> None:
    env = make_env(checkpoint=checkpoint, task="drive-to-target", obs_mode="pixels_state")
    target = env.reset(seed=0)[1]["target_xy"]
    if at == "elsewhere":
        believing(env, [-2.0, 1.0, 0.5])
    observation, *_, info = env.step(np.zeros(env.action_space.shape, np.float32))
    offset, yaw = target - info["pose"][:2], info["pose"][2]
    bearing = np.arctan2(offset[1], offset[0]) - yaw
    expected = [np.cos(bearing), np.sin(bearing), np.hypot(*offset) / 4]
    np.testing.assert_allclose(observation["goal"], expected, atol=1e-4)
