"""How true is the learned world? Next clip and closed loop against recorded truth, with baselines.

Every number is a mean over windows or starts of per-sample PSNR (dB) against the recorded images, so the tokenizer's
own loss is part of the error and its reconstruction of the truth is the ceiling.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.held_out import HeldOut
from hwm_env.evaluation.metrics import psnr_db
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

logger = logging.getLogger(__name__)

MOVING_BELOW_DB = 20.0
"""A window moves if repeating the last frame scores below this."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class FidelityReport:
    """All that `hwm-env fidelity` measures."""

    next_clip: NextClip
    moving: NextClip | None
    """The same over moving windows; None where nothing moves."""
    closed_loop: ClosedLoop

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
    return FidelityReport(
        next_clip=everything, moving=moving, closed_loop=_closed_loop(simulator, held_out, closed_loop_steps, seed)
    )


def _next_clip(simulator: WorldSimulator, held_out: HeldOut, seed: int) -> tuple[NextClip, NextClip | None]:
    """Judges every clip that nine others precede."""
    windows = [(e, c) for e in range(len(held_out)) for c in range(HISTORY_CLIPS, held_out.num_clips)]
    other = _derangement(len(windows), seed)
    scores: dict[str, list[Tensor]] = {"true": [], "shuffled": [], "repeat": [], "ceiling": []}
    truths = _FrameCache(held_out)
    for part in _batches(len(windows), "next clip"):
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


def _closed_loop(simulator: WorldSimulator, held_out: HeldOut, steps: int, seed: int) -> ClosedLoop:
    """Begins at the first nine clips of each episode and goes on with the recorded actions."""
    rows: list[Tensor] = []
    for part in _batches(len(held_out), "closed loop"):
        state = simulator.begin(
            held_out.tokens[part, :HISTORY_CLIPS], held_out.actions[part, :HISTORY_CLIPS], [seed + i for i in part]
        )
        truth = torch.stack([held_out.frames(e)[HISTORY_CLIPS - 1 : HISTORY_CLIPS + steps] for e in part])
        by_step = []
        for step in range(steps):
            clip_index = HISTORY_CLIPS + step
            state, clip = simulator.step(state, held_out.actions[part, clip_index])
            ceiling = simulator.tokenizer.decode(held_out.tokens[part, clip_index].to(simulator.device)).cpu()
            target = truth[:, step + 1]
            repeated = truth[:, 0, -1:]
            by_step.append(
                torch.stack([psnr_db(clip.frames.cpu(), target), psnr_db(repeated, target), psnr_db(ceiling, target)])
            )
        rows.append(torch.stack(by_step))
    model, repeat, ceiling = torch.cat(rows, dim=2).mean(dim=2).unbind(1)
    return ClosedLoop(
        psnr=model.tolist(),
        psnr_repeat_last_frame=repeat.tolist(),
        psnr_tokenizer_ceiling=ceiling.tolist(),
        starts=len(held_out),
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


def _derangement(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A random cyclic order: nobody keeps its own."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other


def _batches(count: int, description: str) -> Iterator[list[int]]:
    for first in tqdm(range(0, count, BATCH), desc=description, unit="batch"):
        yield list(range(first, min(first + BATCH, count)))
