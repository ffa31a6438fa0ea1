"""hwm_env: a learned simulator of a humanoid robot, as a Gymnasium environment.

Importing it registers `HWM-v0` and, where MuJoCo is installed, `HWMReference-v0`. PyTorch and MuJoCo are imported only
when something that needs them is used.
"""

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import gymnasium

from hwm_env.types import MAX_EPISODE_STEPS

if TYPE_CHECKING:
    from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv
    from hwm_env.model.config import MaskedHWMConfig
    from hwm_env.model.masked_hwm import MaskedHWM
    from hwm_env.simulator import WorldSimulator

__all__ = ["HumanoidWorldModelEnv", "HumanoidWorldModelVectorEnv", "MaskedHWM", "MaskedHWMConfig", "WorldSimulator"]

_MODULES = {
    "HumanoidWorldModelEnv": "hwm_env.envs.world_model_env",
    "HumanoidWorldModelVectorEnv": "hwm_env.envs.world_model_env",
    "MaskedHWM": "hwm_env.model.masked_hwm",
    "MaskedHWMConfig": "hwm_env.model.config",
    "WorldSimulator": "hwm_env.simulator",
}

gymnasium.register(
    "HWM-v0",
    entry_point="hwm_env.envs.world_model_env:HumanoidWorldModelEnv",
    vector_entry_point="hwm_env.envs.world_model_env:HumanoidWorldModelVectorEnv",
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
