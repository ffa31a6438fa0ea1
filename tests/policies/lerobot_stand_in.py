"""A deterministic stand-in for a policy of LeRobot and for the functions that load it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

MEAN, SCALE = 0.25, 2.0
"""How the stand-in's processors normalise states and actions."""
HEAD = "observation.images.head"


def features(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """Makes features by name, with "__" for a dot."""
    return {name.replace("__", "."): SimpleNamespace(shape=shape) for name, shape in shapes.items()}


class StandIn:
    """Raises the first number by a thousandth a frame from the state, and adds noise to the second one."""

    def __init__(self, *, chunk_size: int = 20, noise: float = 0.0, **changes: Any) -> None:
        inputs = features(observation__state=(25,), observation__images__head=(3, 48, 64))
        config = {"type": "stand-in", "n_obs_steps": 1, "device": "cpu", "input_features": inputs}
        self.config = SimpleNamespace(**{**config, "output_features": features(action=(25,)), **changes})
        self._chunk_size, self._noise = chunk_size, noise
        self.batches: list[dict[str, Any]] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        assert not torch.is_grad_enabled()
        self.batches.append(batch)
        state = batch["observation.state"]
        actions = state[:, None].repeat(1, self._chunk_size, 1)
        actions[:, :, 0] += 0.001 / SCALE * torch.arange(1, self._chunk_size + 1)
        actions[:, :, 1] += self._noise * torch.randn(actions.shape[:2])
        return actions


def preprocess(batch: dict[str, Any]) -> dict[str, Any]:
    """Normalises the state, as a pipeline of LeRobot does."""
    return {**batch, "observation.state": (batch["observation.state"] - MEAN) / SCALE, "task": [batch["task"]]}


def postprocess(action: Tensor) -> Tensor:
    """Undoes the normalisation of actions, which LeRobot gives it one by one."""
    assert action.shape == (1, 25)
    return action * SCALE + MEAN


def expected_chunk(state: np.ndarray, chunk_size: int = 20) -> np.ndarray:
    """Computes what the stand-in without noise means in physical units, float64 [17, 25]."""
    chunk = np.tile(np.asarray(state, np.float64), (17, 1))
    chunk[:, 0] += 0.001 * np.minimum(np.arange(1, 18), chunk_size)
    return chunk
