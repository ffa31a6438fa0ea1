"""Starts a model from the weights of a trained one, which may have another token grid."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from torch.nn.functional import interpolate

from hwm_env.errors import InvalidInputError

_POSITIONS = "positions"
"""Name of the learned vectors of the grid's positions, float [..., H * W, D]."""


class _GridConfig(Protocol):
    @property
    def grid_size(self) -> tuple[int, int]: ...


class _GridModel(Protocol):
    @property
    def config(self) -> _GridConfig: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...


def copy_weights(model: _GridModel, initial: _GridModel) -> None:
    """Copies the weights of a trained model into another one.

    If their token grids differ, the learned vectors of the grid's positions are interpolated linearly. Weights that
    `initial` lacks are left as they are.

    Args:
        model: the model that receives the weights.
        initial: the trained model.

    Raises:
        InvalidInputError: `initial` has weights that do not fit the model.
    """
    own, given = model.state_dict(), dict(initial.state_dict())
    grids = initial.config.grid_size, model.config.grid_size
    if grids[0] != grids[1]:
        given[_POSITIONS] = _resampled(given[_POSITIONS], *grids)
    if misfits := [name for name, weight in given.items() if name not in own or own[name].shape != weight.shape]:
        raise InvalidInputError(
            f"the model to start from has other weights: {', '.join(misfits[:3])} ({len(misfits)} in all); train "
            f"a model of its shape, {initial.config}, or start from random weights"
        )
    model.load_state_dict({**own, **given})


def _resampled(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolates vectors [..., H * W, D] of one grid for the centres of another grid's positions."""
    on_grid = positions.unflatten(-2, old).movedim(-1, -3)
    resampled = interpolate(on_grid.reshape(-1, 1, *old), new, mode="bilinear", align_corners=False)
    return resampled.reshape(*on_grid.shape[:-2], *new).movedim(-3, -1).flatten(-3, -2)
