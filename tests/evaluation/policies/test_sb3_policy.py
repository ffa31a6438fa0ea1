"""Zips of Stable-Baselines3 as policies, against what the model itself predicts."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.evaluation.policies.sb3_policy import FAMILY_ATTRIBUTE, INTERFACE_ATTRIBUTE, SB3Policy
from hwm_env.policy import Interface

stable_baselines3 = pytest.importorskip("stable_baselines3")


def make(checkpoint: Path, **arguments: Any) -> gymnasium.Env:
    return gymnasium.make("HWM-v0", checkpoint=str(checkpoint), decoding_steps=1, **arguments)


def saved(model: Any, path: Path, **interface: Any) -> Path:
    if interface:
        setattr(model, INTERFACE_ATTRIBUTE, interface)
    model.save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "SAC", "TD3"])
@pytest.mark.parametrize(
    ("policy", "interface"),
    [
        ("MultiInputPolicy", {"obs_mode": "state", "action_mode": "hold", "controls": ["angular_velocity"]}),
        ("CnnPolicy", {"obs_mode": "pixels", "action_mode": "delta", "normalized_actions": True}),
    ],
)
def test_a_zip_acts_as_the_model_that_was_saved(
    tiny_checkpoint: Path, tmp_path: Path, algorithm: str, policy: str, interface: dict[str, Any]
) -> None:
    env = make(tiny_checkpoint, task="face-target", **interface)
    more = {} if algorithm in ("PPO", "A2C") else {"buffer_size": 10}
    model = getattr(stable_baselines3, algorithm)(policy, env, seed=0, **more)
    (loaded,) = load_policies(str(saved(model, tmp_path / "some.zip", **interface)), "face-target")
    assert loaded.interface == Interface(**interface)
    assert loaded.name == str(tmp_path / "some")
    observations = [env.reset(seed=seed)[0] for seed in range(3)]
    loaded.reset([0, 1, 2])
    expected = [model.predict(observation, deterministic=True)[0] for observation in observations]
    np.testing.assert_allclose(loaded.act(observations), np.stack(expected), atol=1e-6)
    assert np.ptp(loaded.act(observations), axis=0).max() > 1e-6
    env.step(loaded.act(observations)[2])


@pytest.mark.parametrize(
    "interface",
    [
        {"obs_mode": "pixels", "image_size": 48, "action_mode": "hold"},
        {"obs_mode": "pixels_state", "image_size": 48, "action_mode": "delta"},
        {"obs_mode": "state", "action_mode": "chunk", "normalized_actions": True},
    ],
)
def test_what_a_policy_sees_and_sends_shows_in_its_spaces(
    tiny_checkpoint: Path, tmp_path: Path, interface: dict[str, Any]
) -> None:
    policy = "CnnPolicy" if interface["obs_mode"] == "pixels" else "MultiInputPolicy"
    model = stable_baselines3.PPO(policy, make(tiny_checkpoint, task=None, **interface), n_steps=2, batch_size=2)
    assert SB3Policy(saved(model, tmp_path / "some.zip")).interface == Interface(**interface)


def test_the_checkpoints_of_a_run_can_share_a_family(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = stable_baselines3.PPO("MultiInputPolicy", make(tiny_checkpoint, task=None, obs_mode="state"))
    assert SB3Policy(saved(model, tmp_path / "alone.zip")).family == str(tmp_path / "alone")
    setattr(model, FAMILY_ATTRIBUTE, "run 0")
    assert SB3Policy(saved(model, tmp_path / "some.zip")).family == "run 0"


def test_a_policy_may_see_less_than_there_is(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Cloned policies have no goal."""
    model = stable_baselines3.PPO("MultiInputPolicy", make(tiny_checkpoint, task=None, obs_mode="state"))
    policy = SB3Policy(saved(model, tmp_path / "some.zip"))
    observation = make(tiny_checkpoint, task="face-target", obs_mode="state").reset(seed=0)[0]
    without = {"state": observation["state"]}
    np.testing.assert_array_equal(policy.act([observation]), policy.act([without]))


def test_hold_and_delta_cannot_be_inferred_from_spaces(tiny_checkpoint: Path, tmp_path: Path) -> None:
    env = make(tiny_checkpoint, task=None, obs_mode="state", action_mode="hold", normalized_actions=True)
    path = saved(stable_baselines3.PPO("MultiInputPolicy", env), tmp_path / "some.zip")
    with pytest.raises(InvalidInputError, match=r"set model\.hwm_interface"):
        load_policies(str(path), "face-target")
    interface = Interface(obs_mode="state", action_mode="hold", normalized_actions=True)
    assert SB3Policy(path, interface).interface == interface


def test_a_policy_of_another_environment_is_refused(tmp_path: Path) -> None:
    path = saved(stable_baselines3.PPO("MlpPolicy", "Pendulum-v1"), tmp_path / "pendulum.zip")
    with pytest.raises(InvalidInputError, match=r"for HWM-v0, with actions of 25 or 17 x 25 numbers, got one for Box"):
        load_policies(str(path), "face-target")


def test_observations_of_another_task_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    interface = {"obs_mode": "state", "action_mode": "hold"}
    model = stable_baselines3.PPO("MultiInputPolicy", make(tiny_checkpoint, task="face-target", **interface))
    policy = SB3Policy(saved(model, tmp_path / "some.zip"))
    with make(tiny_checkpoint, task="reach-cube", **interface) as env, pytest.raises(InvalidInputError) as caught:
        policy.act([env.reset(seed=0)[0]])
    assert "was trained on observations {'goal': (3,), 'state': (25,)}" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"no zip", "zip"])
def test_files_that_are_no_models_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "some.zip"
    if content == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data", "{}")
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"found nothing|not a model saved by Stable-Baselines3"):
        load_policies(str(path), "face-target")
