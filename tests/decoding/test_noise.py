"""Noise is a function of a world's seed and step, whatever the batch."""

import torch

from hwm_env.decoding.noise import world_uniforms


def test_a_world_gets_the_same_numbers_in_any_batch() -> None:
    batch = world_uniforms([3, 9, 3], [0, 4, 1], (2, 5))
    for row, (seed, step) in enumerate([(3, 0), (9, 4), (3, 1)]):
        assert torch.equal(batch[row], world_uniforms([seed], [step], (2, 5))[0])


def test_seeds_and_steps_are_independent_and_uniform() -> None:
    numbers = world_uniforms([0, 1, 2**63 - 1, 0], [0, 0, 0, 1], (50_000,))
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.02
    assert 0 <= numbers.min() <= numbers.max() < 1
    assert torch.allclose(numbers.mean(dim=1), torch.tensor(0.5), atol=0.01)
