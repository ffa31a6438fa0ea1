"""How true is the learned world? Next clip and closed loop against recorded truth, with baselines.

Every PSNR is a mean over windows or starts of the per-sample PSNR (dB) against the recorded images, so the tokenizer's
own loss is part of the error and its reconstruction of the truth is the ceiling. Where a recording tells where the
robot truly was, drift is judged, and of a checkpoint with a scene, what it knows of the room. What obstacles,
counterfactual actions and a view that was left would truly show is tried out in the reference world, for recordings of
it.
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
from hwm_env.evaluation.worlds.action_variations import derangement
from hwm_env.evaluation.worlds.closed_loops import Loops, run_closed_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.localisation import LocalisationReport, LocatedStarts, carry_along, locate_starts
from hwm_env.evaluation.worlds.long_loop import LongLoop, measure_long_loop
from hwm_env.evaluation.worlds.painted_pose import PaintedPose, measure_painted_pose
from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.evaluation.worlds.pose_sources import compare_sources
from hwm_env.evaluation.worlds.readout_error import CLOSED_LOOP_STEPS, Summary, judge_loops
from hwm_env.evaluation.worlds.sabotage import STEPS as SABOTAGE_STEPS
from hwm_env.evaluation.worlds.sabotage import Sabotaged, measure_sabotage
from hwm_env.evaluation.worlds.scene_scores import SceneFidelity, measure_scene
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

if TYPE_CHECKING:
    from hwm_env.evaluation.worlds.away_and_back import AwayAndBack
    from hwm_env.evaluation.worlds.counterfactuals import Counterfactuals
    from hwm_env.evaluation.worlds.walls import Walls

J = TypeVar("J")

logger = logging.getLogger(__name__)

MOVING_BELOW_DB = 20.0
"""A window moves if repeating the last frame scores below this."""
WALL_CASES = 50
COUNTERFACTUAL_STARTS = 50
PAINTED_STARTS = 50
AWAY_AND_BACK_STARTS = 30
SABOTAGE_LOOPS = 12
WINDOWS_PER_EPISODE = 5
"""Next clips that an episode gives at most, evenly spread: neighbours tell the same twice."""
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class NextClip:
    """Prediction of the one clip that follows a recorded history; PSNR in dB."""

    psnr_true_actions: float
    """With the recorded actions."""
    psnr_shuffled_actions: float
    """With another window's actions."""
    psnr_repeat_last_frame: float
    """Of the last frame before the clip, repeated."""
    psnr_tokenizer_ceiling: float
    """Of the truth, encoded and decoded."""
    starts: int
    """Windows judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedLoop:
    """Prediction on top of one's own predictions, with the recorded actions; PSNR in dB, an entry an env step."""

    psnr: list[float]
    psnr_repeat_last_frame: list[float]
    """Of the last frame before the loop starts, repeated."""
    psnr_tokenizer_ceiling: list[float]
    starts: int
    """Loops judged, one an episode."""
    gain_by_start: list[float]
    """How far each loop stays above repeating, mean over its steps, dB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FidelityReport:
    """All that `hwm-env fidelity` measures."""

    next_clip: NextClip
    moving: NextClip | None
    """The same over moving windows; None where nothing moves."""
    closed_loop: ClosedLoop
    pose: dict[str, dict[str, Summary]] | None
    """Of the closed loops, see `judge_loops`; None without a read-out or true poses."""
    walls: "Walls | None"
    """None without anything that says where the base stands, for recordings that are not of the reference world, or
    where that cannot be drawn."""
    counterfactuals: "Counterfactuals | None"
    """None for recordings that are not of the reference world, or where that cannot be drawn."""
    scene: SceneFidelity | None = None
    """None without a scene or true poses, as all that follows."""
    localisation: LocalisationReport | None = None
    carried_pose: dict[str, PoseError] | None = None
    """Where the worlds of the closed loops believe to be, against the truth, by env step."""
    pose_sources: dict[str, dict[str, PoseError]] | None = None
    """The carried pose beside what a read-out sees in the predicted clips and a filter of both, by env step; also None
    without a read-out."""
    painted_pose: dict[str, PaintedPose] | None = None
    """Where their newest predicted clips are seen from, by env step."""
    away_and_back: "AwayAndBack | None" = None
    """Also None as `counterfactuals`."""
    long_loop: LongLoop | None = None
    """Also None where no long episodes were given."""
    sabotage: dict[str, Sabotaged] | None = None
    """What becomes of closed loops when one thing is broken, see `measure_sabotage`; also None for shorter ones."""

    def to_dict(self) -> dict[str, object]:
        """As written to JSON: `moving` stands inside `next_clip`."""
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
) -> FidelityReport:
    """Judges a simulator on held-out episodes.

    Worlds with a scene find out where they are from the first nine clips of each episode; where a later clip of it is
    predicted, they have been carried along by the recorded actions since then.

    Args:
        simulator: with the decoding that shall be judged.
        held_out: episodes of at least nine clips and the closed loop's.
        closed_loop_steps: env steps of the closed loop.
        seed: of the worlds and of the shuffle.
        long_episodes: makes the episodes of the long loop; is called only for worlds with a scene.

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
        pose = judge_loops(readout, held_out, loops.tokens)
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
    """The report, with what only worlds with a scene show."""
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
            localisation=located.judge(held_out),
            carried_pose={str(k): compare_poses(loops.poses[:, k], truth[:, k - 1]) for k in steps},
            pose_sources=None
            if readout is None
            else compare_sources(readout, loops.tokens, loops.poses[:, 1:], truth[:, : loops.tokens.shape[1]], steps),
            painted_pose=measure_painted_pose(simulator, some_loops, actions[few], truth[few]),
            sabotage=measure_sabotage(simulator, held_out, loops=SABOTAGE_LOOPS, seed=seed) if long_enough else None,
        )
    if held_out.has_poses and held_out.is_of_reference_world:
        away = _if_possible("views that were left", lambda: _away_and_back(simulator, held_out, located.poses, seed))
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


