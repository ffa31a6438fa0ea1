"""Measures many rows at once, forks and long runs; prints, asserts nothing: `make bench`."""

import resource
import time

import gymnasium
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import hwm_env
from tests.benchmarks.timing import NEEDS_BFLOAT16, matmul_flops_per_s, median_s

pytestmark = pytest.mark.benchmark

WORLDS = 64
LONG_LIFE = 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"obs_mode": "pixels"},
        {"obs_mode": "tokens"},
        pytest.param({"obs_mode": "tokens", "precision": "bfloat16"}, marks=NEEDS_BFLOAT16),
        {"obs_mode": "pixels", "strict": True},
        {"obs_mode": "pixels", "decoding_steps": 0},
        {"obs_mode": "tokens", "decoding_steps": 0},
    ],
    ids=lambda arguments: " ".join(f"{name}={value}" for name, value in arguments.items()),
)
def test_many_worlds_against_one(arguments: dict) -> None:
    """Compares rows stepped a second by make_vec with 64 rows and by a single environment, in turns.

    Operations a second are compared with those of a plain matrix product in float32.
    """
    env = gymnasium.make("HWM-v0", action_mode="hold", max_episode_steps=1000, **arguments)
    envs = gymnasium.make_vec("HWM-v0", num_envs=WORLDS, action_mode="hold", max_episode_steps=1000, **arguments)
    for each in (env, envs):
        each.reset(seed=0)
    env.step(env.action_space.sample())
    with FlopCounterMode(display=False) as counter:
        env.step(env.action_space.sample())
    one, many, matrix = [], [], []
    for _ in range(5):
        matrix.append(matmul_flops_per_s())
        one.append(median_s(lambda: env.step(env.action_space.sample()), 5))
        many.append(median_s(lambda: envs.step(envs.action_space.sample()), 1, warm_up=False))
    rates = 1 / np.median(one), WORLDS / np.median(many)
    shares = (rate * counter.get_total_flops() / np.median(matrix) for rate in rates)
    print(
        f"\n{arguments}: {rates[0]:.1f} and {rates[1]:.1f} worlds a second, {rates[1] / rates[0]:.1f} times as fast; "
        f"{', '.join(f'{share:.0%}' for share in shares)} of the rate of a matrix product"
    )


def test_states_with_and_without_pictures() -> None:
    """Compares 64 rows of make_vec that observe states, with tokens predicted and without, in turns."""
    arguments = {"num_envs": WORLDS, "obs_mode": "state", "action_mode": "hold", "max_episode_steps": 1000}
    rates: dict[bool, list[float]] = {True: [], False: []}
    made = {pictures: gymnasium.make_vec("HWM-v0", pictures=pictures, **arguments) for pictures in rates}
    for envs in made.values():
        envs.reset(seed=0)
    for _ in range(5):
        for pictures, envs in made.items():
            seconds = median_s(lambda envs=envs: envs.step(envs.action_space.sample()), 1 if pictures else 10)
            rates[pictures].append(WORLDS / seconds)
    painted, blind = (np.median(rates[pictures]) for pictures in (True, False))
    print(f"\nstates: {painted:.0f} worlds a second, {blind:.0f} without pictures, {blind / painted:.0f} times as many")


@pytest.mark.parametrize("history", ["window", "streaming"])
def test_forking_256_worlds_against_a_step_of_them(history: str) -> None:
    """Compares the time of forking with that of a step: one row times 256, which batching does not exceed."""
    simulator = hwm_env.WorldSimulator.from_pretrained(history=history)
    state, _ = simulator.step(simulator.reset([0], [0]), torch.zeros(1, 17, 25))
    fork_s = median_s(lambda: simulator.fork(state, 256), 50)
    seeded_s = median_s(lambda: simulator.fork(state, 256, range(256)), 50)
    one_s = median_s(lambda: simulator.step(state, torch.zeros(1, 17, 25)), 5)
    forks = simulator.fork(state, 32)
    many_s = 8 * median_s(lambda: simulator.step(forks, torch.zeros(32, 17, 25)), 2)
    print(
        f"\n{history}: fork of 256 worlds {fork_s * 1e6:.0f} us (own seeds {seeded_s * 1e6:.0f} us): "
        f"{seeded_s / one_s:.2%} of a step of one world, {seeded_s / many_s:.4%} of one of 256"
    )


def test_how_many_tokens_a_batch_rounds_differently() -> None:
    """Compares tokens of 64 rows in one batch with those of single rows over ten steps, not strict and strict."""
    for strict in (False, True):
        simulator = hwm_env.WorldSimulator.from_pretrained(history="streaming", strict=strict)
        actions = simulator.checkpoint.starts.actions
        together = simulator.reset(range(WORLDS), range(WORLDS))
        alone = [simulator.reset([world], [world]) for world in range(WORLDS)]
        tokens = differing = bits = 0
        for step in range(5 if strict else 10):
            together, batch = simulator.step(together, actions[:, step % 9])
            for world in range(WORLDS):
                alone[world], clip = simulator.step(alone[world], actions[world : world + 1, step % 9])
                differing += int((clip.tokens[0] != batch.tokens[world]).sum())
                bits += int((clip.log_prob[0] != batch.log_prob[world]).sum())
                tokens += clip.tokens.numel()
        print(f"\nstrict={strict}: {differing} of {tokens} tokens and {bits} log-probabilities differ")


def test_a_long_life() -> None:
    """Measures memory and time of 10,000 steps with resets in one process: both should stay constant."""
    env = gymnasium.make("HWM-v0", decoding_steps=1, history="streaming", action_mode="delta", normalized_actions=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    memory_mb, times_s = [], []
    for step in range(LONG_LIFE):
        began = time.perf_counter()
        if any(env.step(0.2 * env.action_space.sample())[2:4]):
            env.reset()
        times_s.append(time.perf_counter() - began)
        if step % 100 == 99:
            memory_mb.append(resident_mb())
    settled = np.array(memory_mb[10:])
    slope = np.polyfit(np.arange(len(settled)) * 100, settled, 1)[0] * 1000
    quarters = [np.median(part) * 1e3 for part in np.array_split(times_s, 4)]
    print(
        f"\n{LONG_LIFE} steps: memory {memory_mb[9]:.0f} MB after 1,000 steps and {memory_mb[-1]:.0f} MB at the end "
        f"(peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f}), slope {slope:+.3f} MB a 1,000 steps; "
        f"median step in each quarter {', '.join(f'{ms:.1f}' for ms in quarters)} ms"
    )


def resident_mb() -> float:
    """Returns the memory that this process uses now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
