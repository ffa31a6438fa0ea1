"""Users' tasks, and worlds without read-outs."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from hwm_env.checkpoint import load, save
from hwm_env.errors import CheckpointError
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, known
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import rollout


class LookEast:
    """A user's task, which is its own goal, since all its episodes are alike."""

    name = "look-east"
    needs_readout = True
    option_names = ()

    def goal_space(self, image_size: int) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def check_options(self, options: Mapping[str, Any]) -> None:
        assert not options

    def reset(self, episode: EpisodeStart) -> "LookEast":
        return self

    def observe(self, moment: TaskView) -> np.ndarray:
        return np.array([np.cos(known(moment).base_yaw_rad)], np.float32)

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        terms = {"before": np.cos(known(previous).base_yaw_rad), "after": np.cos(known(now).base_yaw_rad)}
        return Outcome(terms, success=True, terminated=elapsed_steps == 2)

    def describe(self) -> dict[str, Any]:
        return {"direction": "east"}


def test_a_task_object_is_taken(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task=LookEast(), obs_mode="pixels_state")
    first, second, third = rollout(env, seed=0, steps=2)
    assert first[-1]["direction"] == "east"
    for before, after in ((first, second), (second, third)):
        yaws = [step[-1]["base_pose"][2] for step in (before, after)]
        assert after[1] == pytest.approx(np.cos(yaws).sum(), abs=1e-5)
        assert type(after[1]) is float
        assert after[0]["goal"] == pytest.approx(np.cos(yaws[1]), abs=1e-5)
        assert after[-1]["is_success"]
    assert [step[2] for step in (first, second, third)] == [False, False, True]


def without(part: str, checkpoint: Path, directory: Path) -> str:
    loaded = load(checkpoint)
    if part == "poses":
        save(dataclasses.replace(loaded, starts=dataclasses.replace(loaded.starts, poses=None)), directory)
    else:
        save(dataclasses.replace(loaded, readout=None), directory)
    return str(directory)


def test_a_task_needs_a_readout(make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path) -> None:
    blind = without("readout", tiny_checkpoint, tmp_path)
    with pytest.raises(CheckpointError, match=r"which this checkpoint lacks.*train-readout.*task=None"):
        make_env(checkpoint=blind)
    env = make_env(checkpoint=blind, task=None)
    assert "base_pose" not in rollout(env, seed=0, steps=1)[-1][-1]


def test_starts_without_poses_are_read_out(make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path) -> None:
    lost = without("poses", tiny_checkpoint, tmp_path)
    info = make_env(checkpoint=lost).reset(seed=0, options={"start": 1})[1]
    loaded = load(tiny_checkpoint)
    expected = loaded.readout.read(loaded.starts.tokens[1:2, -1])[0, :3].numpy()
    np.testing.assert_allclose(info["base_pose"], expected, rtol=1e-6)
    with pytest.raises(CheckpointError, match="no poses"):
        make_env("HWMReference-v0", checkpoint=lost)
