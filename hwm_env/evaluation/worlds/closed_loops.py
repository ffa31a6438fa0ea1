"""Runs closed loops with recorded actions: a learned world that continues from its own predictions."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

BATCH = 32
"""Closed loops that are computed together."""


class Loops(NamedTuple):
    """The predictions of N closed loops."""

    tokens: Tensor
    """Tokens of the predicted clips, int32 [N, steps, 3, H, W]."""
    poses: Tensor | None
    """Carried poses before the first predicted clip and at the end of each, float32 [N, steps + 1, 3], NaN where
    unknown; `None` without a scene."""


class LoopFrames(NamedTuple):
    """The frames of a closed loop and of what it is compared with; all uint8 [steps, 17, H, W, 3]."""

    truth: Tensor
    """The recorded clips."""
    model: Tensor
    """The predicted clips."""
    repeat_last_frame: Tensor
    """The last frame before the loop, repeated."""
    tokenizer_ceiling: Tensor
    """The recorded clips, encoded and decoded."""


def run_closed_loops(
    simulator: WorldSimulator, held_out: HeldOut, steps: int, seed: int, poses: Tensor | None = None
) -> Loops:
    """Runs one closed loop per episode, from its first nine clips and with its recorded actions.

    Args:
        simulator: predicts the clips.
        held_out: E episodes of at least 9 + `steps` clips.
        steps: env steps of each loop.
        seed: seed of the first episode's world; each next one has one more.
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
    """Predicts several clips after recorded histories.

    Args:
        simulator: predicts the clips.
        tokens: tokens of the histories, int [N, T, 3, H, W].
        actions: actions of the histories, float [N, T, 17, 25].
        chunks: actions of the clips to predict, float [N, steps, 17, 25].
        seeds: seed of each world, N.
        poses: poses at the end of the histories, float [N, 3]; `None`: worlds with a scene locate themselves.
    """
    predicted, carried = [], []
    for rows in tqdm(torch.arange(len(tokens)).split(BATCH), desc="closed loops", unit="batch"):
        known_poses = None if poses is None else poses[rows]
        state = simulator.begin(tokens[rows], actions[rows], [seeds[row] for row in rows], poses=known_poses)
        beliefs, clips = [state.belief], []
        for chunk in chunks[rows].unbind(1):
            state, clip = simulator.step(state, chunk)
            clips.append(clip.tokens.cpu())
            beliefs.append(state.belief)
        predicted.append(torch.stack(clips, dim=1))
        carried_poses = [belief.poses.cpu() for belief in beliefs if belief is not None]
        if carried_poses:
            carried.append(torch.stack(carried_poses, dim=1))
    return Loops(torch.cat(predicted), torch.cat(carried) if carried else None)


def decoded_loops(simulator: WorldSimulator, held_out: HeldOut, predicted: Tensor) -> Iterator[LoopFrames]:
    """Decodes closed loops and their baselines, one loop at a time.

    Args:
        simulator: simulator that predicted them; its tokenizer decodes them.
        held_out: E episodes.
        predicted: tokens from `run_closed_loops`, int [E, steps, 3, H, W].

    Yields:
        The frames of each episode's loop, on the CPU.
    """
    steps = predicted.shape[1]
    for episode in tqdm(range(len(held_out)), desc="compare", unit="episode"):
        recorded = held_out.frames(episode)[HISTORY_CLIPS - 1 : HISTORY_CLIPS + steps]
        model, ceiling = (
            simulator.tokenizer.decode(tokens.to(simulator.device)).cpu()
            for tokens in (predicted[episode], held_out.tokens[episode, HISTORY_CLIPS : HISTORY_CLIPS + steps])
        )
        truth = recorded[1:]
        yield LoopFrames(truth, model, recorded[:1, -1:].expand_as(truth), ceiling)
