"""Measures how fast a device multiplies matrices, as a ceiling for trainings."""

import time

import torch

_SIDES = {"cpu": 1024, "cuda": 8192}
"""Sides of square matrices that are large enough to keep a device busy."""
_WARM, _TIMED = 3, 10


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the operations a second of the product of two random square matrices, large enough for the device."""
    side = _SIDES.get(device.type, 4096)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def multiplied(times: int) -> float:
        start_s = time.monotonic()
        for _ in range(times):
            product = left @ right
        # Reading a number waits for the device.
        product[0, 0].item()
        return time.monotonic() - start_s

    multiplied(_WARM)
    return 2 * side**3 * _TIMED / multiplied(_TIMED)
