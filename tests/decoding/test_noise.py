"""Noise depends on a row's seed and env step only, not on the batch."""

import torch

from hwm_env.decoding.noise import row_uniforms


def test_a_row_gets_the_same_numbers_in_any_batch() -> None:
    batch = row_uniforms([3, 9, 3], [0, 4, 1], (2, 5))
    for row, (seed, step) in enumerate([(3, 0), (9, 4), (3, 1)]):
        assert torch.equal(batch[row], row_uniforms([seed], [step], (2, 5))[0])


def test_seeds_and_steps_are_independent_and_uniform() -> None:
    numbers = row_uniforms([0, 1, 2**63 - 1, 0], [0, 0, 0, 1], (50_000,))
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.02
    assert 0 <= numbers.min() <= numbers.max() < 1
    assert torch.allclose(numbers.mean(dim=1), torch.tensor(0.5), atol=0.01)
