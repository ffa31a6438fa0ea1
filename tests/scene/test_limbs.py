from dataclasses import replace

import numpy as np
import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.scene.camera import CameraLink, KinematicCamera
from hwm_env.scene.limbs import FEATURES_OF_SEGMENT, Limbs
from hwm_env.scene.scene import Scene
from hwm_env.types import ACTION_NAMES
from tests.scene.scenes import ARM, CAMERA, CONFIG, make_model, make_scene


def numbers(**values: float) -> torch.Tensor:
    vector = torch.zeros(25)
    for name, value in values.items():
        vector[ACTION_NAMES.index(name)] = value
    return vector


def rays() -> torch.Tensor:
    vectors = torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0)) * 0.4 + torch.tensor([1.0, 0.0, 0.0])
    return torch.nn.functional.normalize(vectors, dim=-1)


def seen(values: torch.Tensor, limbs: Limbs | None = None) -> torch.Tensor:
    """Returns features [40, 2, segments, features]."""
    limbs = limbs or Limbs([ARM], CAMERA)
    place, rotation = KinematicCamera(CAMERA)(values)
    return limbs(values, place, rotation, rays()).unflatten(-1, (-1, FEATURES_OF_SEGMENT))


def test_segments_begin_where_the_limb_leaves_the_camera() -> None:
    assert Limbs([ARM], CAMERA).num_features == 2 * FEATURES_OF_SEGMENT
    assert Limbs([ARM, ARM[:2]], CAMERA).num_features == 2 * FEATURES_OF_SEGMENT
    assert Limbs([], CAMERA).num_features == 0


@pytest.mark.parametrize("pitch", [0.4, 1.2, 1.6])
def test_nearness_is_that_of_a_search_along_the_segment(pitch: float) -> None:
    """The arm hangs along -z and swings forward."""
    values = numbers(left_shoulder_pitch=pitch)
    shoulder = np.array([0.2, 0.2, 1.1])
    elbow = shoulder + 0.3 * np.array([np.sin(pitch), 0.0, -np.cos(pitch)])
    camera = np.array([0.1, 0.0, 1.3])
    points = np.linspace(shoulder, elbow, 400) - camera
    upper_arm = seen(values)[:, :, 0].numpy()
    for (row, column), ray in zip(np.ndindex(40, 2), rays().flatten(0, 1).numpy(), strict=True):
        across = points - (points @ ray)[:, None] * ray
        best = (across**2).sum(1).argmin()
        squared, depth = (across[best] ** 2).sum(), points[best] @ ray
        near, around, left, up, ahead, *_ = upper_arm[row, column]
        if depth < 0.05:
            assert near == around == ahead == 0
            continue
        assert near == pytest.approx(np.exp(-squared / 0.08**2), abs=2e-3)
        assert around == pytest.approx(np.exp(-squared / 0.25**2), abs=2e-3)
        np.testing.assert_allclose(left, around * across[best][1] / depth, atol=5e-3)
        np.testing.assert_allclose(up, around * across[best][2] / depth, atol=5e-3)
        assert ahead == pytest.approx(around * depth, abs=5e-3)


def test_what_is_behind_the_camera_is_not_seen() -> None:
    behind = (CAMERA[0], CameraLink(offset_m=(-1.0, 0.0, 0.3)), CameraLink(offset_m=(-0.2, 0.0, 0.0)))
    assert not seen(numbers(), Limbs([behind], CAMERA)).any()


def test_an_arm_that_rises_changes_what_is_drawn_only_through_its_own_numbers() -> None:
    """With the linear layer of the numbers at zero, only limbs depend on the arm."""
    model = make_model(replace(CONFIG, camera=CAMERA, limbs=(ARM,)))
    with torch.no_grad():
        model.from_moment.weight.zero_()
    poses = torch.zeros(1, 3, 3)
    hanging, raised = (model(poses, numbers(left_shoulder_pitch=pitch).expand(1, 3, 25)) for pitch in (0.0, 1.4))
    other_arm = model(poses, numbers(right_shoulder_pitch=1.4).expand(1, 3, 25))
    assert (raised - hanging).abs().max() > 1e-3
    torch.testing.assert_close(other_arm, hanging)


def test_limbs_need_a_known_camera() -> None:
    with pytest.raises(InvalidInputError, match="give the chain to the camera as well"):
        replace(CONFIG, limbs=(ARM,))


def test_limbs_are_kept_in_the_checkpoint_and_older_ones_have_none() -> None:
    scene = make_scene(config=replace(CONFIG, camera=CAMERA, limbs=(ARM,)))
    assert Scene.from_config(scene.to_config()).model.config == scene.model.config
    without = make_scene(config=replace(CONFIG, camera=CAMERA)).to_config()
    assert "limbs" not in without["model"]
    assert Scene.from_config(without).model.config.limbs == ()
