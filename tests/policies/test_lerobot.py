"""Policies with LeRobot's interface: what they receive, what is played, and which ones are refused."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from hwm_env.cli import main
from hwm_env.errors import InvalidInputError, MissingExtraError
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.reference.rendering import can_render
from policies.lerobot import LeRobotPolicy, fitted
from tests.policies.lerobot_stand_in import (
    HEAD,
    MEAN,
    SCALE,
    StandIn,
    expected_chunk,
    features,
    postprocess,
    preprocess,
)

NEEDS_RENDERING = pytest.mark.skipif(not can_render(), reason="MuJoCo cannot make an OpenGL context on this machine")


def wrapped(network: StandIn) -> LeRobotPolicy:
    return LeRobotPolicy("stand-in", network, preprocess, postprocess, "drive to target")


def observations(count: int, size: int = 64, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "state": rng.uniform(-1, 1, 25).astype(np.float32),
            "pixels": rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            "goal": rng.uniform(-1, 1, 3).astype(np.float32),
        }
        for _ in range(count)
    ]


def test_what_a_policy_receives_and_what_is_played() -> None:
    network = StandIn()
    policy = wrapped(network)
    assert policy.interface.obs_mode == "pixels_state"
    assert policy.interface.action_mode == "chunk"
    seen = observations(3)
    policy.reset([0, 1, 2])
    chunks = policy.act(seen)
    assert chunks.dtype == np.float32
    np.testing.assert_allclose(chunks, [expected_chunk(one["state"]) for one in seen], atol=1e-6)
    assert network.resets == len(network.batches) == 3
    for observation, batch in zip(seen, network.batches, strict=True):
        assert batch.keys() == {"observation.state", HEAD, "task", "robot_type"}
        assert batch["task"] == ["drive to target"]
        state = (observation["state"].astype(np.float64) - MEAN) / SCALE
        np.testing.assert_allclose(batch["observation.state"], state[None], atol=1e-6)
        image = batch[HEAD]
        assert (tuple(image.shape), image.dtype) == ((1, 3, 48, 64), torch.float32)
        resized = Image.fromarray(observation["pixels"]).resize((48, 48), Image.Resampling.BILINEAR)
        inside = np.asarray(resized, np.float64).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image[0, :, :, 8:56], inside, atol=1.5 / 255)
        assert not image[..., :8].any()
        assert not image[..., 56:].any()


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (97, 64)])
def test_images_of_the_right_size_are_not_changed(size: tuple[int, int]) -> None:
    (observation,) = observations(1)
    image = fitted(observation["pixels"], size)[0].permute(1, 2, 0) * 255
    top, left = (size[0] - 64) // 2, (size[1] - 64) // 2
    np.testing.assert_allclose(image[top : top + 64, left : left + 64], observation["pixels"], atol=1e-4)
    assert image.sum() == pytest.approx(observation["pixels"].sum(), rel=1e-5)


def test_a_short_chunk_is_continued_by_its_last_action() -> None:
    policy = wrapped(StandIn(chunk_size=5))
    policy.reset([0])
    (observation,) = observations(1)
    expected = expected_chunk(observation["state"], chunk_size=5)
    np.testing.assert_allclose(policy.act([observation])[0], expected, atol=1e-6)


def test_noise_is_that_of_the_row_and_the_step() -> None:
    policy = wrapped(StandIn(noise=0.1))
    seen = observations(3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    policy.reset([7, 8, 9])
    together = [policy.act(seen), policy.act(seen)]
    assert torch.equal(torch.get_rng_state(), before)
    assert np.abs(together[0] - together[1]).max() > 0.01
    for row in range(3):
        policy.reset([7 + row])
        for step in range(2):
            np.testing.assert_array_equal(policy.act([seen[row]])[0], together[step][row])
    policy.reset([7, 7])
    same = policy.act([seen[0], seen[0]])
    np.testing.assert_array_equal(same[0], same[1])


def test_a_goal_is_given_to_those_who_want_it() -> None:
    network = StandIn(input_features=features(observation__state=(25,), observation__environment_state=(3,)))
    policy = wrapped(network)
    assert policy.interface.obs_mode == "state"
    policy.reset([0])
    (observation,) = observations(1)
    policy.act([observation])
    np.testing.assert_array_equal(network.batches[0]["observation.environment_state"][0], observation["goal"])
    with pytest.raises(InvalidInputError, match=r"goal \(observation.environment_state\) has shape \(3,\), got \(0,\)"):
        policy.act([{"state": observation["state"]}])


def test_cameras_that_a_policy_only_pretends_to_have_are_ignored() -> None:
    inputs = features(
        observation__state=(25,),
        observation__images__top=(3, 64, 64),
        observation__images__empty_camera_0=(3, 480, 640),
    )
    network = StandIn(input_features=inputs)
    policy = wrapped(network)
    policy.reset([0])
    policy.act(observations(1))
    assert {key for key in network.batches[0] if "image" in key} == {"observation.images.top"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_features": features(action=(7, 2))}, r"stand-in: .* action has shape \(J,\), got \(7, 2\)"),
        ({"output_features": None}, "got None"),
        ({"n_obs_steps": 2}, "n_obs_steps must be 1, got 2"),
        ({"input_features": {}}, "expected inputs observation.state.*, got none"),
        ({"input_features": features(observation__depth=(1, 8, 8))}, "got observation.depth"),
        (
            {"input_features": features(observation__images__left=(3, 8, 8), observation__images__right=(3, 8, 8))},
            "with one camera, got observation.images.left, observation.images.right",
        ),
    ],
)
def test_policies_with_other_inputs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        wrapped(StandIn(**changes))


def test_a_policy_for_another_robot_is_refused() -> None:
    policy = wrapped(StandIn(input_features=features(observation__state=(6,))))
    policy.reset([0])
    with pytest.raises(InvalidInputError, match=r"robot whose observation.state has shape \(6,\), got \(25,\)"):
        policy.act(observations(1))


def test_a_chunk_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = StandIn()
    monkeypatch.setattr(network, "predict_action_chunk", lambda batch: batch["observation.state"])
    policy = wrapped(network)
    policy.reset([0])
    with pytest.raises(InvalidInputError, match=r"expected a chunk of actions \[1, N, 25\], got \(1, 25\)"):
        policy.act(observations(1))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """Puts a stand-in for the library into its place, and returns the policies that it loads."""
    made: list[StandIn] = []

    def load(path: str, *, config: Any) -> StandIn:
        assert config.path == path
        made.append(StandIn())
        return made[-1]

    def processors(config: Any, pretrained_path: str, *, preprocessor_overrides: dict[str, Any]) -> Any:
        assert config.path == pretrained_path
        assert preprocessor_overrides == {"device_processor": {"device": "cpu"}}
        return preprocess, postprocess

    def class_of(kind: str) -> Any:
        assert kind == "stand-in"
        return SimpleNamespace(from_pretrained=load)

    configs, factory = ModuleType("lerobot.configs.policies"), ModuleType("lerobot.policies.factory")
    configs.PreTrainedConfig = SimpleNamespace(  # type: ignore[attr-defined]
        from_pretrained=lambda path: SimpleNamespace(path=path, type="stand-in", device="cpu")
    )
    factory.get_policy_class = class_of  # type: ignore[attr-defined]
    factory.make_pre_post_processors = processors  # type: ignore[attr-defined]
    for name, module in {"lerobot.configs.policies": configs, "lerobot.policies.factory": factory}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("lerobot", "lerobot.configs", "lerobot.policies"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return made


@pytest.mark.slow
@NEEDS_RENDERING
@pytest.mark.parametrize("world", ["HWM-v0", "HWMReference-v0"])
def test_both_worlds_play_the_chunk(tiny_checkpoint: Path, library: list[StandIn], world: str) -> None:
    (policy,) = load_policies("policies.lerobot:policy@some/act", "face-target")
    assert policy.name == "some/act"
    arguments = {"checkpoint": str(tiny_checkpoint), "decoding_steps": 1, "task": "face-target"}
    with gymnasium.make(world, **arguments, obs_mode="pixels_state", action_mode="chunk") as env:
        observation, _ = env.reset(seed=3)
        policy.reset([3])
        for _ in range(2):
            chunk = policy.act([observation])[0]
            np.testing.assert_allclose(chunk, expected_chunk(observation["state"]), atol=1e-6)
            observation, *_ = env.step(chunk)
            inside = np.clip(chunk[-1], env.action_space.low[-1], env.action_space.high[-1])
            np.testing.assert_allclose(observation["state"][0], inside[0], atol=1e-5)
        assert library[0].batches[-1]["task"] == ["face target"]


@pytest.mark.slow
@NEEDS_RENDERING
def test_the_command_evaluates_it_in_both_worlds(tiny_checkpoint: Path, library: list[StandIn], tmp_path: Path) -> None:
    argv = ["evaluate", "policies.lerobot:policy@some/act", "--checkpoint", str(tiny_checkpoint), "--starts", "2"]
    file = tmp_path / "report.json"
    assert main([*argv, "--tasks", "face-target", "--max-steps", "2", "--out", str(tmp_path), "--json", str(file)]) == 0
    (of_policy,) = json.loads(file.read_text(encoding="utf-8"))["tasks"]["face-target"]["policies"]
    assert of_policy["name"] == "some/act"
    assert {"true", "learned"} <= of_policy.keys()
    assert sum(len(network.batches) for network in library) >= 2 * 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_equals_the_loop_of_the_library_itself(tmp_path: Path) -> None:
    """Needs LeRobot: a small ACT with random weights, saved and loaded, and LeRobot's own function for one action."""
    factory = pytest.importorskip("lerobot.policies.factory")
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.utils.control_utils import predict_action

    config = factory.make_policy_config(
        "act",
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (25,)),
            HEAD: PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (25,))},
        device="cpu",
        chunk_size=20,
        n_action_steps=17,
        dim_model=32,
        n_heads=4,
        dim_feedforward=64,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        pretrained_backbone_weights=None,
    )
    statistics = {
        "observation.state": {"mean": torch.full((25,), 0.1), "std": torch.full((25,), 0.5)},
        HEAD: {"mean": torch.full((3, 1, 1), 0.4), "std": torch.full((3, 1, 1), 0.2)},
        "action": {"mean": torch.linspace(-1, 1, 25), "std": torch.full((25,), 0.3)},
    }
    act = factory.get_policy_class("act")(config).eval()
    processors = factory.make_pre_post_processors(config, dataset_stats=statistics)
    for part in (act, *processors):
        part.save_pretrained(tmp_path)
    (policy,) = load_policies(f"policies.lerobot:policy@{tmp_path}", "face-target")
    policy.reset([0])
    (seen,) = observations(1)
    (chunk,) = policy.act([seen])
    act.reset()
    for action in chunk:
        observation = {"observation.state": seen["state"].copy(), HEAD: seen["pixels"].copy()}
        expected = predict_action(observation, act, torch.device("cpu"), *processors, use_amp=False, task="face target")
        np.testing.assert_array_equal(action, expected[0].numpy())


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot.configs.policies", None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'lerobot>=0\.4'"):
        load_policies("policies.lerobot:policy@some/act", "face-target")
