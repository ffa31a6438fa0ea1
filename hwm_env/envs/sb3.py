"""The vector environment as a VecEnv of Stable-Baselines3 (needs the extra "rl")."""

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
    """A vector environment for Stable-Baselines3, predicted in one batch: `PPO("CnnPolicy", SB3VecEnv(make_vec(...)))`.

    Infos have the entries that Stable-Baselines3 uses: `terminal_observation` and `TimeLimit.truncated`.

    Args:
        envs: made by `gymnasium.make_vec("HWM-v0", num_envs=..., autoreset_mode="SAME_STEP")`.

    Raises:
        InvalidInputError: it is another environment, in a wrapper, or has another autoreset mode.
    """

    def __init__(self, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(envs, HumanoidVectorEnv) or envs.autoreset_mode != AutoresetMode.SAME_STEP:
            raise InvalidInputError(
                "envs must be gymnasium.make_vec('HWM-v0', ..., autoreset_mode='SAME_STEP') without wrappers (those of "
                f"Stable-Baselines3 go around this), got {type(envs).__name__} with autoreset_mode "
                f"{envs.metadata.get('autoreset_mode')}"
            )
        self._envs: HumanoidVectorEnv[Any] = envs
        self._actions = np.zeros(0)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every row, with the seeds and options that were set."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observations, infos = self._envs.reset_rows(seeds, {"per_world": self._options})
        self.reset_infos = infos
        self._reset_seeds()
        self._reset_options()
        batch: VecEnvObs = observations
        return batch

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = copy.deepcopy(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Advances every row by one clip."""
        observations, rewards, terminated, truncated, infos = self._envs.step_rows(self._actions)
        for info, was_terminated, was_truncated in zip(infos, terminated, truncated, strict=True):
            info["TimeLimit.truncated"] = bool(was_truncated and not was_terminated)
            if "final_obs" in info:
                # The info at the end of the episode, not the first one of the next.
                info["terminal_observation"] = info.pop("final_obs")
                info |= info.pop("final_info")
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def close(self) -> None:
        """Closes the vector environment."""
        self._envs.close()

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """Returns the newest frame of each row."""
        return self._envs.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the vector environment, which all rows share."""
        return [getattr(self._envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the vector environment.

        Raises:
            InvalidInputError: `indices` selects only some rows.
        """
        self._check_all(indices)
        setattr(self._envs, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the vector environment once and returns its result for each row.

        Raises:
            InvalidInputError: `indices` selects only some rows.
        """
        self._check_all(indices)
        return [getattr(self._envs, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Returns `False` for each row."""
        return [False] * len(list(self._get_indices(indices)))

    def _check_all(self, indices: VecEnvIndices) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise InvalidInputError("indices must be None, since all rows share one environment; got some of them")
