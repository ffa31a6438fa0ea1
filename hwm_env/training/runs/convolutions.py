"""Lets a GPU choose its convolution functions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Lets cuDNN try its functions for each new shape inside the context: they differ widely in speed."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
