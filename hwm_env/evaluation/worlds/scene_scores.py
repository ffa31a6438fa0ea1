"""How true is a scene by itself? What it draws at true poses, without any history, against recorded clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from tqdm import tqdm

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.action_variations import derangement
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.scene.drawing import PosedClips, draw_clips
from hwm_env.scene.model import KEYFRAMES, SceneModel
from hwm_env.tokenizers.base import VideoTokenizer

BATCH: Final = 32


class SceneScores(NamedTuple):
    """What a scene model is judged by on held-out clips with true poses."""

    loss: float
    """Nats a token."""
    psnr: float
    """Of the most probable tokens against the clip's own, both decoded, dB."""
    psnr_shuffled_poses: float
    """The same at another clip's poses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFidelity:
    """A scene at true poses of recorded clips; PSNR of its most probable tokens in dB."""

    loss: float
    """Nats a token of the recorded clips."""
    psnr: float
    """Against the recorded clips' tokens, both decoded."""
    psnr_shuffled_poses: float
    """The same at poses of another episode."""
    psnr_images: float
    """Against the recorded images."""
    psnr_images_shuffled_poses: float
    """The same at poses of another episode."""
    clips: int
    """Clips judged."""


def judge_scene(model: SceneModel, clips: PosedClips, tokenizer: VideoTokenizer) -> SceneScores:
    """Judges a scene model on clips with true poses, at least two."""
    drawing = draw_clips(model, clips, tokenizer)
    elsewhere = draw_clips(model, clips._replace(poses=clips.poses.roll(1, dims=0)), tokenizer)
    truth = torch.cat([tokenizer.decode(part.to(drawing.frames.device)) for part in clips.tokens.split(BATCH)])
    return SceneScores(
        loss=drawing.losses.mean().item(),
        psnr=psnr_db(drawing.frames, truth).mean().item(),
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
    """Judges a scene model against recorded images too.

    Args:
        model: draws the clips.
        tokenizer: decodes them.
        held_out: at least two episodes with true poses.
        windows: episode and clip of what is drawn.
        seed: of the shuffle.

    Raises:
        DatasetError: the recording has no true poses.
    """
    keyframes, other = list(KEYFRAMES), derangement(len(held_out), seed)
    poses, numbers = held_out.frame_poses()[:, :, keyframes], held_out.actions[:, :, keyframes]
    device = model.positions.device
    scores = []
    for first in tqdm(range(0, len(windows), BATCH), desc="scene", unit="batch"):
        part = windows[first : first + BATCH]
        clips = PosedClips(*(torch.stack([of[e, c] for e, c in part]) for of in (held_out.tokens, poses, numbers)))
        drawing = draw_clips(model, clips, tokenizer)
        poses_of_others = torch.stack([poses[other[e], c] for e, c in part])
        elsewhere = draw_clips(model, clips._replace(poses=poses_of_others), tokenizer)
        decoded = tokenizer.decode(clips.tokens.to(device)).cpu()
        images = torch.stack([held_out.frames(e)[c] for e, c in part])
        pairs = [(drawn.frames.cpu(), truth) for truth in (decoded, images) for drawn in (drawing, elsewhere)]
        scores.append(torch.stack([drawing.losses.cpu(), *(psnr_db(*pair) for pair in pairs)]))
    loss, psnr, psnr_shuffled, psnr_images, psnr_images_shuffled = torch.cat(scores, dim=1).mean(dim=1).tolist()
    return SceneFidelity(
        loss=loss,
        psnr=psnr,
        psnr_shuffled_poses=psnr_shuffled,
        psnr_images=psnr_images,
        psnr_images_shuffled_poses=psnr_images_shuffled,
        clips=len(windows),
    )
