"""Arrays that an environment returns are copies or read-only: writing to them never changes it."""

import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load
from hwm_env.envs.sb3 import SB3VecEnv
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import EpisodeStart, Outcome
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint

TASKS = ["drive-to-target", "face-target", "look-at", "reach-cube", "goal-image"]


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Yields all arrays that can be reached from a value through containers, dataclasses and tasks' goals."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield value
    elif isinstance(value, np.ndarray | list | tuple):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))
    elif is_dataclass(value):
        yield from arrays_in([getattr(value, field.name) for field in fields(value)])


def spoil(value: Any) -> int:
    """Overwrites all writable arrays; returns the number of all arrays."""
    arrays = list(arrays_in(value))
    for array in arrays:
        if array.flags.writeable:
            array[...] = np.zeros_like(array) if array.dtype.kind in "USO" else 99
    return len(arrays)


def episode(make_env: MakeEnv, env_id: str, *, spoils: bool, **arguments: Any) -> list[str]:
    env = make_env(env_id, decoding_steps=1, render_mode="rgb_array", **arguments)
    env.action_space.seed(0)
    action = env.action_space.sample()
    seen, handed_out = [], list(env.reset(seed=0))
    seen.append(fingerprint(handed_out))
    for _ in range(3):
        inner = env.unwrapped
        moment = inner.moment
        state = inner.get_state()
        handed_out += [
            env.render(),
            inner.clip,
            moment.tokens,
            moment.latents,
            moment.measured,
            moment.frames,
            moment.last_frame,
            moment.readout,
            moment.readout.to_dict(),
            moment.pose_std,
            state.episode.goal,
            getattr(moment, "path", ()),
        ]
        if spoils:
            assert spoil(handed_out) > 10
            state.np_random.random(100)
        step = env.step(action.copy())
        seen.append(fingerprint(step))
        handed_out = list(step)
        inner.set_state(state)
        seen.append(fingerprint(env.step(action.copy())))
    seen.append(fingerprint(env.reset()))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_writing_to_what_was_handed_out_changes_nothing(make_env: MakeEnv, env_id: str, task: str) -> None:
    arguments = {"task": task, "obs_mode": "pixels_state"}
    untouched = episode(make_env, env_id, spoils=False, **arguments)
    assert episode(make_env, env_id, spoils=True, **arguments) == untouched


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "clip", "tokens", "latents", "state"])
def test_observations_of_every_mode_are_the_users_own(make_env: MakeEnv, env_id: str, obs_mode: str) -> None:
    arguments = {"task": None, "obs_mode": obs_mode}
    untouched = episode(make_env, env_id, spoils=False, **arguments)
    assert episode(make_env, env_id, spoils=True, **arguments) == untouched


class Careless:
    """A user's task whose goal returns the array that it uses itself."""

    name, needs_readout, option_names = "careless", False, ()

    def goal_space(self, image_size: int) -> gymnasium.spaces.Box:
        return gymnasium.spaces.Box(-100, 100, (2,), np.float32)

    def check_options(self, options: Any) -> None:
        pass

    def reset(self, episode: EpisodeStart) -> "Careless":
        self.target = np.ones(2, np.float32)
        return self

    def observe(self, moment: Any) -> np.ndarray:
        return self.target

    def describe(self) -> dict[str, Any]:
        return {"target": self.target, "more": {"target": self.target}}

    def evaluate(self, previous: Any, now: Any, elapsed_steps: int) -> Outcome:
        return Outcome({"reward": float(self.target.sum())}, success=False, terminated=False)


def test_a_careless_task_is_protected_too(make_env: MakeEnv) -> None:
    env = make_env(task=Careless(), obs_mode="state", decoding_steps=1)
    observation, info = env.reset(seed=0)
    for array in (observation["goal"], info["target"], info["more"]["target"]):
        array[:] = 99
    env.step(env.action_space.sample())[0]["goal"][:] = 99
    assert env.step(env.action_space.sample())[1] == 2.0


