"""Checks of the arguments of vector environments, before anything changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from hwm_env.errors import InvalidInputError
from hwm_env.fields import EnvSeed, checked, short
from hwm_env.types import BoolArray


def row_name(row: int) -> str:
    """Returns the name of a row in errors."""
    return f"row {row}"


def checked_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Returns the seed of each row, or None if the row continues with its own generator.

    Raises:
        InvalidInputError: there is not one seed for each row, one has a value that is not allowed, or two are equal.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, np.ndarray):
        seed = seed.tolist()
    if not isinstance(seed, Sequence) or isinstance(seed, str):
        first: int = checked("seed", seed, EnvSeed)
        return [first + row for row in range(num_envs)]
    if len(seed) != num_envs:
        raise InvalidInputError(f"seed must be a number, or one for each of {num_envs} rows, got {len(seed)}")
    seeds: list[int | None] = [checked(f"{row_name(row)}: seed", one, EnvSeed | None) for row, one in enumerate(seed)]
    first_with: dict[int, int] = {}
    for row, seed_of_row in enumerate(seeds):
        if seed_of_row is None:
            continue
        if seed_of_row in first_with:
            raise InvalidInputError(
                f"{row_name(row)}: seed {seed_of_row} is also that of {row_name(first_with[seed_of_row])}, and their "
                "episodes would be the same; give different seeds (set_state copies a row)"
            )
        first_with[seed_of_row] = row
    return seeds


def checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Returns Gymnasium's mode of this name or value.

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
    """Returns the mask of the rows to reset; without a mask, all of them.

    Raises:
        InvalidInputError: it is not a mask of the rows, or selects none.
    """
    if mask is None:
        return np.ones(num_envs, np.bool_)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.any():
        raise InvalidInputError(
            f"reset_mask must be a bool array of shape ({num_envs},) with a True, got {short(mask)}"
        )
    return mask
