"""Measures how true closed loops stay over a minute of recorded driving."""

from dataclasses import dataclass
from typing import Final

import torch
from tqdm import tqdm

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

JUDGED_STEPS: Final = (1, 5, 10, 20, 50, 100)
"""Env steps after which loops are compared with the truth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LongLoop:
    """Closed loops with the recorded actions, by env step; PSNR of the step's clip (dB), mean over loops."""

    starts: int
    """Number of loops, one per episode."""
    psnr: dict[str, float]
    """PSNR of the predicted clips."""
    psnr_worst: dict[str, float]
    """PSNR of the worst loop at each step."""
    psnr_repeat_last_frame: dict[str, float]
    """PSNR of the last frame before the loop, repeated."""
    psnr_tokenizer_ceiling: dict[str, float]
    """PSNR of the true clips, encoded and decoded."""
    carried_pose: dict[str, PoseError] | None
    """Error of the carried poses; `None` without a scene."""


def measure_long_loop(simulator: WorldSimulator, held_out: HeldOut, *, seed: int = 0) -> LongLoop:
    """Runs closed loops to the end of each episode; decodes only the clips of JUDGED_STEPS.

    Args:
        simulator: predicts the clips.
        held_out: episodes of more than nine clips, with true poses if the simulator has a scene.
        seed: seed of the first episode's world; each next one has one more.

    Raises:
        DatasetError: the simulator has a scene, and the recording no true poses.
    """
    total = held_out.num_clips - HISTORY_CLIPS
    steps = [step for step in JUDGED_STEPS if step <= total]
    clips = [HISTORY_CLIPS + step - 1 for step in steps]
    loops = run_closed_loops(simulator, held_out, total, seed)
    by_episode = []
    for episode in tqdm(range(len(held_out)), desc="compare long loops", unit="episode"):
        images = held_out.frames(episode)
        target, last = images[clips], images[HISTORY_CLIPS - 1, -1:]
        predicted = loops.tokens[episode, [step - 1 for step in steps]]
        model, ceiling = (
            simulator.tokenizer.decode(tokens.to(simulator.device)).cpu()
            for tokens in (predicted, held_out.tokens[episode, clips])
        )
        compared = (model, last.expand_as(target), ceiling)
        by_episode.append(torch.stack([psnr_db(clips_of_kind, target) for clips_of_kind in compared]))
    scores = torch.stack(by_episode)
    names = [str(step) for step in steps]
    model_db, repeat_db, ceiling_db = (dict(zip(names, values, strict=True)) for values in scores.mean(dim=0).tolist())
    carried_pose = None
    if loops.poses is not None:
        truth = held_out.poses()
        carried_pose = {
            str(step): compare_poses(loops.poses[:, step], truth[:, clip])
            for step, clip in zip(steps, clips, strict=True)
        }
    return LongLoop(
        starts=len(held_out),
        psnr=model_db,
        psnr_worst=dict(zip(names, scores[:, 0].amin(dim=0).tolist(), strict=True)),
        psnr_repeat_last_frame=repeat_db,
        psnr_tokenizer_ceiling=ceiling_db,
        carried_pose=carried_pose,
    )
