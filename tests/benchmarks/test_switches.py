"""Measures decoding steps in bfloat16, int8 and with torch.compile: `make bench`."""

import pytest
import torch

from hwm_env.decoding.cache import NextClip, encode_all_but_newest
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import Precision, convert
from hwm_env.precision import has_fast_bfloat16
from tests.benchmarks.timing import median_s
from tests.benchmarks.worlds import random_past, untrained

# Compiling imports parts of PyTorch that use its own deprecated functions.
pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@torch.no_grad()
def passes_s(model: MaskedHWM, repeats: int) -> tuple[float, float]:
    """Returns seconds of the first decoding step, which encodes the newest clip as well, and of a later one."""
    past = random_past(model)
    history = encode_all_but_newest(model, past.tokens, past.actions, None)
    chunks = torch.stack([past.actions[:, -1], past.chunk], dim=1)
    hidden = torch.full((1, 3, *model.config.grid_size), model.config.mask_token, dtype=torch.int32)
    later = NextClip(model, history, past.tokens[:, -1], chunks)
    later(hidden)
    return (
        median_s(lambda: NextClip(model, history, past.tokens[:, -1], chunks)(hidden), repeats),
        median_s(lambda: later(hidden), repeats),
    )


@pytest.mark.parametrize("preset", ["room-64", "masked_hwm_full_patch"])
def test_switches(preset: str) -> None:
    repeats = 30 if preset == "room-64" else 3
    plain_s = passes_s(untrained(preset), repeats)
    switches: list[tuple[Precision, bool]] = [("int8", False), ("float32", True)]
    if has_fast_bfloat16("cpu"):  # Without, it takes minutes.
        switches.insert(0, ("bfloat16", False))
    print(f"\n| `{preset}` | float32 | {plain_s[0] * 1e3:.1f} | {plain_s[1] * 1e3:.1f} | 1.0 |")
    for precision, compiled in switches:
        model = convert(untrained(preset), precision)
        if compiled:
            for block in model.blocks:
                block.compile()
        append_s, pass_s = passes_s(model, repeats)
        name = precision + (", compiled" if compiled else "")
        print(f"| `{preset}` | {name} | {append_s * 1e3:.1f} | {pass_s * 1e3:.1f} | {plain_s[1] / pass_s:.2f} |")
