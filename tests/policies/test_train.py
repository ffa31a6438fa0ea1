"""Training with Stable-Baselines3 on a task that is learned quickly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import load_policies

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO

from policies.train import TrainingRun, train

pytestmark = pytest.mark.slow


def run_of(checkpoint: Path, out: Path, **arguments: Any) -> TrainingRun:
    return TrainingRun(out=out, checkpoint=str(checkpoint), **arguments)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_trained_policy_can_be_loaded_with_its_curve(tiny_checkpoint: Path, tmp_path: Path, algo: Any) -> None:
    run = run_of(
        tiny_checkpoint, tmp_path / "new" / "some.zip", algo=algo, steps=256, num_envs=4, max_steps=5, decoding_steps=1
    )
    curve = train(run)
    (policy,) = load_policies(str(run.out), "face-target")
    assert policy.interface.controls == ["linear_velocity", "angular_velocity"]
    observation = {"state": np.zeros(25, np.float32), "goal": np.array([0, 1, 0.5], np.float32)}
    assert policy.act([observation]).shape == (1, 2)
    kept = json.loads(run.out.with_suffix(".json").read_text())
    assert kept["episodes"] == curve.episodes
    assert kept["run"]["algo"] == algo
    assert sum(episode["length"] for episode in curve.episodes) > 256 - 4 * 5
    assert max(episode["length"] for episode in curve.episodes) <= 5
    assert all(episode["steps"] <= 256 for episode in curve.episodes)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_policy_can_see_pictures_alone(tiny_checkpoint: Path, tmp_path: Path, algo: Any) -> None:
    small: dict[str, Any] = {"steps": 128, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    run = run_of(tiny_checkpoint, tmp_path / "some.zip", algo=algo, task="face-target:door", observes="pixels", **small)
    train(run)
    (policy,) = load_policies(str(run.out), run.task)
    assert policy.interface.obs_mode == "pixels"
    assert policy.act([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 2)


def test_a_run_has_its_seed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    small = {"steps": 128, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    runs = [run_of(tiny_checkpoint, tmp_path / "some.zip", seed=seed, **small) for seed in (0, 0, 1)]
    curves = [train(run).episodes for run in runs]
    assert curves[0] == curves[1] != curves[2]


def test_policies_are_kept_on_the_way(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """One after each rollout of 4 x 32 env steps that reaches the next multiple of 100, and the last one."""
    small: dict[str, Any] = {"steps": 384, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    train(run_of(tiny_checkpoint, tmp_path / "whole.zip", keep_every=100, **small))
    policies = json.loads((tmp_path / "whole.json").read_text())["policies"]
    assert [policy["file"] for policy in policies] == ["whole-128.zip", "whole-256.zip", "whole.zip"]
    assert [policy["steps"] for policy in policies] == [128, 256, 384]
    for name in ("wall_seconds", "cpu_seconds"):
        seconds = [policy[name] for policy in policies]
        assert 0 < seconds[0] < seconds[1] < seconds[2]
    # Training for 256 env steps gives the policy that was kept after them.
    train(run_of(tiny_checkpoint, tmp_path / "part.zip", **{**small, "steps": 256}))
    assert_equal_policies(tmp_path / "whole-256.zip", tmp_path / "part.zip")


def test_a_policy_can_be_trained_further(tiny_checkpoint: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"steps": 128, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    initial, out = tmp_path / "initial.zip", tmp_path / "further.zip"
    train(run_of(tiny_checkpoint, initial, **small))
    before = PPO.load(initial, device="cpu")
    curve = train(run_of(tiny_checkpoint, out, initial=initial, seed=1, **small))
    after = PPO.load(out, device="cpu")
    assert (after.seed, after.num_timesteps) == (1, 128)
    steps = [model.policy.optimizer.state_dict()["state"][0]["step"].item() for model in (before, after)]
    assert steps[1] == 2 * steps[0] > 0
    assert all(episode["steps"] <= 128 for episode in curve.episodes)
    assert json.loads(out.with_suffix(".json").read_text())["run"]["initial"] == "initial.zip"


def test_a_policy_of_other_actions_cannot_be_trained_further(tiny_checkpoint: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"steps": 128, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    initial = tmp_path / "initial.zip"
    with pytest.raises(InvalidInputError, match=r"expected a file .*initial\.zip"):
        train(run_of(tiny_checkpoint, tmp_path / "some.zip", initial=initial, **small))
    train(run_of(tiny_checkpoint, initial, **small))
    for arguments in ({"task": "reach-cube"}, {"algo": "sac"}):
        with pytest.raises(InvalidInputError, match=r"initial\.zip cannot be continued with"):
            train(run_of(tiny_checkpoint, tmp_path / "some.zip", initial=initial, **small, **arguments))
    assert not (tmp_path / "some.zip").exists()


def assert_equal_policies(one: Path, other: Path) -> None:
    first, second = (PPO.load(path, device="cpu").policy.state_dict() for path in (one, other))
    for name, weight in first.items():
        assert weight.equal(second[name]), name


def test_facing_is_learned_in_the_reference_world(tmp_path: Path) -> None:
    """Random driving faces the target in a tenth of the episodes."""
    from hwm_env.reference.rendering import can_render

    if not can_render():
        pytest.skip("needs OpenGL")
    curve = train(TrainingRun(out=tmp_path / "some.zip", env="HWMReference-v0", steps=3072))
    assert np.mean([episode["success"] for episode in curve.episodes[-40:]]) > 0.8


def test_out_must_be_a_zip(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"out must end in \.zip"):
        train(TrainingRun(out=tmp_path / "some"))
