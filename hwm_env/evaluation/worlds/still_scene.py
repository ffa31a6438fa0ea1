"""Measures whether a still scene stays as it is: the robot stays where it is for ten clips."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwm_env.errors import DatasetError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.evaluation.worlds.held_out import AT_REST, HeldOut, find_clips
from hwm_env.simulator import WorldSimulator
from hwm_env.types import ANGULAR_VELOCITY, FRAMES_PER_CLIP, HISTORY_CLIPS, LINEAR_VELOCITY, Float32Array, Float64Array

CLIPS: Final = 10
"""Clips for which the robot stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stillness:
    """How a video of a still scene changes, mean over starts."""

    psnr_to_first: list[float]
    """PSNR (dB) of the last frame of clips 2 to 10, compared with that of clip 1."""
    psnr_before: list[float]
    """PSNR (dB) of the last frame of clips 1 to 10, compared with the recorded frame before them."""
    change: list[float]
    """Mean absolute difference of successive frames in each clip (grey values, 0..255), from the last frame of the clip
    before; for clip 1, between its own frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StillScene:
    """A learned world in which the robot stays for ten clips."""

    starts: int
    """Number of starts, moments at rest."""
    model: Stillness
    """The predicted clips."""
    truth: Stillness | None
    """The clips of the reference world; `None` if the recording is of another world."""
    tokenizer_ceiling: Stillness | None
    """The same clips, encoded and decoded."""


def measure_still_scene(simulator: WorldSimulator, held_out: HeldOut, *, starts: int, seed: int) -> StillScene:
    """Lets the robot stay after recorded histories that end at rest: joints keep their angles, velocities are 0.

    Args:
        simulator: predicts the clips.
        held_out: recorded episodes.
        starts: largest number of starts, one per episode.
        seed: seed of the first start's world; each next one has one more.

    Raises:
        DatasetError: no episode has a moment at rest after nine clips.
        RenderingUnavailableError: the recording is of the reference world, and OpenGL is not available.
    """
    states = held_out.actions[:, :, -1]
    speeds = states[..., [LINEAR_VELOCITY, ANGULAR_VELOCITY]].abs().amax(dim=-1)
    ends = find_clips(states, lambda e, c: bool(speeds[e, c] <= AT_REST), starts)
    if not ends:
        raise DatasetError(f"in none of {len(held_out)} episodes does the robot rest after nine clips; use more starts")
    histories = [(e, slice(c - HISTORY_CLIPS + 1, c + 1)) for e, c in ends]
    tokens, actions = (
        torch.stack([past[where] for where in histories]) for past in (held_out.tokens, held_out.actions)
    )
    staying = torch.stack([states[end] for end in ends])
    staying[:, [LINEAR_VELOCITY, ANGULAR_VELOCITY]] = 0.0
    chunks = staying[:, None, None].expand(-1, CLIPS, FRAMES_PER_CLIP, -1)
    loops = continue_worlds(simulator, tokens, actions, chunks, [seed + index for index in range(len(ends))])
    before = [held_out.frames(e)[c, -1] for e, c in ends]
    predicted = [_decoded(simulator, of_start) for of_start in loops.tokens]
    truth, ceiling = None, None
    if held_out.is_of_reference_world and held_out.has_poses:
        poses = held_out.poses().double()
        true_clips = _true_clips(
            simulator.checkpoint.image_size,
            [poses[end].numpy() for end in ends],
            [states[end].numpy() for end in ends],
            staying.numpy(),
        )
        truth = _stillness(true_clips, before)
        encoded = [simulator.tokenizer.encode(clips).cpu() for clips in true_clips]
        ceiling = _stillness([_decoded(simulator, of_start) for of_start in encoded], before)
    return StillScene(starts=len(ends), model=_stillness(predicted, before), truth=truth, tokenizer_ceiling=ceiling)


def _decoded(simulator: WorldSimulator, tokens: Tensor) -> Tensor:
    return simulator.tokenizer.decode(tokens.to(simulator.device)).cpu()


def _true_clips(
    image_size: int, poses: list[Float64Array], states: list[Float32Array], wanted: Float32Array
) -> list[Tensor]:
    """Returns the clips in which the robot stays in the reference world, uint8 [10, 17, S, S, 3] for each start."""
    from hwm_env.reference.kinematics import RobotState
    from hwm_env.reference.world import ReferenceWorld

    videos = []
    with ReferenceWorld(image_size) as world:
        for pose, state, target in zip(poses, states, wanted, strict=True):
            world.set_state(RobotState(pose, state))
            chunk = np.tile(target, (FRAMES_PER_CLIP, 1))
            videos.append(np.stack([world.step_clip(chunk)[1] for _ in range(CLIPS)]))
    return [torch.from_numpy(video) for video in videos]


def _stillness(videos: list[Tensor], before: list[Tensor]) -> Stillness:
    """Measures videos, uint8 [10, 17, H, W, 3] each, after recorded frames, uint8 [H, W, 3] each."""
    to_first, to_before, changes = [], [], []
    for clips, frame in zip(videos, before, strict=True):
        last = clips[:, -1]
        to_first.append(psnr_db(last[1:], last[:1]))
        to_before.append(psnr_db(last, frame[None]))
        frames = clips.flatten(0, 1).float()
        by_frame = (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))
        changes.append(
            torch.stack(
                [part.mean() for part in by_frame.split([FRAMES_PER_CLIP - 1] + [FRAMES_PER_CLIP] * (len(clips) - 1))]
            )
        )
    means = (torch.stack(of_starts).mean(dim=0).tolist() for of_starts in (to_first, to_before, changes))
    return Stillness(**dict(zip(("psnr_to_first", "psnr_before", "change"), means, strict=True)))
