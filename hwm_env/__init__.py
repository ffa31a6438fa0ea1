"""hwm_env: a learned simulator of a humanoid robot, as a Gymnasium environment.

Importing the package registers `HWM-v0` and, if MuJoCo is installed, `HWMReference-v0`. PyTorch and MuJoCo are imported
on first use.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import gymnasium

from hwm_env.errors import (
    CheckpointError,
    DatasetError,
    DivergedError,
    HWMError,
    InvalidInputError,
    MissingExtraError,
    ModelOutputError,
    SavingError,
    ServiceError,
)
from hwm_env.types import ACTION_NAMES, MAX_EPISODE_STEPS

if TYPE_CHECKING:
    from hwm_env.checkpoint import load
    from hwm_env.envs.config import EnvConfig
    from hwm_env.envs.reference_env import HumanoidReferenceEnv, HumanoidReferenceVectorEnv
    from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv
    from hwm_env.model.config import MaskedHWMConfig
    from hwm_env.model.masked_hwm import MaskedHWM
    from hwm_env.policy import Policy
    from hwm_env.simulator import WorldSimulator
    from hwm_env.tasks.base import Task

__all__ = [
    "ACTION_NAMES",
    "CheckpointError",
    "DatasetError",
    "DivergedError",
    "EnvConfig",
    "HWMError",
    "HumanoidReferenceEnv",
    "HumanoidReferenceVectorEnv",
    "HumanoidWorldModelEnv",
    "HumanoidWorldModelVectorEnv",
    "InvalidInputError",
    "MaskedHWM",
    "MaskedHWMConfig",
    "MissingExtraError",
    "ModelOutputError",
    "Policy",
    "SavingError",
    "ServiceError",
    "Task",
    "WorldSimulator",
    "load",
]

_MODULES: Final = {
    "EnvConfig": "hwm_env.envs.config",
    "HumanoidReferenceEnv": "hwm_env.envs.reference_env",
    "HumanoidReferenceVectorEnv": "hwm_env.envs.reference_env",
    "HumanoidWorldModelEnv": "hwm_env.envs.world_model_env",
    "HumanoidWorldModelVectorEnv": "hwm_env.envs.world_model_env",
    "MaskedHWM": "hwm_env.model.masked_hwm",
    "MaskedHWMConfig": "hwm_env.model.config",
    "Policy": "hwm_env.policy",
    "Task": "hwm_env.tasks.base",
    "WorldSimulator": "hwm_env.simulator",
    "load": "hwm_env.checkpoint",
}
"""Modules of the names that are imported on first use."""

# PyTorch's threads spin while they wait for each other: beside other work, a step then takes many times as long. The
# number of spins is read when PyTorch is imported (see docs/performance.md).
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

gymnasium.register(
    "HWM-v0",
    entry_point="hwm_env.envs.making:make_env",
    vector_entry_point="hwm_env.envs.making:make_vec",
    max_episode_steps=MAX_EPISODE_STEPS,
)
if find_spec("mujoco") is not None:
    gymnasium.register(
        "HWMReference-v0",
        entry_point="hwm_env.envs.reference_env:HumanoidReferenceEnv",
        vector_entry_point="hwm_env.envs.reference_env:HumanoidReferenceVectorEnv",
        max_episode_steps=MAX_EPISODE_STEPS,
    )


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
