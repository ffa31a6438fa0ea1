"""Closed loops with recorded actions: a world that goes on from its own predictions."""

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.held_out import HeldOut
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

WORLDS_AT_ONCE = 32


def run_closed_loops(simulator: WorldSimulator, held_out: HeldOut, steps: int, seed: int) -> Tensor:
    """Begins at the first nine clips of each episode and goes on with the recorded actions.

    Args:
        simulator: with the decoding that shall be judged.
        held_out: E episodes of at least nine clips and `steps`.
        steps: env steps.
        seed: of the worlds: that of episode e is `seed` + e.

    Returns:
        Tokens of the predicted clips, int32 [E, steps, 3, H, W].
    """
    after = held_out.actions[:, HISTORY_CLIPS : HISTORY_CLIPS + steps]
    past = held_out.tokens[:, :HISTORY_CLIPS], held_out.actions[:, :HISTORY_CLIPS]
    return continue_worlds(simulator, *past, after, [seed + episode for episode in range(len(held_out))])


def continue_worlds(
    simulator: WorldSimulator, tokens: Tensor, actions: Tensor, chunks: Tensor, seeds: list[int]
) -> Tensor:
    """Predicts several clips on top of recorded histories.

    Args:
        simulator: the world.
        tokens: histories, int [N, T, 3, H, W].
        actions: theirs, float [N, T, 17, 25].
        chunks: actions of the clips to predict, float [N, steps, 17, 25].
        seeds: N of them.

    Returns:
        int32 [N, steps, 3, H, W].
    """
    rows = []
    for part in tqdm(torch.arange(len(tokens)).split(WORLDS_AT_ONCE), desc="closed loops", unit="batch"):
        state = simulator.begin(tokens[part], actions[part], [seeds[row] for row in part])
        clips = []
        for chunk in chunks[part].unbind(1):
            state, clip = simulator.step(state, chunk)
            clips.append(clip.tokens.cpu())
        rows.append(torch.stack(clips, dim=1))
    return torch.cat(rows)
