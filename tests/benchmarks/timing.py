"""Timing of calls, and the yardstick of a matrix product."""

import statistics
import time
from collections.abc import Callable

import pytest
import torch

from hwm_env.precision import has_fast_bfloat16

RATE_SIZE = 2048
NEEDS_BFLOAT16 = pytest.mark.skipif(
    not has_fast_bfloat16("cpu"), reason="this processor has no bfloat16 in hardware: it would take minutes"
)


def median_s(function: Callable[[], object], repeats: int, *, warm_up: bool = True) -> float:
    """Returns the median wall-clock time of a call."""
    if warm_up:
        function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matmul_flops_per_s() -> float:
    """Returns the rate of a plain float32 matrix product on this machine."""
    a, b = torch.randn(2, RATE_SIZE, RATE_SIZE)
    return 2 * RATE_SIZE**3 / median_s(lambda: a @ b, repeats=15)
