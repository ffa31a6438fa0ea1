"""Film strips: pictures that let a person judge a closed loop at a glance."""

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
    """Draws closed loops with the recorded actions: in each pair of rows truth above prediction, a column an env step.

    The best of all loops is on top, the worst at the bottom, and those between them are evenly spread by rank. The
    first column is the last recorded frame, from which the loop starts; the others are the clips' last frames.

    Args:
        simulator: the world to draw.
        held_out: episodes of at least nine clips and `steps`.
        steps: columns after the first.
        file: PNG to write, atomically.
        scores: of all episodes' loops, the higher, the better.
        seed: of the worlds.

    Raises:
        MissingExtraError: Pillow is not installed.
        SavingError: the file could not be written.
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
    rows: list[UInt8Array] = []
    for row, episode in enumerate(episodes):
        truth = held_out.frames(episode)[HISTORY_CLIPS - 1 : HISTORY_CLIPS + steps, -1]
        model = torch.cat([truth[:1], torch.stack([frames[row] for frames in predicted])])
        pair = np.concatenate([_row(truth.numpy()), _row(model.numpy())])
        rows += [pair, np.full((GAP_PIXELS, pair.shape[1], 3), 255, np.uint8)]
    write_png(file, np.concatenate(rows[:-1]).repeat(2, 0).repeat(2, 1))


def _row(frames: UInt8Array) -> UInt8Array:
    """Frames [N, H, W, 3] side by side: [H, N * W, 3]."""
    return np.concatenate(list(frames), axis=1)
