"""A scene as the simulator uses it: the path of the next clip, its prior, and the carried pose."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.scene.model import KEYFRAMES
from hwm_env.scene.pose import integrate_wheels
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.scene import Scene, SceneUse
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY
from tests.scene.scenes import CAMERA, CONFIG, make_model, make_scene

NAN = torch.full((3,), torch.nan)


def wheels(batch: int, seed: int = 0) -> Tensor:
    chunk = torch.randn(batch, 17, 25, generator=torch.Generator().manual_seed(seed))
    chunk[..., LINEAR_VELOCITY] = 1.0
    return chunk


def test_unknown_poses_have_no_path_and_no_weight() -> None:
    scene, chunk = make_scene(history_weights=(0.5,)), wheels(3)
    belief = PoseBelief.certain(torch.stack([torch.tensor([0.5, 0.0, 3.0]), NAN, torch.tensor([0.0, torch.nan, 1.0])]))
    path = scene.path(belief, chunk)
    torch.testing.assert_close(path[0], integrate_wheels(belief.poses[0], chunk[0]))
    assert path[1:].isnan().all()
    prior = scene.prior(path, chunk, (0, 0, 0))
    assert prior.own_weights.tolist() == [0.5, 1.0, 1.0]
    assert prior.logits.isfinite().all()
    after = scene.carried(belief, path)
    assert after.known.tolist() == [True, False, False]


def test_a_prior_is_the_scenes_prediction_at_the_keyframes() -> None:
    scene, chunk = make_scene(), wheels(2)
    path = scene.path(PoseBelief.certain(torch.tensor([[0.5, 0.0, 3.0], [-1.0, 1.0, 0.0]])), chunk)
    prior = scene.prior(path, chunk, (0, 0))
    assert KEYFRAMES == (0, 8, 16)
    logits = scene.model(path[:, [0, 8, 16]], chunk[:, [0, 8, 16]])
    assert prior.logits.shape == (2, 3, 64, sum(CONFIG.fsq_levels))
    torch.testing.assert_close(prior.logits[:, 2, 8 * 5 + 3], logits[:, 2, 5, 3])


def test_the_historys_weight_falls_step_by_step_and_then_stays() -> None:
    scene, chunk = make_scene(history_weights=(0.5, 0.25, 0.125)), wheels(4)
    path = scene.path(PoseBelief.certain(torch.zeros(4, 3)), chunk)
    assert scene.prior(path, chunk, (2, 0, 9, 1)).own_weights.tolist() == [0.125, 0.5, 0.125, 0.25]


def test_the_covariance_is_that_of_many_bases_with_the_same_wheels() -> None:
    scene = make_scene()
    generator = torch.Generator().manual_seed(0)
    mixing = 0.02 * torch.randn(3, 3, generator=generator)
    pose = torch.tensor([1.0, -0.5, 2.0])
    chunk = wheels(1)
    chunk[..., LINEAR_VELOCITY] *= 6
    chunk[..., ANGULAR_VELOCITY] = 1.0
    belief = PoseBelief(pose[None], (mixing @ mixing.t())[None])
    after = scene.carried(belief, scene.path(belief, chunk))
    many = pose + torch.randn(20_000, 3, generator=generator) @ mixing.t()
    ends = scene.odometry(many, chunk.expand(len(many), -1, -1))[:, -1]
    assert (ends[:, :2].mean(0) - pose[:2]).norm() > 2
    torch.testing.assert_close(after.covariances[0], ends.t().cov(), rtol=0.1, atol=2e-5)
    torch.testing.assert_close(after.covariances[0], after.covariances[0].t())
    # A certain pose stays certain.
    certain = PoseBelief.certain(pose[None])
    assert (scene.carried(certain, scene.path(certain, chunk)).covariances == 0).all()


def test_carried_headings_are_wrapped() -> None:
    scene, chunk = make_scene(), wheels(2)
    chunk[..., ANGULAR_VELOCITY] = torch.tensor([[6.0], [-6.0]])
    belief = PoseBelief.certain(torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]]))
    yaws = scene.carried(belief, scene.path(belief, chunk)).poses[:, 2]
    turned = 3.0 + 6.0 * 17 / 30 - 2 * math.pi
    assert yaws.tolist() == pytest.approx([turned, -turned], abs=1e-4)


@pytest.mark.parametrize("camera", [None, CAMERA])
def test_a_scene_is_built_again_from_its_json(camera: Any) -> None:
    scene = make_scene(walls=True, unknown_above=7.5, history_weights=(1.0, 0.0))
    scene.model = make_model(replace(CONFIG, camera=camera))
    content = json.loads(json.dumps(scene.to_config()))
    again = Scene.from_config(content)
    assert again.model.config == scene.model.config
    assert hash(again.model.config) == hash(scene.model.config)
    assert again.odometry.config == scene.odometry.config
    assert again.use == scene.use
    again.load_state_dict(scene.state_dict())
    belief, chunk = PoseBelief.certain(torch.tensor([[0.5, 0.0, 3.0]])), wheels(1)
    paths = [each.path(belief, chunk) for each in (scene, again)]
    assert torch.equal(*paths)
    assert torch.equal(*(each.prior(paths[0], chunk, (0,)).logits for each in (scene, again)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SceneUse(history_weights=()), "history_weights"),
        (lambda: SceneUse(history_weights=(0.5, 1.5)), "history_weights"),
        (lambda: SceneUse(unknown_above=0.0), "unknown_above"),
        (lambda: SceneUse(unknown_above=math.nan), "unknown_above"),
        (lambda: Scene.from_config(make_scene().to_config() | {"version": 2}), "scene version must be 1, got 2"),
        (lambda: PoseBelief.certain(torch.zeros(3)), r"\[B, 3\], got \[3\]"),
        (lambda: PoseBelief.certain(torch.zeros(2, 4)), r"\[B, 3\], got \[2, 4\]"),
        (lambda: PoseBelief.certain(torch.tensor([[0.0, math.inf, 0.0]])), "inf"),
    ],
)
def test_invalid_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
