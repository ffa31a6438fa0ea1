"""The tiny checkpoint with a scene."""

from pathlib import Path

from hwm_env.checkpoint import save
from tests.scene.scenes import make_checkpoint


def save_tiny_checkpoint(directory: Path) -> Path:
    """Writes the tiny checkpoint with an untrained scene, whose floor is free everywhere."""
    save(make_checkpoint(), directory)
    return directory
