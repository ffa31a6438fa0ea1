"""Ground truth beside prediction: videos and scores of closed loops with recorded actions."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.data.files import Content, check_writable, json_bytes, read_json, shown, write_files
from hwm_env.data.format import ShardFile
from hwm_env.data.labels import labelled_pair
from hwm_env.data.reader import Dataset
from hwm_env.data.segments import window_starts
from hwm_env.data.videos import encode_video
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.evaluation.image_metrics import psnr_db, ssim
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.fields import Count, checked
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, UInt8Array

METRICS_FILE = "metrics.json"
BATCH = 8
"""Worlds at a time; bounds the frames in memory."""

Scores = dict[str, list[float]]
"""Metric to its value for each predicted frame: psnr_db (dB), ssim and, where there are weights for it, lpips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A stretch of a data set, and what a simulator makes of its actions; F = 17 * env steps frames."""

    shard: int
    first_clip: int
    """Where the history begins in the shard."""
    history_clips: int
    """Clips that the simulator was given."""
    seed: int
    """Of the world."""
    history: UInt8Array
    """uint8 [17, H, W, 3]: the last clip of the history."""
    history_seen: UInt8Array
    """uint8 [17, H, W, 3]: the same clip through the tokenizer, as the simulator sees it."""
    truth: UInt8Array
    """uint8 [F, H, W, 3]: what followed."""
    predicted: UInt8Array
    """uint8 [F, H, W, 3]: what the simulator predicts, in closed loop."""
    scores: dict[str, Scores]
    """Of the `model`, and of `repeat_last_frame`: the last frame of the history instead of any prediction."""


def compare(
    simulator: WorldSimulator, data: Dataset, *, samples: int, steps: int, seed: int = 0, lpips: LPIPS | None = None
) -> Iterator[Comparison]:
    """Runs a simulator in closed loop on evenly spread windows of a data set.

    The ground truth is the data set's raw images; where it has none, its tokens decoded.

    Args:
        simulator: the world to judge.
        data: a data set whose tokens the simulator's tokenizer made. Where its segments are too short for a full
            history and the steps, the history is as long as they allow.
        samples: windows; fewer if there are not as many.
        steps: env steps.
        seed: of the first world; each has one more than the one before.
        lpips: to compare frames with LPIPS as well; on the simulator's device.

    Raises:
        InvalidInputError: `samples` or `steps` is below 1, or the tokens do not fit the model.
        DatasetError: the segments are too short, there are no tokens, or images of another size.
        CheckpointError: another tokenizer made the tokens.
        MissingExtraError: torchmetrics is not installed.
    """
    checked("samples", samples, Count)
    checked("steps", steps, Count)
    windows = _windows(data, simulator.model.config.num_past_clips, steps)
    check_tokenizer(simulator.tokenizer, data)
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
            shown = tokens[row, history_clips - 1 :].to(simulator.device)
            truth = _recorded(data, shard, first_clip + history_clips - 1, len(shown))
            if truth is None:
                truth = simulator.tokenizer.decode(shown).flatten(0, 1)
            history, future = truth[:FRAMES_PER_CLIP], truth[FRAMES_PER_CLIP:].to(simulator.device)
            repeated = history[-1:].to(simulator.device).expand_as(future)
            yield Comparison(
                shard=data.shards[shard].index,
                first_clip=first_clip,
                history_clips=history_clips,
                seed=seeds[row],
                history=history.cpu().numpy(),
                history_seen=simulator.tokenizer.decode(shown[:1])[0].cpu().numpy(),
                truth=future.cpu().numpy(),
                predicted=predicted[row].cpu().numpy(),
                scores={
                    "model": _scores(predicted[row], future, lpips),
                    "repeat_last_frame": _scores(repeated, future, lpips),
                },
            )


def write_comparisons(
    simulator: WorldSimulator,
    data: Dataset,
    out: Path,
    *,
    samples: int = 4,
    steps: int = 8,
    seed: int = 0,
    lpips: Path | None = None,
) -> dict[str, object]:
    """Writes `sample_000_comparison.mp4` and so on, ground truth | predicted, and `metrics.json`: all, or none of them.

    Args:
        simulator: the world to judge.
        data: see `compare`.
        out: directory for the files; new, empty, or with an earlier comparison, which is replaced.
        samples: videos.
        steps: env steps of each.
        seed: of the worlds.
        lpips: weights for LPIPS (see evaluation/lpips.py); without them it is left out.

    Returns:
        What `metrics.json` holds: PSNR (dB), SSIM and LPIPS of each predicted frame, of each sample and in the mean.

    Raises:
        InvalidInputError: there is something else in `out`; or see `compare`.
        DatasetError, CheckpointError, MissingExtraError: see `compare`, `LPIPS.load`, `write_video`.
        SavingError: the files cannot be written.
    """
    for module in ("av", "PIL", "torchmetrics"):
        require_extra(module, "evaluation")  # before hours of work, not after
    _check_free(out)
    metric = None if lpips is None else LPIPS.load(lpips, simulator.device)
    described: list[dict[str, object]] = []
    scores: list[dict[str, Scores]] = []
    metrics: dict[str, object] = {}

    def files() -> Iterator[tuple[Path, Content]]:
        for index, sample in enumerate(compare(simulator, data, samples=samples, steps=steps, seed=seed, lpips=metric)):
            video = f"sample_{index:03d}_comparison.mp4"
            place = {"shard": sample.shard, "first_clip": sample.first_clip, "history_clips": sample.history_clips}
            described.append({"video": video, **place, "seed": sample.seed, **sample.scores})
            scores.append(sample.scores)
            yield out / video, encode_video(np.stack(list(_pictures(sample))), fps=FRAME_RATE_HZ)
        by_frame = {who: _mean([of_sample[who] for of_sample in scores]) for who in scores[0]}
        metrics["settings"] = {
            "checkpoint": simulator.checkpoint.identity,
            "data": str(data.directory),
            "tokenizer": {"checkpoint": simulator.tokenizer.identity, "data": data.metadata.tokenizer},
            "samples": len(described),
            "steps": steps,
            "seed": seed,
            "decoding": asdict(simulator.decoding),
            "fps": FRAME_RATE_HZ,
            "ssim_data_range": 1.0,
            "lpips": None if lpips is None else lpips.name,
        }
        metrics["truth"] = "recorded" if data.has(ShardFile.FRAMES) else "decoded tokens"
        means = {who: {name: float(np.mean(values)) for name, values in of.items()} for who, of in by_frame.items()}
        metrics.update(mean=means, mean_by_frame=by_frame, samples=described)
        yield out / METRICS_FILE, json_bytes(metrics)

    write_files(files())
    return metrics


def _check_free(out: Path) -> None:
    """Makes sure that a directory holds nothing, or an earlier comparison.

    Raises:
        InvalidInputError: it holds something else.
        SavingError: it cannot be written.
    """
    check_writable(out / METRICS_FILE)
    names = {name for name in os.listdir(out) if not name.startswith(".")} if os.path.isdir(out) else set()
    is_ours = METRICS_FILE in names and {"settings", "mean_by_frame"} <= read_json(out / METRICS_FILE).keys()
    if names and not is_ours:
        raise InvalidInputError(
            f"{shown(out)} holds {min(names)}, and no {METRICS_FILE} of an earlier comparison; choose another directory"
        )


def _check_images(tokenizer: VideoTokenizer, data: Dataset) -> None:
    """Raises an error where the tokenizer cannot make the data set's images."""
    height, width = (side * tokenizer.spatial_compression for side in data.metadata.token_grid)
    if data.has(ShardFile.FRAMES) and data.metadata.image_size != (height, width):
        raise DatasetError(
            f"{data.directory}: expected raw images of {height} x {width} pixels, {tokenizer.spatial_compression} a "
            f"token, got {data.metadata.image_size}; put the images there that the tokens were made of"
        )


