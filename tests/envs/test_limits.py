"""`max_episode_steps` of Gymnasium is the one step limit, however environments are made."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv

pytestmark = pytest.mark.slow

DEFAULT = 40
FAST = {"task": None, "obs_mode": "tokens", "action_mode": "hold", "normalized_actions": True, "decoding_steps": 1}
LIMITS = [(None, DEFAULT), (3, 3), (42, 42), (-1, None)]
"""Requested and effective limit."""
TRIED = 43
"""Steps after which there counts as no limit."""


def steps_until_truncation(env: Any) -> int | None:
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    for step in range(1, TRIED + 1):
        truncated = env.step(action)[3]
        if np.any(truncated):
            assert np.all(truncated)
            return step
    return None


@pytest.mark.parametrize(("asked", "holds"), LIMITS)
def test_single_worlds(make_env: MakeEnv, asked: int | None, holds: int | None) -> None:
    env = make_env(max_episode_steps=asked, **FAST)
    assert env.spec.max_episode_steps == holds
    assert steps_until_truncation(env) == holds
    assert gymnasium.make(env.spec).spec.max_episode_steps == holds


@pytest.mark.parametrize(("asked", "holds"), LIMITS)
def test_many_worlds(tiny_checkpoint: Path, asked: int | None, holds: int | None) -> None:
    envs = gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=tiny_checkpoint, max_episode_steps=asked, **FAST)
    assert envs.spec.max_episode_steps == holds
    assert steps_until_truncation(envs) == holds
    again = gymnasium.make_vec(envs.spec)
    assert (again.num_envs, again.spec.max_episode_steps) == (2, holds)
    for each in (envs, again):
        each.close()


@pytest.mark.parametrize("arguments", [{}, {"vectorization_mode": "sync"}])
def test_many_worlds_are_limited_where_nothing_is_asked_for(tiny_checkpoint: Path, arguments: dict[str, str]) -> None:
    envs = gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=tiny_checkpoint, **arguments, **FAST)
    assert steps_until_truncation(envs) == DEFAULT
    envs.close()


def test_the_reference_world_has_the_same_limits(make_env: MakeEnv, tiny_checkpoint: Path) -> None:
    arguments = {**FAST, "obs_mode": "state"}
    assert steps_until_truncation(make_env("HWMReference-v0", **arguments)) == DEFAULT
    assert steps_until_truncation(make_env("HWMReference-v0", max_episode_steps=-1, **arguments)) is None
    envs = gymnasium.make_vec(
        "HWMReference-v0", num_envs=2, checkpoint=tiny_checkpoint, max_episode_steps=4, **arguments
    )
    assert steps_until_truncation(envs) == 4
    envs.close()


@pytest.mark.parametrize(("asked", "holds"), [(None, None), (3, 3), (-1, None)])
def test_worlds_made_without_gymnasium(tiny_checkpoint: Path, asked: int | None, holds: int | None) -> None:
    env = HumanoidWorldModelEnv(checkpoint=tiny_checkpoint, max_episode_steps=asked, **FAST)
    assert steps_until_truncation(env) == holds
    env.close()


@pytest.mark.parametrize("asked", [0, -2])
def test_impossible_limits_are_refused(tiny_checkpoint: Path, asked: int) -> None:
    for make in (HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv):
        with pytest.raises(InvalidInputError, match=f"max_episode_steps must be at least 1 .* got {asked}"):
            make(checkpoint=tiny_checkpoint, max_episode_steps=asked)


def test_time_aware_observations_know_the_limit(make_env: MakeEnv) -> None:
    env = gymnasium.wrappers.TimeAwareObservation(
        make_env(**{**FAST, "obs_mode": "state"}), flatten=False, normalize_time=True
    )
    times = [env.reset(seed=0)[0]["time"]]
    for _ in range(DEFAULT):
        observation, _, _, truncated, _ = env.step(np.zeros(25, np.float32))
        times.append(observation["time"])
    assert truncated
    np.testing.assert_allclose(np.ravel(times), np.arange(DEFAULT + 1) / DEFAULT, atol=1e-6)
