"""Entry points of HWM-v0: the learned world on this machine or, with the argument `url`, at a service."""

from typing import Any

import gymnasium

from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.remote_env import HumanoidRemoteEnv, HumanoidRemoteVectorEnv
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv


def make_env(url: str | None = None, **arguments: Any) -> HumanoidEnv[Any]:
    """Makes HWM-v0; arguments as of HumanoidWorldModelEnv or, with `url`, of HumanoidRemoteEnv."""
    return HumanoidWorldModelEnv(**arguments) if url is None else HumanoidRemoteEnv(url, **arguments)


def make_vec(
    num_envs: int = 1, *, url: str | None = None, **arguments: Any
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Makes HWM-v0 of many rows; arguments as of HumanoidWorldModelVectorEnv or HumanoidRemoteVectorEnv."""
    if url is None:
        return HumanoidWorldModelVectorEnv(num_envs, **arguments)
    return HumanoidRemoteVectorEnv(num_envs, url=url, **arguments)


# As of an environment's class, so that Gymnasium checks the render mode.
make_env.metadata = HumanoidEnv.metadata  # type: ignore[attr-defined]
