"""The vector environment as a VecEnv of Stable-Baselines3 (the extra "rl")."""

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from hwm_env.envs.vector import HumanoidVectorEnv
from hwm_env.errors import InvalidInputError, require_extra

require_extra("stable_baselines3", "rl")

from stable_baselines3.common.vec_env import VecEnv  # noqa: E402
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn  # noqa: E402


class SB3VecEnv(VecEnv):
    """Many worlds for Stable-Baselines3, predicted in one batch: `PPO("CnnPolicy", SB3VecEnv(make_vec(...)))`.

    Infos have what Stable-Baselines3 looks for: `terminal_observation` and `TimeLimit.truncated`.

    Args:
        envs: made by `gymnasium.make_vec("HWM-v0", num_envs=..., autoreset_mode="SAME_STEP")`.

    Raises:
        InvalidInputError: it is another environment, in a wrapper, or resets worlds at another time.
    """

    def __init__(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(envs, HumanoidVectorEnv) or envs.autoreset_mode != AutoresetMode.SAME_STEP:
            raise InvalidInputError(
                "expected gymnasium.make_vec('HWM-v0', ..., autoreset_mode='SAME_STEP') in no wrapper (those of "
                f"Stable-Baselines3 go around this), got {type(envs).__name__} with autoreset_mode "
                f"{envs.metadata.get('autoreset_mode')}"
            )
        self._envs: HumanoidVectorEnv[Any] = envs
        self._actions = np.zeros(0)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every world, with the seeds and options that were set for it."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observations, infos = self._envs.reset_worlds(seeds, {"per_world": self._options})
        self.reset_infos = infos
        self._reset_seeds()
        self._reset_options()
        batch: VecEnvObs = observations
        return batch

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = copy.deepcopy(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Lives one clip in every world."""
        observations, rewards, terminated, truncated, infos = self._envs.step_worlds(self._actions)
        for info, was_terminated, was_truncated in zip(infos, terminated, truncated, strict=True):
            info["TimeLimit.truncated"] = bool(was_truncated and not was_terminated)
            if "final_obs" in info:
                # What the episode ended with, and not the first info of the next one.
                info["terminal_observation"] = info.pop("final_obs")
                info |= info.pop("final_info")
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def close(self) -> None:
        """Frees the worlds."""
        self._envs.close()

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """The newest frame of each world."""
        return self._envs.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, which all worlds share."""
        return [getattr(self._envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the vector environment.

        Raises:
            InvalidInputError: only some worlds shall have it.
        """
        self._check_all(indices)
        setattr(self._envs, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the vector environment once; its result stands for each world.

        Raises:
            InvalidInputError: it shall be called for some worlds only.
        """
        self._check_all(indices)
        return [getattr(self._envs, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No world is."""
        return [False] * len(list(self._get_indices(indices)))

    def _check_all(self, indices: VecEnvIndices) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise InvalidInputError("the worlds share one environment: expected indices=None, got some of them")
