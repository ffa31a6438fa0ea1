"""Fuzzes the Python interface: arguments, actions, seeds, options, states."""

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.wrappers import RepeatAction, StackFrames
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.simulator import WorldSimulator
from hwm_env.training.world_model.recipe import TrainingConfig
from tests.fuzz.values import VALUES, Rng, pick

Attempt = Callable[[], object]


class Worlds:
    """Environments and a simulator for the inputs, created when first needed."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def env(self) -> Any:
        env = gymnasium.make("HWM-v0", checkpoint=self.checkpoint, disable_env_checker=True).unwrapped
        env.reset(seed=0)
        return env

    @cached_property
    def envs(self) -> Any:
        envs = gymnasium.make_vec("HWM-v0", num_envs=2, checkpoint=self.checkpoint)
        envs.reset(seed=0)
        return envs

    @cached_property
    def simulator(self) -> WorldSimulator:
        return WorldSimulator.from_pretrained(self.checkpoint, history="streaming")


def make_arguments(rng: Rng, worlds: Worlds) -> Attempt:
    # Devices are another kind, and Gymnasium itself fails for invalid types of the render mode and its own limit.
    left_out = ("checkpoint", "device", "render_mode", "max_episode_steps")
    given = {pick(rng, [field.name for field in fields(EnvConfig) if field.name not in left_out]): pick(rng, VALUES)}
    if rng.integers(4):
        return lambda: gymnasium.make("HWM-v0", **{"checkpoint": worlds.checkpoint, **given}).close()
    return lambda: gymnasium.make_vec(
        "HWM-v0", **{"checkpoint": worlds.checkpoint, "num_envs": pick(rng, (1, 2.5, "2", True, 0, 10**9)), **given}
    ).close()


def other_arguments(rng: Rng, worlds: Worlds) -> Attempt:
    value = pick(rng, VALUES)
    name = pick(rng, [field.name for field in fields(MaskedHWMConfig)])
    recipe = pick(rng, [field.name for field in fields(TrainingConfig)])
    return pick(
        rng,
        (
            lambda: MaskedHWMConfig(**{name: value}),
            lambda: TrainingConfig(**{recipe: value}),
            lambda: gymnasium.make("HWM-v0", checkpoint=value),
            lambda: WorldSimulator.from_pretrained(value),
            lambda: WorldSimulator.from_pretrained(worlds.checkpoint, precision=value),
            lambda: WorldSimulator.from_pretrained(worlds.checkpoint, strict=value),
            lambda: WorldSimulator.from_pretrained(worlds.checkpoint, decoding_steps=value),
            lambda: WorldSimulator.from_pretrained(worlds.checkpoint, order=value),
            lambda: WorldSimulator(value),
            lambda: WorldSimulator(worlds.simulator.checkpoint, value),
            lambda: RepeatAction(worlds.env, value),
            lambda: StackFrames(worlds.env, value),
            lambda: StackFrames(worlds.env, stride=value),
        ),
    )


def actions(rng: Rng, worlds: Worlds) -> Attempt:
    odd = rng.normal(size=(17, 25)) * 10.0 ** rng.integers(-300, 300)
    odd.flat[int(rng.integers(odd.size))] = pick(rng, (np.nan, np.inf, 1e308, -1e308, 0.0))
    action = pick(rng, (*VALUES, odd, odd.astype(object), odd.astype(complex), odd.tolist(), odd.astype(str), odd[:16]))
    if rng.integers(2):
        return lambda: worlds.env.step(action)
    return lambda: worlds.envs.step(pick(rng, (action, [action, action], (action,), np.zeros((2, 17, 25)))))


def resets(rng: Rng, worlds: Worlds) -> Attempt:
    value, name = pick(rng, VALUES), pick(rng, ("start", "state", "target", "goal", "reset_mask", "per_world", 3))
    more = pick(
        rng, (value, [value, value], (value,), {name: value}, [{name: value}, {}], {"per_world": [value, None]})
    )
    env = worlds.env if rng.integers(2) else worlds.envs
    if rng.integers(2):
        return lambda: env.reset(seed=pick(rng, (value, [value, value], [0, value])))
    return lambda: env.reset(options=pick(rng, (value, {name: value}, {name: more}, more)))


def simulators(rng: Rng, worlds: Worlds) -> Attempt:
    simulator = worlds.simulator
    state, good = simulator.reset([0, 1], [0, 1]), torch.zeros(2, 17, 25)
    starts, value = simulator.checkpoint.starts, pick(rng, VALUES)
    return pick(
        rng,
        (
            lambda: simulator.reset(value, [0]),
            lambda: simulator.reset([value], [0]),
            lambda: simulator.reset([0], value),
            lambda: simulator.reset([0], [value]),
            lambda: simulator.step(state, value),
            lambda: simulator.step(value, good),
            lambda: simulator.step(state, good.to(pick(rng, (torch.complex64, torch.bool, torch.float16, torch.int8)))),
            lambda: simulator.fork(state, value),
            lambda: simulator.fork(state, 2, value),
            lambda: simulator.begin(value, starts.actions[:1], [0]),
            lambda: simulator.begin(starts.tokens[:1], value, [0]),
            lambda: simulator.begin(starts.tokens[:1], starts.actions[:1], [0], poses=value),
            lambda: simulator.begin(starts.tokens[:1].long() + 2**32, starts.actions[:1], [0]),
            lambda: simulator.begin(starts.tokens[:1] - 70_000, starts.actions[:1], [0]),
        ),
    )


def states(rng: Rng, worlds: Worlds) -> Attempt:
    env, envs = worlds.env, worlds.envs
    before = copy.deepcopy((env.get_state(), envs.get_state()))

    def attempt() -> None:
        state = _tampered(rng, before[0])
        try:
            if rng.integers(2):
                env.set_state(state)
            else:
                envs.set_state(pick(rng, ([state, state], (state,), state)))
            env.step(env.action_space.sample())
            envs.step(envs.action_space.sample())
        finally:
            env.set_state(before[0])
            envs.set_state(before[1])

    return attempt


def simulator_states(rng: Rng, worlds: Worlds) -> Attempt:
    simulator = worlds.simulator
    return lambda: simulator.step(_tampered(rng, simulator.reset([0, 1], [0, 1])), torch.zeros(2, 17, 25))


def _tampered(rng: Rng, state: Any) -> Any:
    """Returns a state with one part, at any depth, replaced."""
    names = [field.name for field in fields(state)]
    name = pick(rng, names)
    inner = getattr(state, name)
    if is_dataclass(inner) and rng.integers(3):
        return replace(state, **{name: _tampered(rng, inner)})
    if isinstance(inner, torch.Tensor) and rng.integers(2):
        options = (
            inner[:1],
            inner[..., :1],
            inner.double() * float("nan"),
            inner.bool(),
            inner.long() + 2**32,
            -inner - 1,
        )
        return replace(state, **{name: pick(rng, options)})
    return replace(state, **{name: pick(rng, VALUES)})


KINDS = {
    "make": make_arguments,
    "other arguments": other_arguments,
    "actions": actions,
    "resets": resets,
    "simulators": simulators,
    "states": states,
    "simulator states": simulator_states,
}
