"""The device of these tests. Without a GPU they are skipped; `HWM_TEST_DEVICE=cpu` tries them on the CPU."""

import os
from collections.abc import Iterator

import pytest
import torch

from hwm_env.checkpoint import Checkpoint, load


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device under test."""
    name = os.environ.get("HWM_TEST_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    return torch.device(name)


@pytest.fixture(scope="session")
def worlds(device: torch.device) -> int:
    """Number of worlds of a large batch."""
    return 6 if device.type == "cpu" else 256


@pytest.fixture(scope="session")
def room_64() -> Checkpoint:
    """The shipped checkpoint on the CPU."""
    return load("room-64")


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Multiplies in whole float32, not in TF32, which keeps 11 bits."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    yield
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed
