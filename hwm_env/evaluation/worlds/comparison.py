"""Compares closed loops with recorded actions, frame by frame, with what was recorded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.segments import window_starts
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import DatasetError
from hwm_env.evaluation.frame_scores import score_frames
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.fields import Count, checked
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.types import FRAMES_PER_CLIP, UInt8Array

BATCH = 8
"""Windows that are predicted together; bounds the frames in memory."""

Scores = dict[str, list[float]]
"""By metric, its value for each predicted frame: psnr_db (dB), ssim and, if there are weights for it, lpips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A window of a data set and its prediction in closed loop, F = 17 * env steps frames."""

    shard: int
    """Index of the shard."""
    first_clip: int
    """Index of the history's first clip in the shard."""
    history_clips: int
    """Clips of the history."""
    seed: int
    """Seed of the world."""
    history: UInt8Array
    """The last clip of the history, uint8 [17, H, W, 3]."""
    history_seen: UInt8Array
    """The same clip encoded and decoded, as the simulator sees it, uint8 [17, H, W, 3]."""
    truth: UInt8Array
    """The true frames after the history, uint8 [F, H, W, 3]."""
    predicted: UInt8Array
    """The predicted frames, uint8 [F, H, W, 3]."""
    scores: dict[str, Scores]
    """Scores of the `model` and of `repeat_last_frame`, the last frame of the history as the prediction."""


def compare(
    simulator: WorldSimulator, data: Dataset, *, samples: int, steps: int, seed: int = 0, lpips: LPIPS | None = None
) -> Iterator[Comparison]:
    """Runs a simulator in closed loop on evenly spread windows of a data set, and yields a comparison for each.

    The ground truth is the data set's raw images, or its decoded tokens if it has none.

    Args:
        simulator: predicts the frames.
        data: data set with tokens from the simulator's tokenizer. If its segments are too short for a full history and
            the steps, the history is as long as they allow.
        samples: largest number of windows.
        steps: env steps.
        seed: seed of the first world; each next one has one more.
        lpips: compares frames with LPIPS as well; must be on the simulator's device.

    Raises:
        InvalidInputError: `samples` or `steps` is below 1, or the tokens do not fit the model.
        DatasetError: the segments are too short, there are no tokens, the images have another size, or the data are of
            another robot.
        CheckpointError: another tokenizer made the tokens.
        MissingExtraError: torchmetrics is not installed.
    """
    checked("samples", samples, Count)
    checked("steps", steps, Count)
    windows = _windows(data, simulator.model.config.num_past_clips, steps)
    check_tokenizer(simulator.tokenizer, data)
    check_robot(simulator.checkpoint.robot, data)
    _check_images(simulator.tokenizer, data)
    history_clips = windows.num_clips - steps
    count = min(samples, len(windows))
    chosen = np.arange(count, dtype=np.int64) * len(windows) // count
    for first in range(0, count, BATCH):
        part = chosen[first : first + BATCH]
        seeds = [seed + first + row for row in range(len(part))]
        batch = windows.gather(part)
        tokens, actions = torch.from_numpy(batch.tokens), torch.from_numpy(batch.actions)
        predicted = _closed_loop(simulator, tokens, actions, history_clips, seeds)
        for row, window in enumerate(part.tolist()):
            shard, first_clip = windows.locate(window)
            recorded = tokens[row, history_clips - 1 :].to(simulator.device)
            truth = _recorded_frames(data, shard, first_clip + history_clips - 1, len(recorded))
            if truth is None:
                truth = simulator.tokenizer.decode(recorded).flatten(0, 1)
            history, future = truth[:FRAMES_PER_CLIP], truth[FRAMES_PER_CLIP:].to(simulator.device)
            repeated = history[-1:].to(simulator.device).expand_as(future)
            yield Comparison(
                shard=data.shards[shard].index,
                first_clip=first_clip,
                history_clips=history_clips,
                seed=seeds[row],
                history=history.cpu().numpy(),
                history_seen=simulator.tokenizer.decode(recorded[:1])[0].cpu().numpy(),
                truth=future.cpu().numpy(),
                predicted=predicted[row].cpu().numpy(),
                scores={
                    "model": _scores(predicted[row], future, lpips),
                    "repeat_last_frame": _scores(repeated, future, lpips),
                },
            )


def _check_images(tokenizer: VideoTokenizer, data: Dataset) -> None:
    """Checks that the data set's images have the size that the tokenizer decodes to.

    Raises:
        DatasetError: they do not.
    """
    height, width = (side * tokenizer.spatial_compression for side in data.metadata.token_grid)
    if data.has(ShardFile.FRAMES) and data.metadata.image_size != (height, width):
        raise DatasetError(
            f"{data.directory}: expected raw images of {height} x {width} pixels ({tokenizer.spatial_compression} per "
            f"token), got {data.metadata.image_size}; use the images that the tokens were made of"
        )


def _windows(data: Dataset, num_past_clips: int, steps: int) -> ClipWindows:
    """Returns windows of the longest history that the model and the data set allow, plus the steps."""
    single = ClipWindows(data, 1)  # raises if there are no tokens or no whole clip
    lengths = range(num_past_clips + steps, single.num_clips, -1)
    longest = next((num_clips for num_clips in lengths if _has_window(data, num_clips)), single.num_clips)
    if longest <= steps:
        raise DatasetError(
            f"{data.directory}: expected a segment of at least {steps + 1} whole clips (1 of history and {steps} env "
            f"steps), the longest has {longest}; ask for fewer steps or record longer segments"
        )
    return ClipWindows(data, longest)


def _has_window(data: Dataset, num_clips: int) -> bool:
    """Whether there are tokens of this many clips in a row."""
    return any(len(window_starts(s.segments[: s.num_clips * FRAMES_PER_CLIP], num_clips)) for s in data.shards)


def _closed_loop(
    simulator: WorldSimulator, tokens: Tensor, actions: Tensor, history_clips: int, seeds: list[int]
) -> Tensor:
    """Predicts the frames after the first clips of windows, with the windows' actions.

    Args:
        simulator: predicts the frames.
        tokens: int32 [B, T, 3, h, w].
        actions: float32 [B, T, 17, 25].
        history_clips: number of clips in the history.
        seeds: seed of each world, B.

    Returns:
        uint8 [B, F, H, W, 3], F = 17 * (T - history_clips).
    """
    state = simulator.begin(tokens[:, :history_clips], actions[:, :history_clips], seeds)
    clips = []
    for chunk in tqdm(actions[:, history_clips:].unbind(1), desc="closed loop", unit="env step"):
        state, clip = simulator.step(state, chunk)
        clips.append(clip.frames)
    return torch.cat(clips, dim=1)


def _recorded_frames(data: Dataset, shard: int, first_clip: int, num_clips: int) -> Tensor | None:
    """Returns the raw images of clips, uint8 [17 * num_clips, H, W, 3]; `None` if the data set has none."""
    frames = data.shards[shard].frames
    if frames is None:
        return None
    first, stop = first_clip * FRAMES_PER_CLIP, (first_clip + num_clips) * FRAMES_PER_CLIP
    return torch.from_numpy(np.array(frames[first:stop]))


def _scores(images: Tensor, truth: Tensor, lpips: LPIPS | None) -> Scores:
    return {name: scores.tolist() for name, scores in score_frames(images, truth, lpips).items()}
