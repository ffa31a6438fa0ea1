"""A scene that fits the tiny checkpoint."""

import torch

from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.scene import Scene, SceneUse


def make_tiny_scene() -> Scene:
    """An untrained scene, so small that a place is found within milliseconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=2, hidden=4, features=4, samples=2)
        model = SceneModel(SceneConfig(width=16, conv_groups=1, num_blocks=1, mlp_ratio=1, map=shape))
        odometry = Odometry(OdometryConfig(hidden=4, waves=0))
    with torch.no_grad():
        odometry.third.bias.fill_(10.0)  # everywhere is free
    return Scene(model, odometry, SceneUse()).eval()
