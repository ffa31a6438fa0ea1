"""Measures env steps in OpenVINO against PyTorch; prints, asserts nothing: `make bench`."""

import os
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env.simulator import WorldSimulator
from tests.benchmarks.busy import busy_processes

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("default")]

WORLDS, ROLLOUTS, STEPS = 64, 100, 20


def medians_ms(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Returns the median time of each call, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - began)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def steps_of_one_world() -> dict[str, Callable[[], object]]:
    """Returns env steps with all frames by each backend and number type."""
    calls: dict[str, Callable[[], object]] = {}
    for backend, precision in (("torch", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")):
        env = gymnasium.make("HWM-v0", obs_mode="clip", backend=backend, precision=precision, max_episode_steps=100_000)
        env.reset(seed=0)
        action = np.zeros(env.action_space.shape, np.float32)
        calls[f"{backend} {precision}"] = lambda env=env, action=action: env.step(action)
    return calls


def shown(times_ms: dict[str, float]) -> str:
    base = times_ms["torch float32"]
    return ", ".join(f"{name} {ms:.1f} ms ({base / ms:.2f} times as fast)" for name, ms in times_ms.items())


@pytest.mark.parametrize("threads", [1, os.cpu_count() or 1])
@pytest.mark.parametrize("busy", [0, 2])
def test_one_world_with_all_frames(threads: int, busy: int) -> None:
    torch.set_num_threads(threads)
    calls = steps_of_one_world()
    with busy_processes(busy):
        print(f"\n{threads} threads beside {busy} busy processes: {shown(medians_ms(calls, 25))}")


@pytest.mark.parametrize("obs_mode", ["pixels", "tokens"])
def test_many_worlds(obs_mode: str) -> None:
    calls: dict[str, Callable[[], object]] = {}
    for backend, precision in (("torch", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")):
        envs = gymnasium.make_vec(
            "HWM-v0",
            num_envs=WORLDS,
            obs_mode=obs_mode,
            backend=backend,
            precision=precision,
            max_episode_steps=100_000,
        )
        envs.reset(seed=0)
        actions = np.zeros(envs.action_space.shape, np.float32)
        calls[f"{backend} {precision}"] = lambda envs=envs, actions=actions: envs.step(actions)
    print(f"\n{WORLDS} worlds, {obs_mode}: {shown(medians_ms(calls, 3))}")


def test_how_many_tokens_differ() -> None:
    """Compares closed loops of both backends at temperature 0."""
    eager, engine = (WorldSimulator.from_pretrained(temperature=0.0, backend=name) for name in ("torch", "openvino"))
    actions = eager.checkpoint.starts.actions
    generator = torch.Generator().manual_seed(0)
    tokens = differing = clips = loops = 0
    for first in range(0, ROLLOUTS, 10):
        starts = [row % len(actions) for row in range(first, first + 10)]
        states = [each.reset(starts, range(first, first + 10)) for each in (eager, engine)]
        ever = torch.zeros(10, dtype=torch.bool)
        for step in range(STEPS):
            chunk = actions[torch.randint(len(actions), (10,), generator=generator), step % 9]
            (states[0], expected), (states[1], clip) = (
                each.step(state, chunk) for each, state in zip((eager, engine), states, strict=True)
            )
            differs = (clip.tokens != expected.tokens).flatten(1)
            tokens, differing = tokens + differs.numel(), differing + int(differs.sum())
            clips, ever = clips + int(differs.any(dim=1).sum()), ever | differs.any(dim=1)
        loops += int(ever.sum())
    print(f"\n{differing} of {tokens} tokens differ, in {clips} of {ROLLOUTS * STEPS} clips of {loops} closed loops")
