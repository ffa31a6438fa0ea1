"""Small scenes whose rendering differs at every pose."""

from dataclasses import replace
from typing import Any

import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.scene.camera import CameraLink
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.scene import Scene, SceneUse
from tests.conftest import make_tiny_checkpoint

MAP = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=4, hidden=8, features=4, samples=4)
CONFIG = SceneConfig(map=MAP, width=16, num_blocks=1, mlp_ratio=2, conv_groups=1)
CAMERA = (
    CameraLink(offset_m=(0.1, 0.0, 1.0)),
    CameraLink(offset_m=(0.0, 0.0, 0.3), number="neck_pitch", axis=(0.0, 1.0, 0.0)),
)
ARM = (
    CAMERA[0],
    CameraLink(offset_m=(0.1, 0.2, 0.1), number="left_shoulder_pitch", axis=(0.0, -1.0, 0.0)),
    CameraLink(number="left_shoulder_roll", axis=(1.0, 0.0, 0.0)),
    CameraLink(offset_m=(0.0, 0.0, -0.3), number="left_elbow_pitch", axis=(0.0, -1.0, 0.0)),
    CameraLink(offset_m=(0.0, 0.0, -0.25)),
)
"""Upper arm and forearm, from a body shared with the camera."""


def make_model(config: SceneConfig = CONFIG, *, contrast: float = 1.0, seed: int = 0) -> SceneModel:
    """Returns an untrained model in evaluation mode.

    Args:
        config: shape of the model.
        contrast: standard deviation added to the head's weights; the larger, the more the rendering depends on the
            pose.
        seed: seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SceneModel(config)
        with torch.no_grad():
            for plane in model.map.planes:
                plane.add_(torch.randn_like(plane))
            model.head.project.weight.add_(contrast * torch.randn_like(model.head.project.weight))
    return model.eval().requires_grad_(False)


def make_scene(*, walls: bool = False, seed: int = 0, config: SceneConfig = CONFIG, **use: Any) -> Scene:
    """Returns an untrained scene of an empty room, or of one with random obstacles."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        odometry = Odometry(OdometryConfig(hidden=8))
        with torch.no_grad():
            odometry.third.bias.fill_(0.0 if walls else 1.0)
            if not walls:
                odometry.third.weight.zero_()
    scene = Scene(make_model(config, seed=seed), odometry, SceneUse(**use))
    return scene.eval().requires_grad_(False)


def make_checkpoint(scene: Scene | None = None, **changes: Any) -> Checkpoint:
    """Returns the tiny checkpoint with a scene."""
    checkpoint = make_tiny_checkpoint()
    checkpoint.model.eval()
    assert checkpoint.readout is not None
    checkpoint.readout.eval()
    return replace(checkpoint, **({"scene": scene or make_scene()} | changes))