def vector_episode(envs: gymnasium.vector.VectorEnv, *, spoils: bool) -> list[str]:
    action = np.stack([envs.single_action_space.high] * 2)
    seen, handed_out = [], list(envs.reset(seed=0))
    seen.append(fingerprint(handed_out))
    for _ in range(3):
        inner = envs.unwrapped
        handed_out += [envs.render(), [moment.readout for moment in inner.moments], inner.get_state()]
        if spoils:
            assert spoil(handed_out) > 10
        handed_out = list(envs.step(action.copy()))
        seen.append(fingerprint([array.tobytes() for array in arrays_in(handed_out)]))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_many_worlds_hand_out_copies(tiny_checkpoint: Path, mode: str) -> None:
    played = []
    for spoils in (False, True):
        envs = gymnasium.make_vec(
            "HWM-v0",
            num_envs=2,
            checkpoint=tiny_checkpoint,
            task="look-at",
            obs_mode="pixels_state",
            render_mode="rgb_array",
            decoding_steps=1,
            autoreset_mode=mode,
            max_episode_steps=2,
        )
        played.append(vector_episode(envs, spoils=spoils))
        envs.close()
    assert played[0] == played[1]


def test_the_sb3_wrapper_keeps_a_copy_of_its_actions(tiny_checkpoint: Path) -> None:
    pytest.importorskip("stable_baselines3")
    envs = SB3VecEnv(
        gymnasium.make_vec(
            "HWM-v0", num_envs=2, checkpoint=tiny_checkpoint, decoding_steps=1, autoreset_mode="SAME_STEP"
        )
    )
    seen = []
    for spoils in (False, True):
        envs.seed(0)
        envs.reset()
        actions = np.stack([envs.action_space.high] * 2)
        envs.step_async(actions)
        actions[...] = 0 if spoils else actions
        seen.append(fingerprint(envs.step_wait()[0]))
    envs.close()
    assert seen[0] == seen[1]


def test_metadata_belongs_to_one_environment(make_env: MakeEnv) -> None:
    one, other = make_env().unwrapped, make_env().unwrapped
    one.metadata["render_fps"] = 1000
    one.metadata["render_modes"].clear()
    assert other.metadata == type(other).metadata
    assert other.metadata["render_fps"] == 2


def test_a_simulator_keeps_copies_of_the_history_it_is_given(tiny_checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, decoding_steps=1)
    starts = load(tiny_checkpoint).starts
    tokens, actions, poses = (part[:1].clone() for part in (starts.tokens, starts.actions, starts.poses))
    state = simulator.begin(tokens, actions, [3], poses=poses)
    before = simulator.step(state, actions[:, -1])[1].tokens
    chunk = actions[:, -1].clone()
    for given in (tokens, actions, poses):
        given.zero_()
    after, clip = simulator.step(state, chunk)
    assert torch.equal(clip.tokens, before)
    again = simulator.step(after, chunk)[1].tokens
    clip.tokens.zero_()
    assert torch.equal(simulator.step(after, chunk)[1].tokens, again)


def test_a_checkpoint_is_read_and_not_mapped(tiny_checkpoint: Path, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, directory)
    loaded, expected = load(directory), load(tiny_checkpoint)
    for file in directory.glob("*.safetensors"):
        size = file.stat().st_size
        with file.open("r+b") as content:
            content.write(b"\xff" * size)
    assert torch.equal(loaded.starts.tokens, expected.starts.tokens)
    assert torch.equal(loaded.starts.actions, expected.starts.actions)
    assert loaded.identity == expected.identity
    assert loaded.tokenizer.identity == expected.tokenizer.identity
    for file in directory.glob("*.safetensors"):
        file.write_bytes(b"")
    assert torch.equal(loaded.starts.poses, expected.starts.poses)


def test_statistics_cannot_be_written_to(tiny_checkpoint: Path) -> None:
    statistics = load(tiny_checkpoint).statistics
    for field in fields(statistics):
        with pytest.raises(ValueError, match="read-only"):
            getattr(statistics, field.name)[0] = 1
