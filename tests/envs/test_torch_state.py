"""Global settings of PyTorch neither affect worlds nor are changed by them."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env.simulator import WorldSimulator
from hwm_env.torch_state import plain_torch
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout
from tests.scene.scenes import make_checkpoint, make_scene


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device().type == device
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], Any]] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
}


def rollout_digests(env: gymnasium.Env) -> list[str]:
    moment, seen = env.unwrapped, [fingerprint(step) for step in rollout(env, seed=0, steps=2)]
    return [*seen, fingerprint([env.render(), moment.clip, moment.moment.latents, moment.moment.tokens])]


@pytest.fixture
def made(make_env: MakeEnv, env_id: str) -> Callable[[], gymnasium.Env]:
    return lambda: make_env(
        env_id, task="goal-image", obs_mode="pixels_state", image_size=32, render_mode="rgb_array", decoding_steps=1
    )


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_worlds_are_the_same_under_any_setting(made: Callable[[], gymnasium.Env], setting: str) -> None:
    expected = rollout_digests(made())
    with SETTINGS[setting]():
        env = made()
        assert rollout_digests(env) == expected, "made and used under it"
    assert rollout_digests(env) == expected, "made under it, used without"
    env = made()
    with SETTINGS[setting]():
        assert rollout_digests(env) == expected, "made without it, used under it"


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_scenes_find_out_where_they_are_under_any_setting(setting: str) -> None:
    def after() -> tuple[torch.Tensor, ...]:
        simulator = WorldSimulator(checkpoint)
        state = simulator.begin(checkpoint.starts.tokens[:1], checkpoint.starts.actions[:1], [0])
        state, clip = simulator.step(state, actions)
        assert state.belief is not None
        return clip.tokens, clip.entropy, state.belief.poses, state.belief.covariances

    checkpoint = make_checkpoint(make_scene())
    actions = checkpoint.starts.actions[:1, -1]
    expected = after()
    with SETTINGS[setting]():
        found = after()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_the_default_type_is_kept_while_any_thread_computes() -> None:
    entered, leave = threading.Event(), threading.Event()
    found = []

    def compute() -> None:
        with plain_torch():
            entered.set()
            leave.wait(30)
            found.append(torch.get_default_dtype())

    with default_dtype(torch.float64):
        other = threading.Thread(target=compute)
        other.start()
        assert entered.wait(30)
        with plain_torch():
            assert torch.ones(1).dtype == torch.float32
        # The other thread still needs it.
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        other.join()
        assert found == [torch.float32]
        assert torch.ones(1).dtype == torch.float64


@plain_torch()
def fail() -> None:
    assert not torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    raise ZeroDivisionError


def test_settings_come_back_after_an_error() -> None:
    with default_dtype(torch.float64), torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_nobody_elses_random_numbers_are_spent(
    tiny_checkpoint: Path, make_env: MakeEnv, env_id: str, many: bool
) -> None:
    make_env(env_id)  # skips where nothing can be drawn

    def states() -> list[str]:
        # NumPy's old generator is the one that belongs to the process.
        numpys = np.random.get_state()  # noqa: NPY002
        return [fingerprint(each) for each in (torch.get_rng_state().numpy(), numpys, random.getstate())]

    before = states()
    arguments: dict[str, Any] = {"checkpoint": tiny_checkpoint, "decoding_steps": 1}
    if many:
        env: Any = gymnasium.make_vec(env_id, num_envs=2, **arguments)
    else:
        env = gymnasium.make(env_id, **arguments)
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    assert states() == before


def test_gradients_can_still_be_had_of_a_loaded_model(tiny_checkpoint: Path) -> None:
    from hwm_env.checkpoint import load

    for setting in (nullcontext(), torch.inference_mode(), torch.no_grad()):
        with setting:
            model = load(tiny_checkpoint).model
        weight = next(model.parameters())
        weight.square().sum().backward()
        assert weight.grad is not None
