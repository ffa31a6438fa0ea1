"""Random actions have the intended statistics."""

import numpy as np

from policies.smooth_random import MEMORY, SCALE, smooth_random


def rollout(seeds: list[int], steps: int) -> np.ndarray:
    """[steps, B, 25]"""
    policy = smooth_random("face-target")
    policy.reset(seeds)
    return np.stack([policy.act([{}] * len(seeds)) for _ in range(steps)])


def test_noise_has_its_size_and_memory_from_the_first_step_on() -> None:
    changes = rollout(list(range(400)), 6)
    for step in changes:
        assert abs(step.std() - SCALE) < 0.01
    for lag in (1, 2):
        together = (changes[lag:] * changes[:-lag]).mean() / changes.var()
        assert abs(together - MEMORY**lag) < 0.02
    assert np.abs(changes).max() <= 1


def test_worlds_have_their_own_noise_from_their_seed() -> None:
    alone, together = rollout([7], 4), rollout([3, 7], 4)
    np.testing.assert_array_equal(alone[:, 0], together[:, 1])
    assert not np.allclose(together[:, 0], together[:, 1])
