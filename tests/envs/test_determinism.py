import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.envs import rollouts
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_equal_seeds_agree_bit_for_bit_over_twenty_steps(make_env: MakeEnv, env_id: str) -> None:
    first, second = (rollout(make_env(env_id, obs_mode="pixels_state"), seed=7, steps=20) for _ in range(2))
    assert len(first) == 21
    assert [fingerprint(step) for step in first] == [fingerprint(step) for step in second]


@pytest.mark.slow
def test_a_second_process_agrees(make_env: MakeEnv, env_id: str, tiny_checkpoint: Path) -> None:
    here = fingerprint(rollout(make_env(env_id, obs_mode="pixels_state"), seed=7, steps=20))
    command = [sys.executable, "-m", rollouts.__name__, env_id, str(tiny_checkpoint), str(torch.get_num_threads())]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    assert there == here


def test_other_seeds_differ(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id)
    fingerprints = {fingerprint(env.reset(seed=seed)) for seed in range(6)}
    assert len(fingerprints) > 3


def test_the_seed_is_the_noise_of_the_tokens_after(make_env: MakeEnv) -> None:
    action = np.zeros((17, 25), np.float32)

    def tokens_after(seed: int, temperature: float) -> bytes:
        env = make_env(temperature=temperature)
        env.reset(seed=seed, options={"start": 0})
        return env.step(action)[0].tobytes()

    assert tokens_after(0, 1.0) == tokens_after(0, 1.0) != tokens_after(1, 1.0)
    assert tokens_after(0, 0.0) == tokens_after(1, 0.0)


def test_naming_what_the_seed_draws_changes_nothing(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, obs_mode="pixels_state")
    drawn = rollout(env, seed=3, steps=2)
    named = rollout(env, seed=3, steps=2, options={"start": drawn[0][-1]["start"]})
    assert fingerprint(named) == fingerprint(drawn)


def test_episodes_without_a_seed_go_on_drawing(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=0)
    targets = {(env.reset()[1]["start"], env.reset()[1]["target"]) for _ in range(8)}
    assert len(targets) > 3


@pytest.mark.parametrize("mode", ["chunk", "hold"])
def test_the_robot_answers_to_its_actions(make_env: MakeEnv, env_id: str, mode: str) -> None:
    env = make_env(env_id, action_mode=mode, temperature=0.0)

    def seen(action: np.ndarray) -> np.ndarray:
        env.reset(seed=0, options={"start": 0})
        return env.step(action)[0].astype(int)

    assert np.abs(seen(env.action_space.low) - seen(env.action_space.high)).mean() > 1
