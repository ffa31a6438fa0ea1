"""The tiny world with a room that it knows."""

from dataclasses import replace
from pathlib import Path

import torch

from hwm_env.checkpoint import save
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.scene import Scene, SceneUse
from tests.conftest import make_tiny_checkpoint

MAP = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=4, hidden=8, features=4, samples=4)
CONFIG = SceneConfig(map=MAP, width=16, num_blocks=1, mlp_ratio=2, conv_groups=1)


def save_tiny_checkpoint(directory: Path) -> Path:
    """Writes the tiny checkpoint with an untrained scene, whose floor is free everywhere."""
    odometry = Odometry(OdometryConfig(hidden=8))
    with torch.no_grad():
        odometry.third.weight.zero_()
        odometry.third.bias.fill_(1.0)
    scene = Scene(SceneModel(CONFIG), odometry, SceneUse())
    save(replace(make_tiny_checkpoint(), scene=scene), directory)
    return directory
