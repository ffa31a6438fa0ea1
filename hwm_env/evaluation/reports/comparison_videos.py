"""Writes videos of ground truth beside prediction, with the scores of each frame (the extra "evaluation")."""

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.files import Content, check_writable, json_bytes, read_json, shown, write_files
from hwm_env.data.format import ShardFile
from hwm_env.data.labels import labelled_pair
from hwm_env.data.reader import Dataset
from hwm_env.data.videos import encode_video
from hwm_env.errors import InvalidInputError, require_extra
from hwm_env.evaluation.frechet import frechet_distance
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.evaluation.worlds.comparison import Comparison, Scores, compare
from hwm_env.reporting import Stamp
from hwm_env.simulator import WorldSimulator
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, UInt8Array

METRICS_FILE = "metrics.json"


def write_comparisons(
    simulator: WorldSimulator,
    data: Dataset,
    out: Path,
    *,
    samples: int = 4,
    steps: int = 8,
    seed: int = 0,
    lpips: Path | None = None,
    fvd: Path | None = None,
    stamp: Stamp | None = None,
) -> dict[str, object]:
    """Writes one video per sample (ground truth | predicted) and `metrics.json`, either all files or none.

    The videos are `sample_000_comparison.mp4` and so on.

    Args:
        simulator: predicts the frames.
        data: see `compare`.
        out: directory for the files: new, empty, or with an earlier comparison, which is replaced.
        samples: largest number of videos.
        steps: env steps of each video.
        seed: seed of the first world; each next one has one more.
        lpips: weights for LPIPS (see `hwm_env.evaluation.lpips`); `None`: LPIPS is left out.
        fvd: network for the Fréchet video distance (see `hwm_env.evaluation.video_features`), which needs at least two
            predicted clips; `None`: it is left out.
        stamp: origin of the metrics; its number of episodes is set here.

    Returns:
        The content of `metrics.json`: PSNR (dB), SSIM and LPIPS of each predicted frame, for each sample and as means,
        and FVD over the predicted clips of all samples.

    Raises:
        InvalidInputError: `out` holds other files; or see `compare`.
        DatasetError, CheckpointError, MissingExtraError: see `compare`, `LPIPS.load`, `VideoFeatures.load`,
            `write_video`.
        SavingError: the files cannot be written.
    """
    for module in ("av", "PIL", "torchmetrics"):
        require_extra(module, "evaluation")  # before the long computation
    _check_free(out)
    metric = None if lpips is None else LPIPS.load(lpips, simulator.device)
    detector = None if fvd is None else VideoFeatures.load(fvd, simulator.device)
    features: list[dict[str, Tensor]] = []
    described: list[dict[str, object]] = []
    scores: list[dict[str, Scores]] = []
    metrics: dict[str, object] = {}

    def files() -> Iterator[tuple[Path, Content]]:
        for index, sample in enumerate(compare(simulator, data, samples=samples, steps=steps, seed=seed, lpips=metric)):
            video = f"sample_{index:03d}_comparison.mp4"
            place = {"shard": sample.shard, "first_clip": sample.first_clip, "history_clips": sample.history_clips}
            described.append({"video": video, **place, "seed": sample.seed, **sample.scores})
            scores.append(sample.scores)
            if detector is not None:
                features.append(_features(sample, detector))
            yield out / video, encode_video(np.stack(list(_video_frames(sample))), fps=FRAME_RATE_HZ)
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
            "fvd": None if detector is None else detector.name,
        }
        if stamp is not None:
            metrics["stamp"] = asdict(replace(stamp, episodes=len(described)))
        metrics["truth"] = "recorded" if data.has(ShardFile.FRAMES) else "decoded tokens"
        means = {who: {name: float(np.mean(values)) for name, values in of.items()} for who, of in by_frame.items()}
        metrics["fvd"] = _distances(features) if features else None
        metrics.update(mean=means, mean_by_frame=by_frame, samples=described)
        yield out / METRICS_FILE, json_bytes(metrics)

    write_files(files())
    return metrics


def _check_free(out: Path) -> None:
    """Checks that a directory is empty or holds an earlier comparison.

    Raises:
        InvalidInputError: it holds other files.
        SavingError: it cannot be written.
    """
    check_writable(out / METRICS_FILE)
    names = {name for name in os.listdir(out) if not name.startswith(".")} if os.path.isdir(out) else set()
    is_ours = METRICS_FILE in names and {"settings", "mean_by_frame"} <= read_json(out / METRICS_FILE).keys()
    if names and not is_ours:
        raise InvalidInputError(
            f"{shown(out)} holds {min(names)}, but no {METRICS_FILE} of an earlier comparison; choose another directory"
        )


def _mean(samples: list[Scores]) -> Scores:
    """Returns the mean over samples, frame by frame."""
    return {name: np.mean([scores[name] for scores in samples], axis=0).tolist() for name in samples[0]}


def _features(sample: Comparison, detector: VideoFeatures) -> dict[str, Tensor]:
    """Returns the features of the sample's true, predicted and repeated clips, float32 [steps, D] each."""
    truth, predicted = (
        torch.from_numpy(frames).unflatten(0, (-1, FRAMES_PER_CLIP)) for frames in (sample.truth, sample.predicted)
    )
    repeated = torch.from_numpy(sample.history[-1]).expand_as(truth)
    return {"truth": detector(truth), "model": detector(predicted), "repeat_last_frame": detector(repeated)}


def _distances(samples: list[dict[str, Tensor]]) -> dict[str, float]:
    """Returns the number of clips, and the Fréchet video distances of predicted and repeated clips from the true ones.

    Raises:
        InvalidInputError: there is only one clip.
    """
    features = {kind: torch.cat([of_sample[kind] for of_sample in samples]) for kind in samples[0]}
    truth = features.pop("truth")
    return {"clips": len(truth), **{who: frechet_distance(of_kind, truth) for who, of_kind in features.items()}}


def _video_frames(sample: Comparison) -> Iterator[UInt8Array]:
    """Yields the frames of a video; time is measured from the last frame of the history."""
    for frame, (truth, seen) in enumerate(zip(sample.history, sample.history_seen, strict=True), 1 - FRAMES_PER_CLIP):
        labels = ("ground truth (history)", "history as the model sees it")
        yield labelled_pair(truth, seen, labels, f"history (input of the model)   {frame / FRAME_RATE_HZ:.2f} s")
    num_clips = len(sample.truth) // FRAMES_PER_CLIP
    for frame, (truth, predicted) in enumerate(zip(sample.truth, sample.predicted, strict=True)):
        ours, repeated = (sample.scores[who]["psnr_db"][frame] for who in ("model", "repeat_last_frame"))
        footer = (
            f"clip {frame // FRAMES_PER_CLIP + 1} of {num_clips}   {(frame + 1) / FRAME_RATE_HZ:.2f} s   "
            f"PSNR {ours:.1f} dB (last frame repeated: {repeated:.1f} dB)"
        )
        yield labelled_pair(truth, predicted, ("ground truth", "predicted"), footer)
