"""Measures env steps on a GPU; prints, asserts nothing: `make bench-gpu`.

HWM_BENCH_JSON names a file for the numbers; HWM_TEST_DEVICE=cpu tries the code on the CPU, with fewer worlds.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hwm_env.decoding.config import DecodingConfig
from hwm_env.envs.world_model_env import HumanoidWorldModelVectorEnv
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import MODEL_PRESETS
from hwm_env.simulator import WorldSimulator
from hwm_env.training.runs.matrix_rate import matrix_rate
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP
from tests.simulators import simulator_of

DEVICE = torch.device(os.environ.get("HWM_TEST_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.cuda,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

REPEATS = 5
PAST_CLIPS, STEPS, NUM_CODES = 9, 8, 64_000
Table = list[dict[str, Any]]


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """Lines of the table, which is printed at the end."""
    lines: Table = []
    yield lines
    where = torch.cuda.get_device_name() if ON_GPU else "CPU"
    print(f"\n\n{where}, PyTorch {torch.__version__}")
    for line in lines:
        print(
            ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else str(value) for name, value in line.items())
        )
    if path := os.environ.get("HWM_BENCH_JSON"):
        Path(path).write_text(json.dumps({"device": where, "torch": torch.__version__, "lines": lines}, indent=1))


def measured(function: Callable[[], object]) -> dict[str, float]:
    """Returns the median time of a call after two that warm up, and the peak memory; each call waits for the device."""
    times = []
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2 + REPEATS):
        began = time.perf_counter()
        function()
        if ON_GPU:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 1e9 if ON_GPU else 0.0
    return {"ms": 1e3 * statistics.median(times[2:]), "first ms": 1e3 * times[0], "peak GB": peak}


def test_matrix_rate(table: Table) -> None:
    for precision in ("bfloat16", "float32"):
        rate = matrix_rate(DEVICE, precision) / 1e12
        table.append({"what": "matrix product", "precision": precision, "TFLOP/s": rate})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("worlds", [1, 64, 256, 1024] if ON_GPU else [1, 2])
def test_room_64(table: Table, worlds: int, precision: Any) -> None:
    simulator = WorldSimulator.from_pretrained("room-64", device=DEVICE, precision=precision)
    starts = simulator.checkpoint.starts
    rows = [row % len(starts) for row in range(worlds)]
    state, chunk = simulator.reset(rows, range(worlds)), starts.actions[rows, -1].to(DEVICE)
    for what, step in (
        ("tokens", lambda: simulator.step(state, chunk)),
        ("all frames", lambda: simulator.step(state, chunk)[1].frames.cpu()),
    ):
        numbers = measured(step)
        per_second = worlds * FRAMES_PER_CLIP / numbers["ms"] * 1e3
        table.append(
            {"what": f"room-64, {what}", "precision": precision, "worlds": worlds} | numbers | {"frames/s": per_second}
        )


@pytest.mark.parametrize("obs_mode", ["tokens", "pixels"])
def test_vector_env(table: Table, obs_mode: Any) -> None:
    worlds = 256 if ON_GPU else 2
    envs = HumanoidWorldModelVectorEnv(worlds, device=DEVICE, obs_mode=obs_mode, max_episode_steps=-1)
    began = time.perf_counter()
    envs.reset(seed=0)
    reset_ms = 1e3 * (time.perf_counter() - began)
    actions = envs.action_space.sample()
    numbers = measured(lambda: envs.step(actions))
    table.append({"what": f"vector env, {obs_mode}", "worlds": worlds} | numbers | {"reset ms": reset_ms})


CASES = [
    ("masked_hwm_full_fast", 1, False),
    ("masked_hwm_full_fast", 8, False),
    ("masked_hwm_full", 1, False),
    ("masked_hwm_full_patch", 1, False),
    ("masked_hwm_full_fast", 1, True),
]


@pytest.mark.parametrize(("preset", "worlds", "compiled"), CASES if ON_GPU else [("tiny", 1, False)])
def test_full_size(table: Table, preset: str, worlds: int, compiled: bool) -> None:
    """Measures a clip after nine clips with eight decoding steps, in bfloat16 and without its frames."""
    torch.manual_seed(0)
    with torch.device(DEVICE), torch.no_grad():
        model = MaskedHWM(MODEL_PRESETS[preset]).eval()
        for parameter in model.parameters():
            # Layers that start from zero have an effect too.
            if not parameter.any():
                parameter.normal_(std=0.02)
    config = model.config
    decoding = DecodingConfig(steps=STEPS, temperature=0.5)
    checkpoint = simulator_of(model, decoding, min(NUM_CODES, config.codebook_size)).checkpoint
    simulator = WorldSimulator(checkpoint, decoding, precision="bfloat16")
    tokens = torch.randint(
        simulator.tokenizer.codebook_size, (worlds, PAST_CLIPS, LATENTS_PER_CLIP, *config.grid_size), device=DEVICE
    )
    actions = torch.randn(worlds, PAST_CLIPS + 1, FRAMES_PER_CLIP, ACTION_DIM, device=DEVICE)
    state = simulator.begin(tokens, actions[:, :-1], range(worlds))
    if compiled:
        for block in simulator.model.blocks:
            block.compile()
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    numbers = measured(lambda: simulator.step(state, actions[:, -1]))
    table.append(
        {"what": f"{preset}{', compiled' if compiled else ''}", "worlds": worlds, "parameters M": parameters} | numbers
    )
    torch._dynamo.reset()
