"""Measures decoding at full size, and compares it with the naive loop over the same weights: `make bench`.

The naive loop (tests/naive_decoding.py) makes K passes over all ten clips and all of the output heads. A step of ours
encodes the newest clip once (streaming history) and passes K times over the next clip alone.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from hwm_env.decoding.cache import NextClip, encode_all_but_newest
from hwm_env.decoding.config import DecodingConfig, Order
from hwm_env.decoding.maskgit import Decoded, decode_clip, masked_counts
from hwm_env.model.cost import cost_of
from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Precision, convert
from hwm_env.precision import has_fast_bfloat16
from tests.benchmarks.timing import NEEDS_BFLOAT16, matmul_flops_per_s, median_s
from tests.benchmarks.worlds import NUM_CODES, Past, random_past, untrained
from tests.naive import naive_logits
from tests.naive_decoding import naive_decode

pytestmark = pytest.mark.benchmark

LARGEST = "masked_hwm_full_patch"
PRESETS = ("room-64", "masked_hwm_full", LARGEST)
STEPS = (1, 2, 4, 8, 12)
COMPARED_STEPS = 8


def repeats(preset: str) -> int:
    """Repeats less often at full size, where a pass takes seconds."""
    return 15 if preset == "room-64" else 1


def decode(model: MaskedHWM, past: Past, history: EncodedHistory, config: DecodingConfig) -> Decoded:
    chunks = torch.stack([past.actions[:, -1], past.chunk], dim=1)
    predict = NextClip(model, history, past.tokens[:, -1], chunks)
    shape = (1, 3, *model.config.grid_size)
    return decode_clip(predict, model.head, shape, config, None, torch.device("cpu"), num_codes=NUM_CODES)


@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_env_step_against_the_naive_loop(preset: str) -> None:
    """Decodes greedily, so that the tokens must be equal; the naive loop runs at K = 8."""
    model = untrained(preset)
    past = random_past(model)
    history = encode_all_but_newest(model, past.tokens, past.actions, None)
    cost = cost_of(model.config)
    settings: list[tuple[Order, int]] = [*(("confidence", steps) for steps in STEPS), ("halton", COMPARED_STEPS)]
    measured = []
    for order, steps in settings:
        config = DecodingConfig(steps=steps, temperature=0.0, order=order)
        rate = matmul_flops_per_s()
        decode_s = median_s(partial(decode, model, past, history, config), repeats(preset), warm_up=False)
        flops = (steps + 1) * cost.pass_flops + heads_evaluated(model, steps, order) * cost.head_flops
        measured.append((order, steps, decode_s, flops / decode_s, rate))
    config = DecodingConfig(steps=COMPARED_STEPS, temperature=0.0)
    tokens = decode(model, past, history, config).tokens
    # Last: it leaves behind memory in pieces.
    began = time.perf_counter()
    naive_tokens, *_ = naive_decode(model, past.tokens, past.actions, past.chunk, config, None, NUM_CODES)
    naive_s = (time.perf_counter() - began) / COMPARED_STEPS
    differing = (tokens != naive_tokens).float().mean().item()
    print(f"\n{preset}: a naive pass {naive_s:.3f} s, tokens that differ {differing:.2%}")
    for order, steps, step_s, flops_per_s, rate in measured:
        print(
            f"| `{preset}` | {order} | {steps} | {step_s:.3f} s | {steps * naive_s:.2f} s | "
            f"{steps * naive_s / step_s:.1f} | {flops_per_s / 1e9:.0f} | {flops_per_s / rate:.0%} |"
        )


@torch.no_grad()
def test_smaller_number_types_against_the_naive_loop() -> None:
    """Compares steps in other number types with the naive loop in float32, and their tokens with those of float32."""
    model = untrained(LARGEST)
    past = random_past(model)
    hidden = torch.full((1, 3, 1, *model.config.grid_size), model.config.mask_token, dtype=torch.int32)
    inputs = past.tokens.transpose(1, 2), hidden, past.actions.flatten(1, 2), past.chunk
    naive_s = COMPARED_STEPS * median_s(lambda: naive_logits(model, *inputs), 1, warm_up=False)
    expected: dict[Order, Tensor] = {}
    precisions: list[Precision] = ["float32", *(["bfloat16"] if has_fast_bfloat16("cpu") else []), "int8"]
    for precision in precisions:
        model = convert(untrained(LARGEST), precision)
        history = encode_all_but_newest(model, past.tokens, past.actions, None)
        orders: tuple[Order, ...] = ("confidence", "halton")
        for order in orders:
            config = DecodingConfig(steps=COMPARED_STEPS, temperature=0.0, order=order)
            began = time.perf_counter()
            tokens = decode(model, past, history, config).tokens
            step_s = time.perf_counter() - began
            differing = (tokens != expected.setdefault(order, tokens)).float().mean().item()
            print(
                f"\n| `{LARGEST}` | {precision} | {order} | {COMPARED_STEPS} | {step_s:.3f} s | {naive_s:.2f} s | "
                f"{naive_s / step_s:.1f} | {differing:.1%} |"
            )


@pytest.mark.parametrize("preset", [*PRESETS, "masked_hwm_full_fast"])
@torch.no_grad()
def test_passes(preset: str) -> None:
    """Measures a forward pass over ten clips, the naive one, the encoding of nine clips, and one decoding step."""
    model = untrained(preset)
    past = random_past(model)
    hidden = torch.full((1, 3, 1, *model.config.grid_size), model.config.mask_token, dtype=torch.int32)
    v_p, a_p = past.tokens.transpose(1, 2), past.actions.flatten(1, 2)
    history = model.encode_history(past.tokens, a_p)
    shorter = encode_all_but_newest(model, past.tokens, past.actions, None)
    next_one = model.prepare_next(history, past.chunk.unsqueeze(1))
    newest_and_next = model.prepare_next(shorter, torch.stack([past.actions[:, -1], past.chunk], dim=1))
    hidden_BTLHW = hidden.transpose(1, 2)
    both_BTLHW = torch.cat([past.tokens[:, -1:], hidden_BTLHW], dim=1)
    passes: dict[str, Callable[[], object]] = {
        "forward": lambda: model(v_p, hidden, a_p, past.chunk),
        "naive forward": lambda: naive_logits(model, v_p, hidden, a_p, past.chunk),
        "history of nine clips": lambda: model.encode_history(past.tokens, a_p),
        "newest and next clip": lambda: model.next_features(newest_and_next, both_BTLHW),
        "next clip": lambda: model.next_features(next_one, hidden_BTLHW),
    }
    times = {name: median_s(function, repeats(preset), warm_up=False) for name, function in passes.items()}
    print(f"\n| `{preset}` | " + " | ".join(f"{name} {seconds:.3f} s" for name, seconds in times.items()) + " |")


@pytest.mark.parametrize(
    ("preset", "precision"),
    [
        *((preset, "float32") for preset in (*PRESETS, "masked_hwm_full_fast")),
        pytest.param(LARGEST, "bfloat16", marks=NEEDS_BFLOAT16),
    ],
)
def test_peak_memory(preset: str, precision: str) -> None:
    """Measures the memory of encoding a history and of one env step at K = 8, batch 1."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", preset, "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"\n| `{preset}` | {precision} | {float(done.stdout):.2f} GB |")


def heads_evaluated(model: MaskedHWM, steps: int, order: str) -> float:
    """Returns how many times the head was evaluated, in units of all tokens of a clip."""
    num_tokens = 3 * model.config.num_positions
    if order != "confidence":
        return 1.0
    return sum([num_tokens, *masked_counts(num_tokens, steps)]) / num_tokens
