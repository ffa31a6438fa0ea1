"""What users say to many worlds at once, checked before anything changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hwm_env.errors import InvalidInputError
from hwm_env.fields import EnvSeed, checked, short
from hwm_env.types import BoolArray


def checked_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """A seed for each world, or None where it goes on with its own generator.

    Raises:
        InvalidInputError: there is not one for each, one is none, or two are equal; names the world.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, np.ndarray):
        seed = seed.tolist()
    if not isinstance(seed, Sequence) or isinstance(seed, str):
        first: int = checked("seed", seed, EnvSeed)
        return [first + world for world in range(num_envs)]
    if len(seed) != num_envs:
        raise InvalidInputError(f"expected a seed for each of {num_envs} worlds, got {len(seed)}")
    seeds: list[int | None] = [checked(f"world {world}: seed", one, EnvSeed | None) for world, one in enumerate(seed)]
    first_with: dict[int, int] = {}
    for world, its_seed in enumerate(seeds):
        if its_seed is None:
            continue
        if its_seed in first_with:
            raise InvalidInputError(
                f"world {world}: seed {its_seed} is also that of world {first_with[its_seed]}, and both would live the "
                "same; give different seeds (set_state copies a world)"
            )
        first_with[its_seed] = world
    return seeds


def checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Gymnasium's mode, by its name or its value.

    Raises:
        InvalidInputError: there is none.
    """
    checked("autoreset_mode", mode, str | AutoresetMode)
    try:
        return AutoresetMode[mode] if isinstance(mode, str) and mode.isupper() else AutoresetMode(mode)
    except (KeyError, ValueError) as error:
        raise InvalidInputError(
            f"autoreset_mode must be one of {[each.name for each in AutoresetMode]}, got {mode!r}"
        ) from error


def checked_mask(mask: Any, num_envs: int) -> BoolArray:
    """The worlds to reset; all where none are named.

    Raises:
        InvalidInputError: it is no mask of the worlds, or names none.
    """
    if mask is None:
        return np.ones(num_envs, np.bool_)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.any():
        raise InvalidInputError(
            f"reset_mask must be a bool array of shape ({num_envs},) with a True, got {short(mask)}"
        )
    return mask
