"""Scores closed loops on held-out episodes of the reference world, which are recorded once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.held_out import HeldOut, record_held_out
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import HISTORY_CLIPS, Float64Array


def held_out_episodes(checkpoint: Checkpoint, directory: Path, episodes: int, steps: int) -> HeldOut:
    """Returns held-out episodes that are long enough for closed loops, and records them first if need be.

    Args:
        checkpoint: its tokenizer encodes them.
        directory: parent of the recording.
        episodes: number of episodes.
        steps: env steps of the loops.

    Raises:
        CheckpointError: the checkpoint's robot is not that of the reference world.
        RenderingUnavailableError: OpenGL, which draws the reference world, is not available.
    """
    clips = HISTORY_CLIPS + steps
    recording = record_held_out(directory, episodes, clips, checkpoint.image_size, robot=checkpoint.robot)
    return HeldOut(recording, checkpoint.tokenizer, clips_per_episode=clips, num_episodes=episodes)


def score_loops(tokenizer: VideoTokenizer, held_out: HeldOut, predicted: Tensor, steps: Sequence[int]) -> Float64Array:
    """Compares predicted clips with the recorded ones.

    Args:
        tokenizer: decodes the clips.
        held_out: E episodes.
        predicted: tokens of the clips after the first nine, int [E, at least the largest step, 3, H, W].
        steps: the K env steps that are compared, from 1.

    Returns:
        PSNR over the 17 frames of each clip in dB, [E, K].
    """
    chosen = torch.tensor(steps) - 1
    scores = []
    for episode, tokens in enumerate(predicted):
        truth = held_out.frames(episode)[HISTORY_CLIPS + chosen]
        scores.append(psnr_db(tokenizer.decode(tokens[chosen]).cpu(), truth).numpy())
    return np.array(scores, np.float64)


def tokenizer_ceiling(held_out: HeldOut, tokenizer: VideoTokenizer, steps: Sequence[int]) -> Float64Array:
    """Returns the same for the recorded clips, encoded and decoded: PSNR in dB, [E, K]."""
    return score_loops(tokenizer, held_out, held_out.tokens[:, HISTORY_CLIPS:], steps)
