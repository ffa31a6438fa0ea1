"""Measures how true a scene alone is: the clips that it draws at true poses, without a history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from tqdm import tqdm

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.action_variations import derangement
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.scene.model import KEYFRAMES, SceneModel
from hwm_env.scene.rendering import PosedClips, render_clips
from hwm_env.tokenizers.base import VideoTokenizer

BATCH: Final = 32


class SceneScores(NamedTuple):
    """Scores of a scene model on held-out clips with true poses."""

    loss: float
    """Cross-entropy, nats per token."""
    psnr: float
    """PSNR (dB) of the most probable tokens against the recorded ones, both decoded."""
    psnr_shuffled_poses: float
    """The same at the poses of another clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFidelity:
    """Scores of a scene at the true poses of recorded clips; PSNR (dB) of its most probable tokens."""

    loss: float
    """Cross-entropy of the recorded tokens, nats per token."""
    psnr: float
    """PSNR against the recorded tokens, both decoded."""
    psnr_shuffled_poses: float
    """The same at the poses of another episode."""
    psnr_images: float
    """PSNR against the recorded images."""
    psnr_images_shuffled_poses: float
    """The same at the poses of another episode."""
    clips: int
    """Number of clips."""


def judge_scene(model: SceneModel, clips: PosedClips, tokenizer: VideoTokenizer) -> SceneScores:
    """Scores a scene model on at least two clips with true poses."""
    rendering = render_clips(model, clips, tokenizer)
    elsewhere = render_clips(model, clips._replace(poses=clips.poses.roll(1, dims=0)), tokenizer)
    truth = torch.cat([tokenizer.decode(part.to(rendering.frames.device)) for part in clips.tokens.split(BATCH)])
    return SceneScores(
        loss=rendering.losses.mean().item(),
        psnr=psnr_db(rendering.frames, truth).mean().item(),
        psnr_shuffled_poses=psnr_db(elsewhere.frames, truth).mean().item(),
    )


def measure_scene(
    model: SceneModel,
    tokenizer: VideoTokenizer,
    held_out: HeldOut,
    windows: Sequence[tuple[int, int]],
    *,
    seed: int = 0,
) -> SceneFidelity:
    """Scores a scene model on held-out episodes, against recorded tokens and images.

    Args:
        model: draws the clips.
        tokenizer: decodes them.
        held_out: at least two episodes with true poses.
        windows: episode and index of the clips to draw.
        seed: seed of the shuffle.

    Raises:
        DatasetError: the recording has no true poses.
    """
    keyframes, other = list(KEYFRAMES), derangement(len(held_out), seed)
    poses, actions = held_out.frame_poses()[:, :, keyframes], held_out.actions[:, :, keyframes]
    device = model.positions.device
    scores = []
    for first in tqdm(range(0, len(windows), BATCH), desc="scene", unit="batch"):
        part = windows[first : first + BATCH]
        clips = PosedClips(*(torch.stack([of[e, c] for e, c in part]) for of in (held_out.tokens, poses, actions)))
        rendering = render_clips(model, clips, tokenizer)
        other_poses = torch.stack([poses[other[e], c] for e, c in part])
        elsewhere = render_clips(model, clips._replace(poses=other_poses), tokenizer)
        decoded = tokenizer.decode(clips.tokens.to(device)).cpu()
        images = torch.stack([held_out.frames(e)[c] for e, c in part])
        pairs = [(drawn.frames.cpu(), truth) for truth in (decoded, images) for drawn in (rendering, elsewhere)]
        scores.append(torch.stack([rendering.losses.cpu(), *(psnr_db(*pair) for pair in pairs)]))
    loss, psnr, psnr_shuffled, psnr_images, psnr_images_shuffled = torch.cat(scores, dim=1).mean(dim=1).tolist()
    return SceneFidelity(
        loss=loss,
        psnr=psnr,
        psnr_shuffled_poses=psnr_shuffled,
        psnr_images=psnr_images,
        psnr_images_shuffled_poses=psnr_images_shuffled,
        clips=len(windows),
    )
