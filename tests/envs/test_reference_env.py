"""HWMReference-v0: the same interface in the reference world."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load
from tests.envs.conftest import MakeEnv


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state", "clip"])
@pytest.mark.parametrize("action_mode", ["chunk", "hold"])
@pytest.mark.parametrize("normalized", [False, True])
def test_spaces_are_equal(make_env: MakeEnv, obs_mode: str, action_mode: str, normalized: bool) -> None:
    arguments = {"obs_mode": obs_mode, "action_mode": action_mode, "normalized_actions": normalized}
    learned, reference = (make_env(env_id, **arguments) for env_id in ("HWM-v0", "HWMReference-v0"))
    assert learned.observation_space == reference.observation_space
    assert learned.action_space == reference.action_space


def test_equal_seeds_begin_alike_in_both_worlds(make_env: MakeEnv) -> None:
    learned, reference = (make_env(env_id, obs_mode="pixels_state") for env_id in ("HWM-v0", "HWMReference-v0"))
    for seed in range(10):
        (dreamt, dreamt_info), (true, true_info) = learned.reset(seed=seed), reference.reset(seed=seed)
        np.testing.assert_array_equal(dreamt["state"], true["state"])
        np.testing.assert_array_equal(dreamt["goal"], true["goal"])
        np.testing.assert_array_equal(dreamt_info["base_pose"], true_info["base_pose"])
        assert (dreamt_info["start"], dreamt_info["target"]) == (true_info["start"], true_info["target"])


def test_it_begins_where_the_checkpoint_says(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    starts = load(tiny_checkpoint).starts
    env = make_env("HWMReference-v0", obs_mode="pixels_state")
    for start in range(len(starts)):
        observation, info = env.reset(seed=0, options={"start": start})
        np.testing.assert_array_equal(info["base_pose"], starts.poses[start])
        np.testing.assert_array_equal(observation["state"], starts.actions[start, -1, -1])


def test_the_robot_keeps_its_limits(make_env: MakeEnv) -> None:
    from hwm_env.reference import robot

    env = make_env("HWMReference-v0", obs_mode="pixels_state")
    before = env.reset(seed=0)[0]["state"]
    after = env.step(np.where(before > env.action_space.low[0], env.action_space.low, env.action_space.high))[0][
        "state"
    ]
    assert (np.abs(after - before) <= robot.RATE_LIMITS * 17 / 30 + 1e-5).all()
    assert np.abs(after - before).max() > 0.1


def test_driving_forward_goes_forward(make_env: MakeEnv) -> None:
    from hwm_env.reference import robot, room
    from hwm_env.types import LINEAR_VELOCITY

    env = make_env("HWMReference-v0")
    action = np.tile(robot.REST_POSE, (17, 1))
    action[:, LINEAR_VELOCITY] = 0.5
    moved = 0
    for start in range(4):
        before = env.reset(seed=0, options={"start": start})[1]["base_pose"].astype(float)
        if room.free_path_m(before[:2], before[2]) < 1.0:
            continue
        poses = [env.step(action)[-1]["base_pose"].astype(float) for _ in range(3)]
        for a, b in itertools.pairwise(poses[1:]):
            heading = np.arctan2(b[1] - a[1], b[0] - a[0])
            assert np.hypot(*(b - a)[:2]) == pytest.approx(0.5 * 17 / 30, abs=0.01)
            assert np.cos(heading - a[2]) > 0.99
            moved += 1
    assert moved


def test_the_first_clip_is_what_the_recording_saw(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    make_env("HWMReference-v0")  # skips where nothing can be drawn
    from hwm_env.envs.ground_truth import ReferenceGroundTruth
    from hwm_env.reference.behaviour import Teleoperator
    from hwm_env.reference.world import ReferenceWorld

    checkpoint = load(tiny_checkpoint)
    with ReferenceWorld(checkpoint.image_size) as world:
        world.reset(np.random.default_rng(1))
        operator = Teleoperator(np.random.default_rng(1))
        for _ in range(60):
            world.step(operator.act(world.state))
        frames, measured, poses = [], [], []
        for _ in range(17):
            measured.append(world.step(operator.act(world.state)))
            frames.append(world.render())
            poses.append(world.state.base_pose)
    assert np.ptp(poses, axis=0).max() > 0.1, "the recording should not stand still"
    recorded = torch.from_numpy(np.stack(measured)).expand(1, 9, 17, 25)
    pose = torch.from_numpy(np.stack(poses[-1:])).float()
    starts = dataclasses.replace(
        checkpoint.starts, tokens=checkpoint.starts.tokens[:1], actions=recorded.contiguous(), poses=pose
    )
    truth = ReferenceGroundTruth(dataclasses.replace(checkpoint, starts=starts))
    (moment,) = truth.begin([truth.start(0)], [0])
    truth.close()
    differences = np.abs(moment.frames.astype(int) - np.stack(frames)).mean((1, 2, 3))
    assert differences.max() < 1e-3, "frames one after the other differ by five times as much"
