"""Access to the environment inside wrappers."""

from typing import Any

import gymnasium

from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.wrappers.repeat_action import RepeatAction
from hwm_env.errors import InvalidInputError


def humanoid_env(env: gymnasium.Env[Any, Any]) -> HumanoidEnv[Any]:
    """Returns the environment of this package inside wrappers that take one of its steps a step.

    Raises:
        InvalidInputError: there is none, or a wrapper takes several steps at once.
    """
    inner, around = env.unwrapped, env
    while isinstance(around, gymnasium.Wrapper):
        if isinstance(around, RepeatAction):
            raise InvalidInputError("a wrapper that needs every step must be inside RepeatAction, not around it")
        around = around.env
    if not isinstance(inner, HumanoidEnv):
        raise InvalidInputError(f"env must be HWM-v0 or HWMReference-v0, got {type(inner).__name__}")
    return inner
