"""Measures a world-model service with one and with eight clients: `make bench`."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from hwm_env.remote.arrays import packed
from hwm_env.remote.client import ServiceClient
from hwm_env.remote.messages import OpenAnswer, StepAnswer

pytestmark = pytest.mark.benchmark

CLIENTS = 8
STEPS = 10


@contextmanager
def service(*options: str) -> Iterator[str]:
    """Serves `room-64` in a process of its own with one thread, so that clients and service do not wait for another."""
    command = [sys.executable, "-m", "hwm_env", "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def steps_per_s(url: str, clients: int, frames: str) -> float:
    """Returns the env steps a second of all clients together."""
    ready = threading.Barrier(clients + 1)

    def play(number: int) -> None:
        client = ServiceClient(url)
        session = client.post("/v1/sessions", {"start": number % 64, "seed": number}, OpenAnswer).id
        body = {"actions": packed(np.zeros((17, 25), np.float32)), "frames": frames, "encoding": "raw"}
        for step in range(STEPS + 2):
            if step == 2:
                ready.wait()
            client.post(f"/v1/sessions/{session}/step", body, StepAnswer)
        client.close()

    threads = [threading.Thread(target=play, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began_s = time.perf_counter()
    for thread in threads:
        thread.join()
    return clients * STEPS / (time.perf_counter() - began_s)


@pytest.mark.parametrize("options", ["--strict", "--no-strict", "--backend openvino"])
def test_eight_clients_against_one(options: str) -> None:
    """Without frames, which are decoded row by row, eight clients of a strict service are three times as fast."""
    if "openvino" in options:
        pytest.importorskip("openvino")
    with service(*options.split()) as url:
        for frames in ("none", "last"):
            one, eight = steps_per_s(url, 1, frames), steps_per_s(url, CLIENTS, frames)
            print(
                f"\nservice, {options}, frames {frames}: 1 client {one:.1f} steps/s, {CLIENTS} clients {eight:.1f} "
                f"steps/s, ratio {eight / one:.2f}"
            )
            assert (options, frames) != ("--strict", "none") or eight > 3 * one
