"""RepeatAction: one action for several env steps."""

from collections import defaultdict
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from hwm_env.fields import Count, checked


class RepeatAction(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Executes each action for several env steps, or until the episode ends; rewards and their terms are summed.

    The info is that of the last step, with the summed `reward_terms`, and `repeats`, the number of steps.

    Args:
        env: the environment.
        repeats: env steps an action, at least 1.

    Raises:
        InvalidInputError: `repeats` is below 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], repeats: int) -> None:
        repeats = checked("repeats", repeats, Count)
        RecordConstructorArgs.__init__(self, repeats=repeats)
        super().__init__(env)
        self._repeats = repeats

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes several env steps with one action."""
        total, terms, repeats = 0.0, defaultdict[str, float](float), 0
        terminated = truncated = False
        while repeats < self._repeats and not (terminated or truncated):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            for name, value in info["reward_terms"].items():
                terms[name] += value
            repeats += 1
        return observation, total, terminated, truncated, {**info, "reward_terms": dict(terms), "repeats": repeats}