def _windows(data: Dataset, num_past_clips: int, steps: int) -> ClipWindows:
    """Windows of a history, as long as the model and the data set allow, and the steps."""
    single = ClipWindows(data, 1)  # says so where there are no tokens, or no clip is whole
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
    """Predicts what follows the first clips of some windows, with their actions.

    Args:
        simulator: the world.
        tokens: int32 [B, T, 3, h, w].
        actions: float32 [B, T, 17, 25].
        history_clips: clips to begin with.
        seeds: of the worlds.

    Returns:
        uint8 [B, F, H, W, 3], F the frames of T - history_clips clips.
    """
    state = simulator.begin(tokens[:, :history_clips], actions[:, :history_clips], seeds)
    clips = []
    for chunk in tqdm(actions[:, history_clips:].unbind(1), desc="closed loop", unit="env step"):
        state, clip = simulator.step(state, chunk)
        clips.append(clip.frames)
    return torch.cat(clips, dim=1)


def _recorded(data: Dataset, shard: int, first_clip: int, num_clips: int) -> Tensor | None:
    """Raw images of some clips, uint8 [17 * num_clips, H, W, 3], where the data set has them."""
    frames = data.shards[shard].frames
    if frames is None:
        return None
    first, stop = first_clip * FRAMES_PER_CLIP, (first_clip + num_clips) * FRAMES_PER_CLIP
    return torch.from_numpy(np.array(frames[first:stop]))


def _scores(images: Tensor, truth: Tensor, lpips: LPIPS | None) -> Scores:
    """Scores of frames uint8 [F, H, W, 3], a clip at a time to bound the memory."""
    metrics = {"psnr_db": psnr_db, "ssim": ssim} | ({} if lpips is None else {"lpips": lpips})
    clips = list(zip(images.split(FRAMES_PER_CLIP), truth.split(FRAMES_PER_CLIP), strict=True))
    return {name: torch.cat([metric(*clip) for clip in clips]).tolist() for name, metric in metrics.items()}


def _mean(samples: list[Scores]) -> Scores:
    """The mean over samples, frame by frame."""
    return {name: np.mean([scores[name] for scores in samples], axis=0).tolist() for name in samples[0]}


def _pictures(sample: Comparison) -> Iterator[UInt8Array]:
    """The frames of a video; time counts from the last frame of the history."""
    for frame, (truth, seen) in enumerate(zip(sample.history, sample.history_seen, strict=True), 1 - FRAMES_PER_CLIP):
        labels = ("ground truth (history)", "history as the model sees it")
        yield labelled_pair(truth, seen, labels, f"history, given to the model   {frame / FRAME_RATE_HZ:.2f} s")
    num_clips = len(sample.truth) // FRAMES_PER_CLIP
    for frame, (truth, predicted) in enumerate(zip(sample.truth, sample.predicted, strict=True)):
        ours, repeated = (sample.scores[who]["psnr_db"][frame] for who in ("model", "repeat_last_frame"))
        footer = (
            f"clip {frame // FRAMES_PER_CLIP + 1} of {num_clips}   {(frame + 1) / FRAME_RATE_HZ:.2f} s   "
            f"PSNR {ours:.1f} dB (last frame repeated: {repeated:.1f} dB)"
        )
        yield labelled_pair(truth, predicted, ("ground truth", "predicted"), footer)
