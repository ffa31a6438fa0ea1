"""Environments across processes, threads and copies."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.reference.rendering import can_render
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout

FAST = {"obs_mode": "state", "decoding_steps": 1}
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}

ASYNC = """
import sys
import gymnasium, hwm_env, torch

torch.set_num_threads(2)
torch.ones(500, 500) @ torch.ones(500, 500), torch.ones(10**6).exp()  # OpenMP has threads now
checkpoint, context, *env_ids = sys.argv[1:]
for env_id in env_ids:
    envs = gymnasium.make_vec(
        env_id, num_envs=2, vectorization_mode="async", vector_kwargs={"context": context}, checkpoint=checkpoint,
        obs_mode="pixels_state", decoding_steps=1,
    )
    observations, _ = envs.reset(seed=0)
    observations, *_ = envs.step(envs.action_space.sample())
    print(env_id, observations["pixels"].shape, observations["pixels"].std() > 0)
    envs.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_async_vector_environments_work(tiny_checkpoint: Path, context: str) -> None:
    env_ids = ["HWM-v0", "HWMReference-v0"] if can_render() else ["HWM-v0"]
    if context == "fork" and not hasattr(os, "fork"):
        pytest.skip("there are no forks here")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", ASYNC, str(tiny_checkpoint), context, *env_ids],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{env_id} (2, 64, 64, 3) True" for env_id in env_ids]


@pytest.mark.slow
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_an_environment_go_on_alike(make_env: MakeEnv, env_id: str, how: str) -> None:
    env = make_env(env_id, render_mode="rgb_array", task="goal-image", obs_mode="pixels_state", decoding_steps=1)
    rollout(env, seed=0, steps=2)
    other = COPIES[how](env)
    action = env.action_space.sample()
    expected = [fingerprint(env.step(action)), fingerprint(env.render()), fingerprint(env.reset())]
    assert [fingerprint(other.step(action)), fingerprint(other.render()), fingerprint(other.reset())] == expected
    other.unwrapped.set_state(env.unwrapped.get_state())
    other.close()


@pytest.mark.usefixtures("no_screen")
def test_an_environment_with_a_window_can_be_copied(make_env: MakeEnv) -> None:
    pytest.importorskip("pygame")
    env = make_env(render_mode="human", **FAST)
    env.reset(seed=0)
    pickle.dumps(env)
    other = copy.deepcopy(env)
    other.reset(seed=0)
    other.close()


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_many_worlds_go_on_alike(tiny_checkpoint: Path, how: str) -> None:
    sb3 = pytest.importorskip("hwm_env.envs.sb3", exc_type=ImportError)
    envs = sb3.SB3VecEnv(
        gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=tiny_checkpoint, autoreset_mode="SAME_STEP", **FAST)
    )
    envs.seed(0)
    envs.reset()
    other = COPIES[how](envs)
    actions = np.stack([envs.action_space.high] * 2)
    assert fingerprint(other.step(actions)) == fingerprint(envs.step(actions))
    for each in (envs, other):
        each.close()


def test_an_environment_works_in_other_threads(make_env: MakeEnv, env_id: str) -> None:
    arguments = {**FAST, "obs_mode": "pixels"}
    env, twin = make_env(env_id, **arguments), make_env(env_id, **arguments)
    expected = [fingerprint(step) for step in rollout(twin, seed=0, steps=2)]
    played: list[list[str]] = []
    for _ in range(2):
        thread = threading.Thread(
            target=lambda: played.append([fingerprint(step) for step in rollout(env, seed=0, steps=2)])
        )
        thread.start()
        thread.join()
    assert played == [expected] * 2


WINDOW = """
import os, signal, sys
import gymnasium, hwm_env

env = gymnasium.make("HWM-v0", checkpoint=sys.argv[1], task=None, render_mode="human", decoding_steps=1)
env.reset(seed=0)
os.kill(os.getpid(), signal.SIGTERM)
print("went on")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals there")
def test_a_process_with_a_window_still_ends_when_it_is_told_to(tiny_checkpoint: Path) -> None:
    pytest.importorskip("pygame")
    done = subprocess.run(
        [sys.executable, "-c", WINDOW, str(tiny_checkpoint)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SDL_VIDEODRIVER": "dummy"},
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (-15, ""), done.stderr
