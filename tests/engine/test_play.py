"""The exported example's own computation of noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.decoding.noise import row_uniforms

play = pytest.importorskip("hwm_env.engine.play", exc_type=ImportError)


@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10_000), shape=st.sampled_from([(1, 1, 1), (4, 192, 7)]))
def test_noise_is_that_of_the_simulator_to_the_bit(seed: int, step: int, shape: tuple[int, ...]) -> None:
    numbers = play.uniforms(seed, step, [1, *shape])
    assert numbers.dtype == np.float32
    assert np.array_equal(numbers, row_uniforms([seed], [step], shape).numpy())
