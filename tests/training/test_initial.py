"""Models start from trained ones, also from those of another token grid."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.training.initial import copy_weights
from tests.training.worlds import MODEL

MAP = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=4, hidden=8, features=4, samples=4)
SCENE = SceneConfig(grid_size=(4, 8), map=MAP, width=16, num_blocks=1, conv_groups=1)
FINER = replace(SCENE, grid_size=(8, 16))


def centres(rows: int, columns: int) -> torch.Tensor:
    """Returns the centres of a grid's positions, from 0 to 1 over the picture: [rows * columns, 2]."""
    down, across = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
    return torch.cartesian_prod(down, across)


def test_what_positions_of_a_finer_grid_have_learned_is_what_was_at_their_place() -> None:
    initial, finer = SceneModel(SCENE), SceneModel(FINER)
    slopes = torch.randn(2, 16)
    initial.positions.data = centres(4, 8) @ slopes
    copy_weights(finer, initial)
    expected = centres(8, 16).clamp(torch.tensor([1 / 8, 1 / 16]), torch.tensor([7 / 8, 15 / 16])) @ slopes
    torch.testing.assert_close(finer.positions.data, expected)
    for name, weight in finer.state_dict().items():
        assert name == "positions" or torch.equal(weight, initial.state_dict()[name]), name


@pytest.mark.parametrize("options", [{}, {"latent_layout": "sequential"}, {"position_embedding": "window"}])
def test_every_place_in_time_keeps_its_positions(options: dict[str, Any]) -> None:
    coarse = replace(MODEL, grid_size=(2, 2), **options)
    initial, finer = MaskedHWM(coarse), MaskedHWM(replace(coarse, grid_size=(4, 6)))
    initial.positions.data = torch.arange(initial.positions[..., :1, :1].numel()).reshape(
        *initial.positions.shape[:-2], 1, 1
    ) + torch.zeros_like(initial.positions)
    copy_weights(finer, initial)
    assert finer.positions.shape == (*initial.positions.shape[:-2], 24, MODEL.width)
    assert torch.equal(finer.positions, initial.positions[..., :1, :].expand_as(finer.positions))


def test_weights_of_an_equal_grid_are_copied_to_the_bit() -> None:
    initial, model = SceneModel(SCENE), SceneModel(SCENE)
    copy_weights(model, initial)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, initial.state_dict()[name]), name


def test_a_model_of_another_width_cannot_be_started_from() -> None:
    with pytest.raises(InvalidInputError, match=r"other weights: .*start from random weights"):
        copy_weights(SceneModel(FINER), SceneModel(replace(SCENE, width=24)))
