"""Measures how fast a device multiplies matrices, as a ceiling for trainings."""

import time
from typing import Literal

import torch

_SIDES = {"cpu": 512, "cuda": 8192}
"""Sides of square matrices that are large enough to keep a device busy."""
_WARM, _TIMED = 2, 10


def matrix_rate(device: torch.device, precision: Literal["auto", "float32", "bfloat16"]) -> float:
    """Returns the operations a second of the product of two random square matrices, large enough for the device."""
    side, dtype = _SIDES.get(device.type, 4096), torch.bfloat16 if precision == "bfloat16" else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(side, side, device=device, dtype=dtype, generator=generator) for _ in range(2))

    def seconds_of(times: int) -> float:
        start_s = time.monotonic()
        for _ in range(times):
            product = left @ right
        # Reading a number waits for the device.
        product[0, 0].item()
        return time.monotonic() - start_s

    seconds_of(_WARM)
    return 2 * side**3 * _TIMED / seconds_of(_TIMED)
