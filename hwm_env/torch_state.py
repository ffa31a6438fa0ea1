"""Isolates this package's results from PyTorch's process-wide and thread-wide settings, and vice versa."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import torch

_AUTOCAST_DEVICES: Final = ("cpu", "cuda", "mps", "xpu")


class _Float32Default:
    """Sets PyTorch's process-wide default type to float32 while any thread needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = torch.float32

    @contextmanager
    def needed(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            now = torch.get_default_dtype()
            if now != torch.float32:
                self._before = now
                torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._before != torch.float32:
                    torch.set_default_dtype(self._before)
                    self._before = torch.float32


_float32_default = _Float32Default()


@contextmanager
def plain_torch() -> Iterator[None]:
    """Applies PyTorch's default settings, but without gradients, and restores the previous ones afterwards.

    Autocast and inference mode are off, and new tensors are float32 on the CPU. All settings but the default type are
    those of the current thread. Also usable as a decorator.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_float32_default.needed())
        yield


@contextmanager
def loading() -> Iterator[None]:
    """Applies `plain_torch` and restores the global random state, which building a module changes."""
    with plain_torch(), torch.random.fork_rng(devices=[]):
        yield


def _compute_in_one_thread() -> None:
    """Sets a forked child to one thread: it has none of OpenMP's threads and would wait for them forever."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_in_one_thread)