def _if_possible(name: str, judge: Callable[[], J]) -> J | None:
    """What this recording or this machine cannot give does not take the other measures with it."""
    try:
        return judge()
    except HWMError as error:
        logger.warning("%s are not judged: %s", name, error)
        return None


def _windows(held_out: HeldOut) -> list[tuple[int, int]]:
    """Episode and index of the clips that are judged; nine others precede each."""
    count = min(WINDOWS_PER_EPISODE, held_out.num_clips - HISTORY_CLIPS)
    clips = np.linspace(HISTORY_CLIPS, held_out.num_clips - 1, count).astype(int).tolist()
    return [(e, c) for e in range(len(held_out)) for c in clips]


def _next_clip(
    simulator: WorldSimulator, held_out: HeldOut, poses: Tensor | None, seed: int
) -> tuple[NextClip, NextClip | None]:
    """Judges single clips; the worlds know their poses [E, 3] after the first nine clips, or have no scene."""
    windows, carried = _windows(held_out), None
    if simulator.scene is not None and poses is not None:
        carried = carry_along(simulator.scene, poses, held_out.actions[:, HISTORY_CLIPS:])
    other = derangement(len(windows), seed)
    scores: dict[str, list[Tensor]] = {"true": [], "shuffled": [], "repeat": [], "ceiling": []}
    truths = _FrameCache(held_out)
    for part in batches(len(windows), "next clip"):
        chosen = [windows[i] for i in part]
        tokens = torch.stack([held_out.tokens[e, c - HISTORY_CLIPS : c] for e, c in chosen])
        actions = torch.stack([held_out.actions[e, c - HISTORY_CLIPS : c] for e, c in chosen])
        true_chunk = torch.stack([held_out.actions[e, c] for e, c in chosen])
        shuffled_chunk = torch.stack([held_out.actions[windows[other[i]]] for i in part])
        truth = torch.stack([truths.frames(e)[c] for e, c in chosen])
        last = torch.stack([truths.frames(e)[c - 1, -1:] for e, c in chosen])
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
    """Compares the clips that `run_closed_loops` predicted, [E, steps, 3, H, W], with the recorded ones."""
    tokenizer, steps = simulator.tokenizer, predicted.shape[1]

    def decoded(tokens: Tensor) -> Tensor:
        return tokenizer.decode(tokens.to(simulator.device)).cpu()

    by_episode = []
    for episode in tqdm(range(len(held_out)), desc="compare", unit="episode"):
        truth = held_out.frames(episode)[HISTORY_CLIPS - 1 : HISTORY_CLIPS + steps]
        target, repeated = truth[1:], truth[:1, -1:]
        recorded = held_out.tokens[episode, HISTORY_CLIPS : HISTORY_CLIPS + steps]
        frames = (decoded(predicted[episode]), repeated.expand_as(target), decoded(recorded))
        by_episode.append(torch.stack([psnr_db(clips, target) for clips in frames]))
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
    """The frames of the newest two episodes: windows come in order, a batch seldom spans more."""

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
    """Indices 0 to `count` - 1, BATCH at a time, with a progress bar."""
    for first in tqdm(range(0, count, BATCH), desc=description, unit="batch"):
        yield list(range(first, min(first + BATCH, count)))
