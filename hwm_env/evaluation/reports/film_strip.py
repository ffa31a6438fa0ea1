"""Draws film strips of closed loops beside the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hwm_env.data.png import write_png
from hwm_env.errors import require_extra
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS, UInt8Array

NUM_STRIPS = 8
GAP_PIXELS = 4


def closed_loop_strips(
    simulator: WorldSimulator, held_out: HeldOut, steps: int, file: Path, *, scores: Sequence[float], seed: int
) -> None:
    """Draws closed loops with the recorded actions: the truth above the prediction, one column per env step.

    The best loop is at the top, the worst at the bottom, and those between them are evenly spread by rank. The first
    column is the last recorded frame, from which the loop starts; the others are the clips' last frames.

    Args:
        simulator: predicts the clips.
        held_out: episodes of at least 9 + `steps` clips.
        steps: env steps of each loop.
        file: PNG to write, atomically.
        scores: a score of each episode's loop; higher is better.
        seed: seed of the first episode's world; each next one has one more.

    Raises:
        MissingExtraError: Pillow is not installed.
        SavingError: the file cannot be written.
    """
    require_extra("PIL.Image", "evaluation")
    ranks = np.linspace(0, len(held_out) - 1, min(NUM_STRIPS, len(held_out))).round().astype(int)
    episodes = np.argsort(scores)[::-1][ranks].tolist()
    state = simulator.begin(
        held_out.tokens[episodes, :HISTORY_CLIPS],
        held_out.actions[episodes, :HISTORY_CLIPS],
        [seed + e for e in episodes],
    )
    predicted = []
    for step in range(steps):
        state, clip = simulator.step(state, held_out.actions[episodes, HISTORY_CLIPS + step])
        predicted.append(clip.frames[:, -1].cpu())
    strips: list[UInt8Array] = []
    for row, episode in enumerate(episodes):
        truth = held_out.frames(episode)[HISTORY_CLIPS - 1 : HISTORY_CLIPS + steps, -1]
        model = torch.cat([truth[:1], torch.stack([frames[row] for frames in predicted])])
        pair = np.concatenate([_side_by_side(truth.numpy()), _side_by_side(model.numpy())])
        strips += [pair, np.full((GAP_PIXELS, pair.shape[1], 3), 255, np.uint8)]
    write_png(file, np.concatenate(strips[:-1]).repeat(2, 0).repeat(2, 1))


def _side_by_side(frames: UInt8Array) -> UInt8Array:
    """Joins frames [N, H, W, 3] from left to right: [H, N * W, 3]."""
    return np.concatenate(list(frames), axis=1)
