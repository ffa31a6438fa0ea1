"""Closed loops with recorded actions: a world that goes on from its own predictions."""

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

WORLDS_AT_ONCE = 32


class Loops(NamedTuple):
    """What N worlds predicted in as many steps."""

    tokens: Tensor
    """Of the predicted clips, int32 [N, steps, 3, H, W]."""
    poses: Tensor | None
    """Of the base, as the worlds carry it along: before the first predicted clip and at the end of each, float32
    [N, steps + 1, 3], NaN where a world does not know its place; None without a scene."""


def run_closed_loops(
    simulator: WorldSimulator, held_out: HeldOut, steps: int, seed: int, poses: Tensor | None = None
) -> Loops:
    """Begins at the first nine clips of each episode and goes on with the recorded actions.

    Args:
        simulator: with the decoding that shall be judged.
        held_out: E episodes of at least nine clips and `steps`.
        steps: env steps.
        seed: of the worlds: that of episode e is `seed` + e.
        poses: see `continue_worlds`.
    """
    after = held_out.actions[:, HISTORY_CLIPS : HISTORY_CLIPS + steps]
    past = held_out.tokens[:, :HISTORY_CLIPS], held_out.actions[:, :HISTORY_CLIPS]
    return continue_worlds(simulator, *past, after, [seed + episode for episode in range(len(held_out))], poses=poses)


def continue_worlds(
    simulator: WorldSimulator,
    tokens: Tensor,
    actions: Tensor,
    chunks: Tensor,
    seeds: list[int],
    *,
    poses: Tensor | None = None,
) -> Loops:
    """Predicts several clips on top of recorded histories.

    Args:
        simulator: the world.
        tokens: histories, int [N, T, 3, H, W].
        actions: theirs, float [N, T, 17, 25].
        chunks: actions of the clips to predict, float [N, steps, 17, 25].
        seeds: N of them.
        poses: where the histories end, float [N, 3], if that is known already; by default, worlds with a scene find
            out by themselves.
    """
    predicted, carried = [], []
    for part in tqdm(torch.arange(len(tokens)).split(WORLDS_AT_ONCE), desc="closed loops", unit="batch"):
        of_part = None if poses is None else poses[part]
        state = simulator.begin(tokens[part], actions[part], [seeds[row] for row in part], poses=of_part)
        beliefs, clips = [state.belief], []
        for chunk in chunks[part].unbind(1):
            state, clip = simulator.step(state, chunk)
            clips.append(clip.tokens.cpu())
            beliefs.append(state.belief)
        predicted.append(torch.stack(clips, dim=1))
        known = [belief.poses.cpu() for belief in beliefs if belief is not None]
        if known:
            carried.append(torch.stack(known, dim=1))
    return Loops(torch.cat(predicted), torch.cat(carried) if carried else None)
