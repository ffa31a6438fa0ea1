"""Measures env steps of HWM-v0; prints, asserts nothing: `make bench`."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

import hwm_env
from hwm_env.checkpoint import load
from hwm_env.types import CLIP_DURATION_S
from tests.benchmarks.timing import median_s

pytestmark = pytest.mark.benchmark

REPEATS = 15


@pytest.mark.parametrize("decoding_steps", [0, 1, 2, 4, 8, 12])
def test_env_step_against_real_time(decoding_steps: int) -> None:
    """Measures an env step with its frames, which cover 0.567 s of robot time."""
    env = gymnasium.make("HWM-v0", decoding_steps=decoding_steps, obs_mode="pixels", max_episode_steps=1000)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    step_s = median_s(lambda: env.step(action), REPEATS)
    ratio = CLIP_DURATION_S / step_s
    print(f"\nHWM-v0, K = {decoding_steps:>2}: {step_s * 1e3:6.1f} ms a step, {ratio:5.1f} x real time")


@pytest.mark.parametrize("worlds", [1, 16])
def test_streaming_history_against_an_encoded_window(worlds: int) -> None:
    """Measures steps of the simulator without frames, as planners take them."""
    times = {}
    for history in ("window", "streaming"):
        simulator = hwm_env.WorldSimulator.from_pretrained(history=history)
        state = simulator.reset([0] * worlds, range(worlds))
        times[history] = median_s(lambda s=simulator, state=state: s.step(state, torch.zeros(worlds, 17, 25)), REPEATS)
    milliseconds = ", ".join(f"{history} {seconds * 1e3:.0f} ms" for history, seconds in times.items())
    print(f"\n{worlds} worlds: {milliseconds}, {times['window'] / times['streaming']:.1f} times as fast")


def test_a_world_with_a_scene_against_the_same_without() -> None:
    """Measures steps with all frames, with the settings of room-64 and without its scene at K = 4; then resets."""
    shipped = load("room-64")
    before = replace(shipped, scene=None, decoding=replace(shipped.decoding, steps=4, temperature=0.5))
    with_scene, without = hwm_env.WorldSimulator(shipped), hwm_env.WorldSimulator(before)
    tokens, actions = shipped.starts.tokens[5:6], shipped.starts.actions[5:6]
    milliseconds: dict[str, float] = {}
    still = torch.zeros(1, 17, 25)
    for name, simulator in (("with", with_scene), ("without", without)):
        state = simulator.reset([5], [0])
        milliseconds[f"step {name}"] = 1e3 * median_s(lambda s=simulator, x=state: s.step(x, still)[1].frames, REPEATS)
        milliseconds[f"reset {name}"] = 1e3 * median_s(lambda s=simulator: s.reset([5], [0]), REPEATS)
        milliseconds[f"new clips {name}"] = 1e3 * median_s(lambda s=simulator: s.begin(tokens, actions, [0]), 5)
    ratio = milliseconds["step with"] / milliseconds["step without"]
    print("\n" + ", ".join(f"{name} {value:.0f} ms" for name, value in milliseconds.items()), f"- a step: {ratio:.2f}")
