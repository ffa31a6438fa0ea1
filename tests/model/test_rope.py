"""Rotary positions against their defining properties."""

import math

import torch

from hwm_env.model.rope import rotate, rotation, spatial_angles, temporal_angles


def test_the_angle_of_each_pair_is_its_closed_form() -> None:
    angles = temporal_angles(torch.tensor([0, 3]), head_width=8, base=100.0)
    expected = [3 / 100 ** (pair / 4) for pair in range(4)]
    assert torch.allclose(angles, torch.tensor([[0.0] * 4, expected]))


def test_rotation_turns_a_pair_in_its_plane() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0]])  # pairs: (1, 0) and (0, 2)
    turned = rotate(x, rotation(torch.tensor([[math.pi / 2, math.pi / 6]])))
    expected = torch.tensor([[0.0, -2 * math.sin(math.pi / 6), 1.0, 2 * math.cos(math.pi / 6)]])
    assert torch.allclose(turned, expected, atol=1e-6)


def test_dot_products_depend_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 16, generator=generator)
    products = [
        (
            rotate(q, rotation(temporal_angles(torch.tensor([time]), 16, 100.0)))
            * rotate(k, rotation(temporal_angles(torch.tensor([time + 2]), 16, 100.0)))
        ).sum()
        for time in (0, 1, 7)
    ]
    assert torch.allclose(torch.stack(products), products[0].expand(3), atol=1e-5)


def test_rows_turn_the_first_half_of_the_pairs_and_columns_the_second() -> None:
    angles = spatial_angles(2, 3, head_width=8, base=100.0).view(2, 3, 4)
    assert torch.equal(angles[1, 0, 2:], torch.zeros(2))
    assert torch.equal(angles[0, 1, :2], torch.zeros(2))
    assert angles[1, 0, 0] == 1
    assert angles[0, 2, 2] == 2
