"""Every wrapper of Gymnasium around single and many worlds: made, reset and stepped over the end of an episode.

What wrappers compute is their own business; here they must apply, show what their spaces say, and not fail.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.wrappers import vector as vector_wrappers

from tests.envs.conftest import MakeEnv

pytestmark = pytest.mark.slow

FAST = {"decoding_steps": 1, "task": "look-at"}
DRIVING = {"controls": ["linear_velocity", "angular_velocity"], "action_mode": "hold", "normalized_actions": True}

Wrap = Callable[[Any, Path], Any]
SINGLE: dict[str, tuple[dict[str, Any], Wrap]] = {
    "DelayObservation": ({}, lambda env, _: wrappers.DelayObservation(env, 1)),
    "DtypeObservation": ({}, lambda env, _: wrappers.DtypeObservation(env, np.float32)),
    "DiscretizeObservation": (
        {"obs_mode": "latents"},
        lambda env, _: wrappers.DiscretizeObservation(env, 2, multidiscrete=True),
    ),
    "FilterObservation": ({"obs_mode": "pixels_state"}, lambda env, _: wrappers.FilterObservation(env, ["pixels"])),
    "FlattenObservation": ({"obs_mode": "pixels_state"}, lambda env, _: wrappers.FlattenObservation(env)),
    "FrameStackObservation": ({"obs_mode": "pixels_state"}, lambda env, _: wrappers.FrameStackObservation(env, 2)),
    "GrayscaleObservation": ({}, lambda env, _: wrappers.GrayscaleObservation(env)),
    "TransformObservation": (
        {},
        lambda env, _: wrappers.TransformObservation(env, lambda seen: 255 - seen, env.observation_space),
    ),
    "MaxAndSkipObservation": ({}, lambda env, _: wrappers.MaxAndSkipObservation(env)),
    "NormalizeObservation": ({}, lambda env, _: wrappers.NormalizeObservation(env)),
    "AddRenderObservation": (
        {"obs_mode": "state", "render_mode": "rgb_array"},
        lambda env, _: wrappers.AddRenderObservation(env, render_only=False),
    ),
    "ResizeObservation": ({}, lambda env, _: wrappers.ResizeObservation(env, (32, 32))),
    "ReshapeObservation": ({}, lambda env, _: wrappers.ReshapeObservation(env, (64 * 64, 3))),
    "RescaleObservation": (
        {"obs_mode": "latents"},
        lambda env, _: wrappers.RescaleObservation(env, np.float32(0), np.float32(1)),
    ),
    "TimeAwareObservation": ({"obs_mode": "state"}, lambda env, _: wrappers.TimeAwareObservation(env)),
    "ClipAction": ({}, lambda env, _: wrappers.ClipAction(env)),
    "DiscretizeAction": (DRIVING, lambda env, _: wrappers.DiscretizeAction(env, 3)),
    "TransformAction": (
        DRIVING,
        lambda env, _: wrappers.TransformAction(env, lambda action: -action, env.action_space),
    ),
    "RescaleAction": ({}, lambda env, _: wrappers.RescaleAction(env, np.float32(-1), np.float32(1))),
    "StickyAction": ({}, lambda env, _: wrappers.StickyAction(env, 0.5)),
    "RepeatAction": ({}, lambda env, _: wrappers.RepeatAction(env, 2)),
    "ClipReward": ({}, lambda env, _: wrappers.ClipReward(env, -1, 1)),
    "TransformReward": ({}, lambda env, _: wrappers.TransformReward(env, lambda reward: 2 * reward)),
    "NormalizeReward": ({}, lambda env, _: wrappers.NormalizeReward(env)),
    "TimeLimit": ({}, lambda env, _: wrappers.TimeLimit(env, 2)),
    "Autoreset": ({}, lambda env, _: wrappers.Autoreset(env)),
    "PassiveEnvChecker": ({}, lambda env, _: wrappers.PassiveEnvChecker(env)),
    "OrderEnforcing": ({}, lambda env, _: wrappers.OrderEnforcing(env)),
    "RecordEpisodeStatistics": ({}, lambda env, _: wrappers.RecordEpisodeStatistics(env)),
    "AddWhiteNoise": (
        {"render_mode": "rgb_array"},
        lambda env, _: wrappers.AddWhiteNoise(env, probability_of_noise_per_pixel=0.1),
    ),
    "ObstructView": (
        {"render_mode": "rgb_array"},
        lambda env, _: wrappers.ObstructView(env, obstructed_pixels_ratio=0.1, obstruction_width=2),
    ),
    "RenderCollection": ({"render_mode": "rgb_array"}, lambda env, _: wrappers.RenderCollection(env)),
    "RecordVideo": ({"render_mode": "rgb_array"}, lambda env, path: wrappers.RecordVideo(env, str(path / "videos"))),
    "HumanRendering": ({"render_mode": "rgb_array"}, lambda env, _: wrappers.HumanRendering(env)),
    "ArrayConversion": ({}, lambda env, _: wrappers.ArrayConversion(env, np, torch)),
    "NumpyToTorch": ({}, lambda env, _: wrappers.NumpyToTorch(env)),
}
MANY: dict[str, tuple[dict[str, Any], Wrap]] = {
    "VectorizeTransformObservation": (
        {},
        lambda envs, _: vector_wrappers.VectorizeTransformObservation(
            envs, wrappers.ReshapeObservation, shape=(64 * 64, 3)
        ),
    ),
    "VectorizeTransformAction": (
        {},
        lambda envs, _: vector_wrappers.VectorizeTransformAction(envs, wrappers.ClipAction),
    ),
    "VectorizeTransformReward": (
        {},
        lambda envs, _: vector_wrappers.VectorizeTransformReward(
            envs, wrappers.TransformReward, func=lambda reward: 2 * reward
        ),
    ),
    "DictInfoToList": ({}, lambda envs, _: vector_wrappers.DictInfoToList(envs)),
    "TransformObservation": (
        {},
        lambda envs, _: vector_wrappers.TransformObservation(envs, lambda seen: 255 - seen, envs.observation_space),
    ),
    "FilterObservation": (
        {"obs_mode": "pixels_state"},
        lambda envs, _: vector_wrappers.FilterObservation(envs, ["pixels"]),
    ),
    "FlattenObservation": ({"obs_mode": "pixels_state"}, lambda envs, _: vector_wrappers.FlattenObservation(envs)),
    "GrayscaleObservation": ({}, lambda envs, _: vector_wrappers.GrayscaleObservation(envs)),
    "ResizeObservation": ({}, lambda envs, _: vector_wrappers.ResizeObservation(envs, (32, 32))),
    "ReshapeObservation": ({}, lambda envs, _: vector_wrappers.ReshapeObservation(envs, (64 * 64, 3))),
    "RescaleObservation": (
        {"obs_mode": "latents"},
        lambda envs, _: vector_wrappers.RescaleObservation(envs, np.float32(0), np.float32(1)),
    ),
    "DtypeObservation": ({}, lambda envs, _: vector_wrappers.DtypeObservation(envs, np.float32)),
    "NormalizeObservation": ({}, lambda envs, _: vector_wrappers.NormalizeObservation(envs)),
    "TransformAction": (
        DRIVING,
        lambda envs, _: vector_wrappers.TransformAction(envs, lambda action: -action, envs.action_space),
    ),
    "ClipAction": ({}, lambda envs, _: vector_wrappers.ClipAction(envs)),
    "RescaleAction": ({}, lambda envs, _: vector_wrappers.RescaleAction(envs, np.float32(-1), np.float32(1))),
    "TransformReward": ({}, lambda envs, _: vector_wrappers.TransformReward(envs, lambda reward: 2 * reward)),
    "ClipReward": ({}, lambda envs, _: vector_wrappers.ClipReward(envs, -1, 1)),
    "NormalizeReward": ({}, lambda envs, _: vector_wrappers.NormalizeReward(envs)),
    "RecordEpisodeStatistics": ({}, lambda envs, _: vector_wrappers.RecordEpisodeStatistics(envs)),
    "RecordVideo": (
        {"render_mode": "rgb_array"},
        lambda envs, path: vector_wrappers.RecordVideo(envs, str(path / "videos"), record_first_only=False),
    ),
    "HumanRendering": ({"render_mode": "rgb_array"}, lambda envs, _: vector_wrappers.HumanRendering(envs)),
}
NOT_FOR_MANY = {
    "ArrayConversion": "converts all infos, and cannot convert arrays of texts, such as readout_source",
    "NumpyToTorch": "the same",
}
NOT_FOR_US = {
    "AtariPreprocessing": "for the Arcade Learning Environment",
    "JaxToNumpy": "for environments that give arrays of JAX; these give NumPy's",
    "JaxToTorch": "for environments that give arrays of JAX; these give NumPy's",
}
NEEDS = {"RecordVideo": ["moviepy"], "HumanRendering": ["pygame", "cv2"], "ResizeObservation": ["cv2"]}
"""Packages that Gymnasium wants for a wrapper."""
NOT_IN_THE_SAME_STEP = {name for name in MANY if name.endswith("Observation")} | {"RecordVideo"}
"""Gymnasium refuses these, or warns, if rows begin an episode in the step in which their episode ends (SAME_STEP)."""
IN_TORCH = ("ArrayConversion", "NumpyToTorch")


@pytest.mark.parametrize(("module", "table"), [(wrappers, SINGLE), (vector_wrappers, {**MANY, **NOT_FOR_MANY})])
def test_no_wrapper_is_forgotten(module: Any, table: dict[str, Any]) -> None:
    assert set(module.__all__) - {"vector"} - set(NOT_FOR_US) == set(table)


def play(env: Any, name: str) -> None:
    """Two resets and four steps each, all of which are inside the spaces."""
    for _ in range(2):
        observation, _ = env.reset(seed=0)
        for _ in range(4):
            if name not in IN_TORCH:
                assert env.observation_space.contains(observation)
            action = env.action_space.sample()
            observation, reward, *_ = env.step(torch.as_tensor(action) if name in IN_TORCH else action)
            assert np.isfinite(np.asarray(reward)).all()
    env.close()


@pytest.fixture(autouse=True)
def packages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name = request.node.callspec.params.get("name")
    for package in NEEDS.get(name, []):
        pytest.importorskip(package)
    if name in IN_TORCH:
        pytest.importorskip("array_api_compat")
    if name == "HumanRendering":
        # It waits for half a second a frame, to show two a second.
        monkeypatch.setattr("pygame.time.Clock", lambda: SimpleNamespace(tick=lambda _: 0))


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize("name", SINGLE)
def test_single_worlds(make_env: MakeEnv, tmp_path: Path, name: str) -> None:
    arguments, wrap = SINGLE[name]
    env = make_env(**{**FAST, **arguments, "max_episode_steps": None if name == "TimeAwareObservation" else 3})
    play(wrap(env, tmp_path), name)


@pytest.fixture
def make_vec(tiny_checkpoint: Path) -> Callable[..., gymnasium.vector.VectorEnv]:
    return lambda **arguments: gymnasium.make_vec(
        "HWM-v0", num_envs=2, checkpoint=tiny_checkpoint, max_episode_steps=3, **{**FAST, **arguments}
    )


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, "NEXT_STEP") for name in MANY),
        *((name, "SAME_STEP") for name in MANY if name not in NOT_IN_THE_SAME_STEP),
    ],
)
def test_many_worlds(make_vec: Callable[..., Any], tmp_path: Path, name: str, mode: str) -> None:
    arguments, wrap = MANY[name]
    play(wrap(make_vec(autoreset_mode=mode, **arguments), tmp_path), name)
