"""Training with Stable-Baselines3 on a task that is learned quickly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import load_policies

pytest.importorskip("stable_baselines3")

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


def test_a_run_has_its_seed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    small = {"steps": 128, "num_envs": 4, "max_steps": 5, "decoding_steps": 1}
    runs = [run_of(tiny_checkpoint, tmp_path / "some.zip", seed=seed, **small) for seed in (0, 0, 1)]
    curves = [train(run).episodes for run in runs]
    assert curves[0] == curves[1] != curves[2]


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
