"""The computations whose results are recorded: a pass and three env steps, for several model configurations.

To record them again after an intended change: `python -m tests.golden.regenerate`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import torch

from hwm_env.decoding.config import DecodingConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from tests.model.inputs import awake, random_inputs
from tests.simulators import simulator_of

FILE = Path(__file__).parent / "values.json"
SHIPPED = replace(TINY, num_past_clips=3)
"""The configuration of the checkpoint that comes with the package, `spatial_lookback` included, at a tiny size."""
CASES = {
    f"{layout}-{scope}": replace(SHIPPED, latent_layout=layout, temporal_scope=scope, spatial_lookback=False)
    for layout in ("stacked", "sequential")
    for scope in ("patch", "pooled")
} | {"room-64": SHIPPED, "sequential-patch-lookback": replace(SHIPPED, latent_layout="sequential")}


class Values(TypedDict):
    """Results of one case."""

    logits: list[float]
    """Log-probabilities of the first two tokens of the first future clip: 2 x 12 numbers."""
    rollout: list[list[int]]
    """The 18 tokens of each of three clips."""


def compute(name: str) -> Values:
    """Computes a case with fixed seeds."""
    model = awake(MaskedHWM(CASES[name], torch.Generator().manual_seed(0)))
    inputs = random_inputs(model, batch=1, past=3, future=2)
    with torch.no_grad():
        logits = model(*inputs)
    simulator = simulator_of(model, DecodingConfig(steps=3, temperature=1.0))
    state = simulator.begin(inputs.v_p.transpose(1, 2), inputs.a_p.unflatten(1, (3, 17)), [0])
    rollout = []
    for step in range(3):
        state, clip = simulator.step(state, (step - 1) * inputs.a_f[:, :17])
        rollout.append(clip.tokens.flatten().tolist())
    return {"logits": [round(x, 6) for x in logits[0, 0, 0].flatten(0, 1)[:2].flatten().tolist()], "rollout": rollout}
