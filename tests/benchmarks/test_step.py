"""How fast is a step of HWM-v0? Printed, not asserted: `make bench`."""

import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch

import hwm_env
from hwm_env.types import CLIP_DURATION_S

pytestmark = pytest.mark.benchmark

REPEATS = 15


def median_s(function: Callable[[], object]) -> float:
    """Median wall-clock time of a call, after a warm-up."""
    function()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@pytest.mark.parametrize("decoding_steps", [1, 2, 4, 8, 12])
def test_env_step_against_real_time(decoding_steps: int) -> None:
    """One env step, its frames included: a clip shows 0.567 s of robot time."""
    env = gymnasium.make("HWM-v0", decoding_steps=decoding_steps, obs_mode="pixels", max_steps=1000)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    step_s = median_s(lambda: env.step(action))
    ratio = CLIP_DURATION_S / step_s
    print(f"\nHWM-v0, K = {decoding_steps:>2}: {step_s * 1e3:6.1f} ms a step, {ratio:5.1f} x real time")


@pytest.mark.parametrize("decoding_steps", [4, 8])
def test_cached_history_against_recomputing_it(decoding_steps: int) -> None:
    """The same tokens from the same weights: the past once an env step, or all ten clips in each decoding step."""
    simulator = hwm_env.WorldSimulator.from_pretrained(decoding_steps=decoding_steps, temperature=0.0)
    model, state = simulator.model, simulator.reset([0], [0])
    chunk = torch.zeros(1, 17, 25)
    actions = state.actions.flatten(1, 2)
    hidden = torch.full((1, 1, *state.tokens.shape[2:]), model.config.mask_token)
    time_of_next = torch.tensor([state.tokens.shape[1]])

    @torch.no_grad()
    def naive() -> None:
        for _ in range(decoding_steps):
            model.predict(state.tokens, hidden, actions, chunk, time_of_next, parallel_targets=False)

    cached_s, naive_s = median_s(lambda: simulator.step(state, chunk)), median_s(naive)
    ratio = naive_s / cached_s
    times = f"cached {cached_s * 1e3:.0f} ms, naive {naive_s * 1e3:.0f} ms"
    print(f"\nK = {decoding_steps}: {times}, {ratio:.1f} times as fast")
