"""Runs closed loops in a learned and in the reference world, with actions from recorded to impossible."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.disturbances import DISTURBANCES
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.reference.kinematics import RobotState
from hwm_env.reference.world import ReferenceWorld
from hwm_env.simulator import WorldSimulator
from hwm_env.trust import TokenStatistics, action_excess
from hwm_env.types import ACTION_DIM, HISTORY_CLIPS, Float64Array, Int64Array, UInt8Array

BATCH: Final = 16
"""Loops that are computed together."""
RECORDED: Final = "recorded"
SOURCES: Final = (RECORDED, *DISTURBANCES)
FOLDS: Final = 4
"""Number of folds: each fold of the episodes is judged by a calibration that was fitted on the others."""
FEWEST_EPISODES: Final = 2 * FOLDS
"""Two per fold, since an episode borrows the actions of another one of its fold."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RiskLoops:
    """Errors of predicted clips and the features that predict them: S sources of actions, E episodes, K env steps."""

    psnr_db: Float64Array
    """PSNR of each clip against the truth (dB), [S, E, K]."""
    features: Mapping[str, Float64Array]
    """Features of each clip (see `hwm_env.trust.calibration.FEATURES`), [S, E, K] each."""

    def select(self, episodes: Int64Array) -> "RiskLoops":
        """Returns the loops of some episodes, whose indices may repeat."""
        return RiskLoops(
            psnr_db=self.psnr_db[:, episodes],
            features={name: values[:, episodes] for name, values in self.features.items()},
        )


def run_risk_loops(
    simulator: WorldSimulator,
    statistics: TokenStatistics,
    recording: Path,
    *,
    num_episodes: int,
    num_steps: int,
    seed: int,
    with_painted_offset: bool = False,
) -> RiskLoops:
    """Runs a loop with every source of actions from the first nine clips of each episode.

    The reference world receives the actions as they are; the learned world receives them as from an environment,
    clipped to the range of the training data.

    Args:
        simulator: predicts the clips, with its decoding.
        statistics: statistics of the training data's tokens.
        recording: recording of the reference world, with images and true poses.
        num_episodes: number of episodes, at least 8.
        num_steps: env steps of each loop.
        seed: seed of worlds and actions.
        with_painted_offset: whether to compute that feature; otherwise it is 0.

    Raises:
        InvalidInputError: there are too few episodes or steps.
        DatasetError: the recording is too short, or has no images or poses.
    """
    if num_episodes < FEWEST_EPISODES or num_steps < 1:
        raise InvalidInputError(
            f"expected at least {FEWEST_EPISODES} episodes and 1 step, got {num_episodes} and {num_steps}"
        )
    held_out = HeldOut(
        recording, simulator.tokenizer, clips_per_episode=HISTORY_CLIPS + num_steps, num_episodes=num_episodes
    )
    start_poses = held_out.poses()[:, HISTORY_CLIPS - 1].double().numpy()
    shape = (len(SOURCES), num_episodes, num_steps)
    psnr, confidence, entropy, action_ood, drift, painted_offset = (np.zeros(shape) for _ in range(6))
    action_statistics = simulator.checkpoint.statistics
    with (
        ReferenceWorld(simulator.checkpoint.image_size) as world,
        tqdm(total=len(SOURCES) * num_episodes * num_steps, desc="loops", unit="clip") as progress,
    ):
        for source, name in enumerate(SOURCES):
            for batch in np.array_split(np.arange(num_episodes), -(-num_episodes // BATCH)):
                episodes = batch.tolist()
                wanted = np.stack([_wanted(simulator, held_out, name, episode, seed) for episode in episodes])
                truth = np.stack(
                    [
                        held_out.frames(episode)[HISTORY_CLIPS:].numpy()
                        if name == RECORDED
                        else _played(world, start_poses[episode], held_out, episode, chunks)
                        for episode, chunks in zip(episodes, wanted, strict=True)
                    ]
                )
                state = simulator.begin(
                    held_out.tokens[episodes, :HISTORY_CLIPS],
                    held_out.actions[episodes, :HISTORY_CLIPS],
                    [seed + source * num_episodes + episode for episode in episodes],
                )
                last = held_out.actions[episodes, HISTORY_CLIPS - 1, -1].numpy()
                for step in range(num_steps):
                    excess = action_excess(action_statistics, wanted[:, step], last)
                    chunk = np.clip(wanted[:, step], action_statistics.low, action_statistics.high)
                    state, clip = simulator.step(state, torch.from_numpy(chunk))
                    at = (source, episodes, step)
                    psnr[at] = psnr_db(clip.frames.cpu(), torch.from_numpy(truth[:, step])).numpy()
                    confidence[at], entropy[at] = clip.confidence.cpu().numpy(), clip.mean_entropy.cpu().numpy()
                    action_ood[at] = (excess > 0).mean(axis=(1, 2))
                    drift[at] = statistics.drift(clip.tokens)
                    if with_painted_offset:
                        painted_offset[at] = simulator.painted_offset(state, clip).cpu().numpy()
                    last = chunk[:, -1]
                    progress.update(len(episodes))
    steps = np.broadcast_to(np.arange(1.0, num_steps + 1), shape)
    features = {
        "confidence": confidence,
        "path_entropy": entropy.cumsum(axis=2) / steps,
        "action_ood": action_ood,
        "drift": drift,
        "painted_offset": painted_offset,
        "steps": steps,
    }
    return RiskLoops(psnr_db=psnr, features=features)


def next_of_fold(episode: int, num_episodes: int) -> int:
    """Returns the next episode of the same fold, cyclically."""
    return episode + FOLDS if episode + FOLDS < num_episodes else episode % FOLDS


def _wanted(simulator: WorldSimulator, held_out: HeldOut, source: str, episode: int, seed: int) -> Float64Array:
    """Returns the actions of a loop, [K, 17, 25], in physical units and not clipped."""
    recorded: Float64Array = held_out.actions[:, HISTORY_CLIPS:].numpy().astype(np.float64)
    own: Float64Array = recorded[episode]
    if source == RECORDED:
        return own
    other = next_of_fold(episode, len(held_out))
    wanted = DISTURBANCES[source](
        np.random.default_rng([seed, SOURCES.index(source), episode]),
        simulator.checkpoint.statistics,
        held_out.actions[episode, HISTORY_CLIPS - 1, -1].numpy().astype(np.float64),
        recorded[other].reshape(-1, ACTION_DIM),
    )
    return wanted.reshape(own.shape)


def _played(
    world: ReferenceWorld, start_pose: Float64Array, held_out: HeldOut, episode: int, chunks: Float64Array
) -> UInt8Array:
    """Returns the frames of the reference world for these actions, uint8 [K, 17, S, S, 3]."""
    world.set_state(RobotState(start_pose, held_out.actions[episode, HISTORY_CLIPS - 1, -1].numpy()))
    return np.stack([world.step_clip(chunk.astype(np.float32))[1] for chunk in chunks])
