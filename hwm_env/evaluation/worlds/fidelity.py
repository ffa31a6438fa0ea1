"""Measures how true a learned world is: next clips and closed loops against recorded truth, with baselines.

Every PSNR is a mean over windows or starts of the per-sample PSNR (dB) against the recorded images, so the tokenizer's
own loss is part of the error and its reconstruction of the truth is the ceiling. SSIM, LPIPS and the Fréchet video
distance of the closed loops, and the stillness of a still scene, are measured as well. Recordings with true poses also
measure the drift of the robot and, for checkpoints with a scene, localisation and the scene itself. For recordings of
the reference world, obstacles, counterfactual actions and turns away and back are compared with the reference world.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.evaluation.worlds.action_variations import derangement
from hwm_env.evaluation.worlds.closed_loops import Loops, decoded_loops, run_closed_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.localisation import LocalisationReport, LocatedStarts, carry_along, locate_starts
from hwm_env.evaluation.worlds.long_loop import LongLoop, measure_long_loop
from hwm_env.evaluation.worlds.painted_pose import PaintedPose, measure_painted_pose
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.evaluation.worlds.pose_sources import compare_sources
from hwm_env.evaluation.worlds.readout_error import CLOSED_LOOP_STEPS, Summary, compare_readouts
from hwm_env.evaluation.worlds.sabotage import STEPS as SABOTAGE_STEPS
from hwm_env.evaluation.worlds.sabotage import Sabotaged, measure_sabotage
from hwm_env.evaluation.worlds.scene_scores import SceneFidelity, measure_scene
from hwm_env.evaluation.worlds.still_scene import StillScene, measure_still_scene
from hwm_env.evaluation.worlds.video_metrics import VideoMetrics, measure_video_metrics
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

if TYPE_CHECKING:
    from hwm_env.evaluation.worlds.away_and_back import AwayAndBack
    from hwm_env.evaluation.worlds.counterfactuals import Counterfactuals
    from hwm_env.evaluation.worlds.walls import Walls

M = TypeVar("M")

logger = logging.getLogger(__name__)

MOVING_BELOW_DB = 20.0
"""A window is moving if the last frame, repeated, has a lower PSNR than this."""
WALL_CASES = 50
COUNTERFACTUAL_STARTS = 50
PAINTED_STARTS = 50
AWAY_AND_BACK_STARTS = 30
SABOTAGE_LOOPS = 12
STILL_STARTS = 50
WINDOWS_PER_EPISODE = 5
"""Largest number of next clips per episode, evenly spread because neighbours are nearly equal."""
BATCH = 32
"""Windows that are predicted together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NextClip:
    """PSNR (dB) of the clip that follows a recorded history, mean over windows."""

    psnr_true_actions: float
    """Predicted with the recorded actions."""
    psnr_shuffled_actions: float
    """Predicted with another window's actions."""
    psnr_repeat_last_frame: float
    """The last frame before the clip, repeated."""
    psnr_tokenizer_ceiling: float
    """The true clip, encoded and decoded."""
    starts: int
    """Number of windows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedLoop:
    """PSNR (dB) of closed loops with the recorded actions, one entry per env step, mean over loops."""

    psnr: list[float]
    """The predicted clips."""
    psnr_repeat_last_frame: list[float]
    """The last frame before the loop, repeated."""
    psnr_tokenizer_ceiling: list[float]
    """The true clips, encoded and decoded."""
    starts: int
    """Number of loops, one per episode."""
    gain_by_start: list[float]
    """PSNR of each loop above that of the repeated frame, mean over its env steps (dB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FidelityReport:
    """The measurements of `hwm-env fidelity`; `None` for those that a checkpoint or recording does not allow."""

    next_clip: NextClip
    moving: NextClip | None
    """The same over moving windows; `None` if there are none."""
    closed_loop: ClosedLoop
    pose: dict[str, dict[str, Summary]] | None
    """Errors of the read-out in closed loops, see `compare_readouts`; needs a read-out and true poses."""
    walls: "Walls | None"
    """Drives against obstacles; needs a read-out or a scene, a recording of the reference world, and OpenGL."""
    counterfactuals: "Counterfactuals | None"
    """Responses to other actions; needs a recording of the reference world, and OpenGL."""
    scene: SceneFidelity | None = None
    """The scene alone. This and the fields up to `sabotage` need a scene and true poses."""
    localisation: LocalisationReport | None = None
    """Localisation at the starts of the episodes."""
    carried_pose: dict[str, PoseError] | None = None
    """Error of the carried pose in closed loops, by env step."""
    pose_sources: dict[str, dict[str, PoseError]] | None = None
    """Errors of the carried pose, a read-out and a filter of both, by env step; also needs a read-out."""
    painted_pose: dict[str, PaintedPose] | None = None
    """Distances of the painted pose in closed loops, by env step."""
    away_and_back: "AwayAndBack | None" = None
    """Views after turns away and back; also needs what `counterfactuals` needs."""
    long_loop: LongLoop | None = None
    """Long closed loops; also needs long episodes."""
    sabotage: dict[str, Sabotaged] | None = None
    """Closed loops with one thing broken, see `measure_sabotage`; also needs loops of as many env steps."""
    video_metrics: VideoMetrics | None = None
    """SSIM, LPIPS and FVD of the closed loops; needs torchmetrics, but no scene."""
    still_scene: StillScene | None = None
    """A still scene over ten clips; needs moments at rest, but no scene."""

    def to_dict(self) -> dict[str, object]:
        """Returns the report as written to JSON, with `moving` inside `next_clip`."""
        content = asdict(self)
        content["next_clip"]["moving"] = content.pop("moving")
        return content


def measure(
    simulator: WorldSimulator,
    held_out: HeldOut,
    *,
    closed_loop_steps: int,
    seed: int = 0,
    long_episodes: Callable[[], HeldOut] | None = None,
    lpips: LPIPS | None = None,
    detector: VideoFeatures | None = None,
) -> FidelityReport:
    """Measures how true a simulator is on held-out episodes.

    Worlds with a scene locate themselves in the first nine clips of each episode. For predictions of later clips, that
    pose is carried along the recorded actions.

    Args:
        simulator: predicts the clips, with its decoding.
        held_out: at least two episodes of at least 9 + `closed_loop_steps` clips.
        closed_loop_steps: env steps of the closed loops.
        seed: seed of the worlds and of the shuffle.
        long_episodes: returns the episodes of the long loops; called only for worlds with a scene.
        lpips: adds LPIPS to the video metrics; must be on the simulator's device.
        detector: adds FVD to the video metrics.

    Raises:
        InvalidInputError: the episodes are too short, or there are fewer than two.
    """
    if held_out.num_clips < HISTORY_CLIPS + closed_loop_steps or len(held_out) < 2:
        raise InvalidInputError(
            f"expected at least 2 episodes of {HISTORY_CLIPS + closed_loop_steps} clips (history and closed loop), got "
            f"{len(held_out)} of {held_out.num_clips}"
        )
    located = locate_starts(simulator, held_out)
    poses = None if located is None else located.poses
    everything, moving = _next_clip(simulator, held_out, poses, seed)
    loops = run_closed_loops(simulator, held_out, closed_loop_steps, seed, poses)
    readout, scene = simulator.checkpoint.readout, simulator.scene
    pose, walls, counterfactuals = None, None, None
    if held_out.has_poses and readout is not None:
        pose = compare_readouts(readout, held_out, loops.tokens)
    if held_out.has_poses and held_out.is_of_reference_world:
        counterfactuals = _if_possible("counterfactuals", lambda: _counterfactuals(simulator, held_out, seed))
        if readout is not None or scene is not None:
            walls = _if_possible("walls", lambda: _walls(simulator, held_out, seed))
    report = FidelityReport(
        next_clip=everything,
        moving=moving,
        closed_loop=compare_loops(simulator, held_out, loops.tokens),
        pose=pose,
        walls=walls,
        counterfactuals=counterfactuals,
        video_metrics=_if_possible(
            "video metrics",
            lambda: measure_video_metrics(simulator, held_out, loops.tokens, lpips=lpips, detector=detector),
        ),
        still_scene=_if_possible(
            "still scenes", lambda: measure_still_scene(simulator, held_out, starts=STILL_STARTS, seed=seed)
        ),
    )
    if scene is None or located is None:
        return report
    return _with_scene(report, simulator, scene, held_out, located, loops, seed, long_episodes)


def _with_scene(
    report: FidelityReport,
    simulator: WorldSimulator,
    scene: Scene,
    held_out: HeldOut,
    located: LocatedStarts,
    loops: Loops,
    seed: int,
    long_episodes: Callable[[], HeldOut] | None,
) -> FidelityReport:
    """Adds the measurements that need a scene to a report."""
    if held_out.has_poses:
        assert loops.poses is not None, "worlds with a scene carry a pose"
        readout = simulator.checkpoint.readout
        steps = [step for step in CLOSED_LOOP_STEPS if step < loops.poses.shape[1]]
        truth, actions = held_out.poses()[:, HISTORY_CLIPS:], held_out.actions[:, HISTORY_CLIPS:]
        few = np.linspace(0, len(held_out) - 1, min(PAINTED_STARTS, len(held_out))).astype(int).tolist()
        some_loops = Loops(loops.tokens[few], loops.poses[few])
        long_enough = loops.tokens.shape[1] >= SABOTAGE_STEPS
        report = replace(
            report,
            scene=measure_scene(scene.model, simulator.tokenizer, held_out, _windows(held_out), seed=seed),
            localisation=located.compare(held_out),
            carried_pose={str(k): compare_poses(loops.poses[:, k], truth[:, k - 1]) for k in steps},
            pose_sources=None
            if readout is None
            else compare_sources(readout, loops.tokens, loops.poses[:, 1:], truth[:, : loops.tokens.shape[1]], steps),
            painted_pose=measure_painted_pose(simulator, some_loops, actions[few], truth[few]),
            sabotage=measure_sabotage(simulator, held_out, loops=SABOTAGE_LOOPS, seed=seed) if long_enough else None,
        )
    if held_out.has_poses and held_out.is_of_reference_world:
        away = _if_possible("turns away and back", lambda: _away_and_back(simulator, held_out, located.poses, seed))
        report = replace(report, away_and_back=away)
    if long_episodes is not None:
        loop = _if_possible("long loops", lambda: measure_long_loop(simulator, long_episodes(), seed=seed))
        report = replace(report, long_loop=loop)
    return report


def _away_and_back(simulator: WorldSimulator, held_out: HeldOut, poses: Tensor, seed: int) -> "AwayAndBack":
    from hwm_env.evaluation.worlds.away_and_back import measure_away_and_back

    return measure_away_and_back(simulator, held_out, starts=AWAY_AND_BACK_STARTS, seed=seed, poses=poses)


def _counterfactuals(simulator: WorldSimulator, held_out: HeldOut, seed: int) -> "Counterfactuals":
    from hwm_env.evaluation.worlds.counterfactuals import measure_counterfactuals

    return measure_counterfactuals(simulator, held_out, starts=COUNTERFACTUAL_STARTS, seed=seed)


def _walls(simulator: WorldSimulator, held_out: HeldOut, seed: int) -> "Walls":
    from hwm_env.evaluation.worlds.walls import measure_walls

    return measure_walls(simulator, simulator.checkpoint.readout, held_out, cases=WALL_CASES, seed=seed)


def _if_possible(name: str, measure: Callable[[], M]) -> M | None:
    """Returns a measurement, or logs a warning and returns `None` if the recording or the machine does not allow it."""
    try:
        return measure()
    except HWMError as error:
        logger.warning("%s are not measured: %s", name, error)
        return None


def _windows(held_out: HeldOut) -> list[tuple[int, int]]:
    """Returns episode and index of the clips to predict, each of which follows nine others."""
    count = min(WINDOWS_PER_EPISODE, held_out.num_clips - HISTORY_CLIPS)
    clips = np.linspace(HISTORY_CLIPS, held_out.num_clips - 1, count).astype(int).tolist()
    return [(e, c) for e in range(len(held_out)) for c in clips]


def _next_clip(
    simulator: WorldSimulator, held_out: HeldOut, poses: Tensor | None, seed: int
) -> tuple[NextClip, NextClip | None]:
    """Measures predictions of single clips, over all and over moving windows.

    Args:
        simulator: predicts the clips.
        held_out: E episodes.
        poses: poses after the first nine clips, [E, 3]; `None` without a scene.
        seed: seed of the worlds and of the shuffle.
    """
    windows, carried = _windows(held_out), None
    if simulator.scene is not None and poses is not None:
        carried = carry_along(simulator.scene, poses, held_out.actions[:, HISTORY_CLIPS:])
    other = derangement(len(windows), seed)
    scores: dict[str, list[Tensor]] = {"true": [], "shuffled": [], "repeat": [], "ceiling": []}
    recorded = _FrameCache(held_out)
    for part in batches(len(windows), "next clip"):
        chosen = [windows[i] for i in part]
        tokens = torch.stack([held_out.tokens[e, c - HISTORY_CLIPS : c] for e, c in chosen])
        actions = torch.stack([held_out.actions[e, c - HISTORY_CLIPS : c] for e, c in chosen])
        true_chunk = torch.stack([held_out.actions[e, c] for e, c in chosen])
        shuffled_chunk = torch.stack([held_out.actions[windows[other[i]]] for i in part])
        truth = torch.stack([recorded.frames(e)[c] for e, c in chosen])
        last = torch.stack([recorded.frames(e)[c - 1, -1:] for e, c in chosen])
        target_tokens = torch.stack([held_out.tokens[e, c] for e, c in chosen]).to(simulator.device)
        known = None if carried is None else torch.stack([carried[e, c - HISTORY_CLIPS] for e, c in chosen])
        state = simulator.begin(tokens, actions, [seed + i for i in part], poses=known)
        for name, chunk in (("true", true_chunk), ("shuffled", shuffled_chunk)):
            scores[name].append(psnr_db(simulator.step(state, chunk)[1].frames.cpu(), truth))
        scores["repeat"].append(psnr_db(last, truth))
        scores["ceiling"].append(psnr_db(simulator.tokenizer.decode(target_tokens).cpu(), truth))
    all_scores = {name: torch.cat(parts) for name, parts in scores.items()}
    moves = all_scores["repeat"] < MOVING_BELOW_DB
    return _summary(all_scores), _summary({n: s[moves] for n, s in all_scores.items()}) if moves.any() else None


def _summary(scores: dict[str, Tensor]) -> NextClip:
    return NextClip(
        psnr_true_actions=scores["true"].mean().item(),
        psnr_shuffled_actions=scores["shuffled"].mean().item(),
        psnr_repeat_last_frame=scores["repeat"].mean().item(),
        psnr_tokenizer_ceiling=scores["ceiling"].mean().item(),
        starts=len(scores["true"]),
    )


def compare_loops(simulator: WorldSimulator, held_out: HeldOut, predicted: Tensor) -> ClosedLoop:
    """Compares predicted clips with the recorded ones.

    Args:
        simulator: simulator that predicted them; its tokenizer decodes them.
        held_out: E episodes.
        predicted: tokens from `run_closed_loops`, int [E, steps, 3, H, W].
    """
    by_episode = [
        torch.stack(
            [psnr_db(clips, loop.truth) for clips in (loop.model, loop.repeat_last_frame, loop.tokenizer_ceiling)]
        )
        for loop in decoded_loops(simulator, held_out, predicted)
    ]
    scores = torch.stack(by_episode)
    model, repeat, ceiling = scores.mean(dim=0).tolist()
    return ClosedLoop(
        psnr=model,
        psnr_repeat_last_frame=repeat,
        psnr_tokenizer_ceiling=ceiling,
        starts=len(held_out),
        gain_by_start=(scores[:, 0] - scores[:, 1]).mean(dim=1).tolist(),
    )


class _FrameCache:
    """Recorded frames of the newest episodes; windows are in order, so that a batch seldom needs older ones."""

    def __init__(self, held_out: HeldOut) -> None:
        self._held_out = held_out
        self._frames: dict[int, Tensor] = {}

    def frames(self, episode: int) -> Tensor:
        if episode not in self._frames:
            while len(self._frames) > 3:
                del self._frames[min(self._frames)]
            self._frames[episode] = self._held_out.frames(episode)
        return self._frames[episode]


def batches(count: int, description: str) -> Iterator[list[int]]:
    """Yields the indices 0 to `count` - 1 in batches of BATCH, with a progress bar."""
    for first in tqdm(range(0, count, BATCH), desc=description, unit="batch"):
        yield list(range(first, min(first + BATCH, count)))
