"""The measured rate of matrix products has a plausible size, and leaves the global generator alone."""

import pytest
import torch

from hwm_env.training.runs.matrix_rate import matrix_rate
from hwm_env.training.world_model.speed import Speed


def test_a_processor_multiplies_at_a_plausible_rate() -> None:
    state = torch.get_rng_state()
    rate = matrix_rate(torch.device("cpu"), "float32")
    assert torch.equal(torch.get_rng_state(), state)
    assert 1e8 < rate < 1e14


def test_a_share_is_operations_over_what_the_time_allows() -> None:
    numbers = Speed(batch_size=4, step_flops=3_000, matrix_rate=1e4).numbers(steps=10, seconds=5.0)
    assert numbers == pytest.approx({"samples_per_s": 8.0, "matrix_share": 0.6})
