"""Scores closed loops with the metrics of video models: SSIM, LPIPS and the Fréchet video distance (FVD)."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hwm_env.evaluation.frame_scores import score_frames
from hwm_env.evaluation.frechet import frechet_distance
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.evaluation.worlds.closed_loops import decoded_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.simulator import WorldSimulator

FVD_STEPS: Final = (1, 5, 10, 20)
"""Env steps whose clips are compared by FVD, which is slow on a CPU."""
JUDGED_FRAMES: Final = [0, 8, 16]
"""Frames of each clip that SSIM and LPIPS compare, to save time: the last frame of each latent."""
COMPARED: Final = ("model", "repeat_last_frame", "tokenizer_ceiling")
"""What is compared with the recorded clips, in the order of LoopFrames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """A metric of the frames of closed loops, one entry per env step, mean over JUDGED_FRAMES and loops."""

    model: list[float]
    """The predicted clips."""
    repeat_last_frame: list[float]
    """The last frame before the loop, repeated."""
    tokenizer_ceiling: list[float]
    """The true clips, encoded and decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrechetVideoDistances:
    """FVD between clips and recorded ones."""

    clips: int
    """Number of clips in each set of one env step."""
    by_step: dict[str, dict[str, float]]
    """By env step (one of FVD_STEPS), the FVD of `model`, `repeat_last_frame` and `tokenizer_ceiling`."""
    all_steps: dict[str, float]
    """The same over the clips of these env steps together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMetrics:
    """The metrics of video models for closed loops with the recorded actions."""

    ssim: Curves
    """Structural similarity, 1 for equal images."""
    lpips: Curves | None
    """Learned perceptual distance, 0 for equal images; `None` without weights."""
    fvd: FrechetVideoDistances | None
    """Fréchet video distances of single clips; `None` without a detector."""


def measure_video_metrics(
    simulator: WorldSimulator,
    held_out: HeldOut,
    predicted: Tensor,
    *,
    lpips: LPIPS | None = None,
    detector: VideoFeatures | None = None,
) -> VideoMetrics:
    """Compares the frames and clips of closed loops with the recorded ones.

    Args:
        simulator: simulator that predicted them; its tokenizer decodes them.
        held_out: E episodes.
        predicted: tokens from `run_closed_loops`, int [E, steps, 3, H, W].
        lpips: must be on the simulator's device.
        detector: computes the features for FVD.

    Raises:
        MissingExtraError: torchmetrics is not installed.
        InvalidInputError: the images are too small for LPIPS.
        CheckpointError: the detector does not work.
    """
    scores: dict[str, list[Tensor]] = {}
    features: list[Tensor] = []
    judged = [step for step in FVD_STEPS if step <= predicted.shape[1]]
    for loop in decoded_loops(simulator, held_out, predicted):
        truth, *compared = (clips.to(simulator.device) for clips in loop)
        target = truth[:, JUDGED_FRAMES].flatten(0, 1)
        of_loop = [score_frames(clips[:, JUDGED_FRAMES].flatten(0, 1), target, lpips) for clips in compared]
        for name in of_loop[0]:
            by_frame = torch.stack([of_kind[name] for of_kind in of_loop])
            scores.setdefault(name, []).append(by_frame.unflatten(1, (-1, len(JUDGED_FRAMES))).mean(dim=2))
        if detector is not None:
            chosen = [step - 1 for step in judged]
            features.append(torch.stack([detector(clips[chosen]) for clips in (truth, *compared)]))
    curves = {
        name: Curves(**dict(zip(COMPARED, torch.stack(parts).mean(dim=0).tolist(), strict=True)))
        for name, parts in scores.items()
    }
    return VideoMetrics(
        ssim=curves["ssim"],
        lpips=curves.get("lpips"),
        fvd=_distances(torch.stack(features, dim=1), judged) if features else None,
    )


def _distances(features: Tensor, judged: list[int]) -> FrechetVideoDistances:
    """Compares features [4, E, steps, D] of the truth and of COMPARED."""
    truth, *compared = features

    def distances(steps: slice) -> dict[str, float]:
        return {
            name: frechet_distance(of_kind[:, steps].flatten(0, 1), truth[:, steps].flatten(0, 1))
            for name, of_kind in zip(COMPARED, compared, strict=True)
        }

    return FrechetVideoDistances(
        clips=features.shape[1],
        by_step={str(step): distances(slice(index, index + 1)) for index, step in enumerate(judged)},
        all_steps=distances(slice(None)),
    )
