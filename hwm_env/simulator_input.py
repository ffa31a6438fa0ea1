"""Checks of a simulator's arguments, before anything is computed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.fields import WorldSeed, checked
from hwm_env.model.attention import KeyValues
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.history import EncodedHistory
from hwm_env.tokenizers.base import INTEGERS
from hwm_env.types import LATENTS_PER_CLIP


def for_each_row(name: str, values: Any, kind: Any, count: int | None = None) -> tuple[int, ...]:
    """Checks whole numbers, one for each row, and returns them.

    Args:
        name: name of one value, for the error.
        values: a sequence, or an array or tensor with one axis.
        kind: annotation of one value, see `checked`.
        count: expected number of rows; `None`: any.

    Raises:
        InvalidInputError: there is not one value for each row, or a value is not of this kind; names the row.
    """
    if isinstance(values, np.ndarray | Tensor):
        values = values.tolist()
    checked(f"{name}s", values, Sequence[Any])
    if count is not None and len(values) != count:
        raise InvalidInputError(f"expected one {name} for each of {count} rows, got {len(values)}")
    return tuple(checked(f"the {name} of row {row}", value, kind) for row, value in enumerate(values))


def check_seeds(seeds: Any, count: int) -> tuple[int, ...]:
    """Checks a seed for each row and returns the seeds. Raises InvalidInputError, see `for_each_row`."""
    return for_each_row("seed", seeds, WorldSeed, count)


def check_actions(actions: Any, shape: tuple[int, ...], name: str = "actions") -> Tensor:
    """Checks actions and returns them as float32.

    Raises:
        InvalidInputError: they are not finite real numbers of this shape; names the first row that is not finite.
    """
    numbers = check_numbers(name, actions, shape)
    finite = numbers.isfinite()
    if not finite.all():
        row = int((~finite).flatten(1).any(dim=1).nonzero()[0])
        raise InvalidInputError(
            f"{name} must be finite numbers, got NaN or infinity in row {row}; the state is unchanged"
        )
    return numbers


def check_numbers(name: str, numbers: Any, shape: tuple[int, ...]) -> Tensor:
    """Checks real numbers, NaN and infinity included, and returns them as float32.

    Raises:
        InvalidInputError: the value is not a tensor of this shape, or does not hold whole or real numbers.
    """
    checked(name, numbers, Tensor)
    if tuple(numbers.shape) != shape:
        raise InvalidInputError(f"{name} must have shape {shape}, got {tuple(numbers.shape)}")
    if not numbers.is_floating_point() and numbers.dtype not in INTEGERS:
        raise InvalidInputError(f"{name} must be real numbers, got {numbers.dtype}")
    return torch.as_tensor(numbers).float()


def check_history_tokens(tokens: Any, config: MaskedHWMConfig, num_codes: int) -> Tensor:
    """Checks the tokens of histories and returns them unchanged.

    Raises:
        InvalidInputError: they are not whole numbers [B, T_p, 3, H, W] of 1 to `num_past_clips` clips, or lie outside
            the codebook.
    """
    checked("history tokens", tokens, Tensor)
    rows, columns = config.grid_size
    is_shape = tokens.ndim == 5 and tuple(tokens.shape[2:]) == (LATENTS_PER_CLIP, rows, columns)
    if not is_shape or tokens.dtype not in INTEGERS:
        raise InvalidInputError(
            f"history tokens must be integers of shape (B, T, {LATENTS_PER_CLIP}, {rows}, {columns}), got "
            f"{tokens.dtype} {tuple(tokens.shape)}"
        )
    if not 1 <= tokens.shape[1] <= config.num_past_clips:
        raise InvalidInputError(f"a history must have 1 to {config.num_past_clips} clips, got {tokens.shape[1]}")
    if not tokens.numel():
        raise InvalidInputError("expected one or more rows, got none")
    lowest, highest = (int(extreme) for extreme in tokens.aminmax())
    if not 0 <= lowest <= highest < num_codes:
        raise InvalidInputError(
            f"history tokens must lie in 0..{num_codes - 1}, got {lowest} to {highest}; encode them with this "
            "checkpoint's tokenizer"
        )
    return torch.as_tensor(tokens)


def check_encoded(encoded: Any, config: MaskedHWMConfig, shape: tuple[int, int]) -> None:
    """Checks an encoded history.

    Args:
        encoded: the encoded history of a state.
        config: configuration of the model.
        shape: number of rows, and of the state's clips; all but the newest one are encoded.

    Raises:
        InvalidInputError: it is not an encoded history, or a model of another shape encoded it.
    """
    num_rows, num_clips = shape
    layout = (config.num_layers, num_rows, config.num_heads, config.head_width)
    scene_shape = (num_rows, config.num_positions, config.scene_width)
    is_history = isinstance(encoded, EncodedHistory) and len(encoded.clips) == num_clips - 1
    is_history = is_history and _may_follow(encoded.following_scene, scene_shape)
    is_history = is_history and _are_times(encoded.next_time, num_rows)
    if not is_history or any(_layout(clip) != {layout} for clip in encoded.clips):
        raise InvalidInputError(
            f"the state's encoded history must be that of {num_clips - 1} clips (all but the newest) in {num_rows} "
            "rows by this simulator's model; set it to None to encode the history again"
        )


def _may_follow(scene: Any, shape: tuple[int, int, int]) -> bool:
    """Returns whether these are scene inputs of one clip for a model that reads `shape`, or none are needed."""
    return scene is None or shape[-1] == 0 or (isinstance(scene, Tensor) and tuple(scene.shape) == shape)


def _are_times(next_time: Any, num_rows: int) -> bool:
    """Returns whether these are clip times of the rows."""
    return isinstance(next_time, Tensor) and tuple(next_time.shape) == (num_rows,) and next_time.dtype == torch.int64


def _layout(clip: Any) -> set[tuple[int, ...]]:
    """Returns layers, rows, heads and channels of a clip's keys and values."""
    if not isinstance(clip, KeyValues) or not all(isinstance(field, Tensor) and field.ndim >= 5 for field in clip):
        return set()
    return {(*field.shape[:2], field.shape[-3], field.shape[-1]) for field in clip}
