"""How true is the learned world? Next clip and closed loop against recorded truth, with baselines.

Every PSNR is a mean over windows or starts of the per-sample PSNR (dB) against the recorded images, so the tokenizer's
own loss is part of the error and its reconstruction of the truth is the ceiling. Recordings of the reference world also
tell where the robot truly is, so drift, obstacles and counterfactual actions are judged there.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.evaluation.action_variations import derangement
from hwm_env.evaluation.closed_loops import run_closed_loops
from hwm_env.evaluation.held_out import HeldOut
from hwm_env.evaluation.metrics import psnr_db
from hwm_env.evaluation.readout_error import Summary, judge_loops
from hwm_env.model.readout import Readout
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

if TYPE_CHECKING:
    from hwm_env.evaluation.counterfactuals import Counterfactuals
    from hwm_env.evaluation.walls import Walls

J = TypeVar("J")

logger = logging.getLogger(__name__)

MOVING_BELOW_DB = 20.0
"""A window moves if repeating the last frame scores below this."""
WALL_CASES = 50
COUNTERFACTUAL_STARTS = 50
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
    """The same; also None where the reference world cannot be drawn."""
    counterfactuals: "Counterfactuals | None"
    """None without true poses, or where the reference world cannot be drawn."""

    def to_dict(self) -> dict[str, object]:
        """As written to JSON: `moving` stands inside `next_clip`."""
        content = asdict(self)
        content["next_clip"]["moving"] = content.pop("moving")
        return content


def measure(simulator: WorldSimulator, held_out: HeldOut, *, closed_loop_steps: int, seed: int = 0) -> FidelityReport:
    """Judges a simulator on held-out episodes.

    Args:
        simulator: with the decoding that shall be judged.
        held_out: episodes of at least nine clips and the closed loop's.
        closed_loop_steps: env steps of the closed loop.
        seed: of the worlds and of the shuffle.

    Raises:
        InvalidInputError: the episodes are too short, or there are fewer than two.
    """
    if held_out.num_clips < HISTORY_CLIPS + closed_loop_steps or len(held_out) < 2:
        raise InvalidInputError(
            f"expected at least 2 episodes of {HISTORY_CLIPS + closed_loop_steps} clips (history and closed loop), got "
            f"{len(held_out)} of {held_out.num_clips}"
        )
    everything, moving = _next_clip(simulator, held_out, seed)
    predicted = run_closed_loops(simulator, held_out, closed_loop_steps, seed)
    readout = simulator.checkpoint.readout
    pose, walls, counterfactuals = None, None, None
    if held_out.has_poses:
        counterfactuals = _if_possible("counterfactuals", lambda: _counterfactuals(simulator, held_out, seed))
    if held_out.has_poses and readout is not None:
        pose = judge_loops(readout, held_out, predicted)
        walls = _if_possible("walls", lambda: _walls(simulator, readout, held_out, seed))
    return FidelityReport(
        next_clip=everything,
        moving=moving,
        closed_loop=compare_loops(simulator, held_out, predicted),
        pose=pose,
        walls=walls,
        counterfactuals=counterfactuals,
    )


def _counterfactuals(simulator: WorldSimulator, held_out: HeldOut, seed: int) -> "Counterfactuals":
    from hwm_env.evaluation.counterfactuals import measure_counterfactuals

    return measure_counterfactuals(simulator, held_out, starts=COUNTERFACTUAL_STARTS, seed=seed)


def _walls(simulator: WorldSimulator, readout: Readout, held_out: HeldOut, seed: int) -> "Walls":
    from hwm_env.evaluation.walls import measure_walls

    return measure_walls(simulator, readout, held_out, cases=WALL_CASES, seed=seed)


def _if_possible(name: str, judge: Callable[[], J]) -> J | None:
    """What this recording or this machine cannot give does not take the other measures with it."""
    try:
        return judge()
    except HWMError as error:
        logger.warning("%s are not judged: %s", name, error)
        return None


def _next_clip(simulator: WorldSimulator, held_out: HeldOut, seed: int) -> tuple[NextClip, NextClip | None]:
    """Judges clips that nine others precede."""
    count = min(WINDOWS_PER_EPISODE, held_out.num_clips - HISTORY_CLIPS)
    clips = np.linspace(HISTORY_CLIPS, held_out.num_clips - 1, count).astype(int).tolist()
    windows = [(e, c) for e in range(len(held_out)) for c in clips]
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
        state = simulator.begin(tokens, actions, [seed + i for i in part])
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
