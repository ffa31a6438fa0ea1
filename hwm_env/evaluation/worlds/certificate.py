"""Does a world answer to its actions? Everything that speaks for it or against it, measured on held-out recordings.

A model can draw fine videos and not listen at all: two public implementations of Masked-HWM mask attention so that
the predicted video cannot see the actions. What tells is that the recorded actions predict the recorded clip better
than any others do, above all what moves in it, and that predicted clips show the actions that were sent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.evaluation.image_metrics import MAX_PSNR_DB, PEAK, psnr_db
from hwm_env.evaluation.worlds.action_variations import variations
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.fidelity import batches, compare_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.inverse_dynamics import (
    InverseDynamicsConfig,
    differences_shown,
    explained,
    learn_to_recognise,
    shown_actions,
)
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS

MOVES_ABOVE: Final = 12
"""A pixel moves where it differs from the frame before the clip by more than this, of 255."""
LEARNING_SHARE: Final = 0.6
"""Of the episodes, from which inverse dynamics are learned; clips of the others are judged."""
CLEAR_GAP_DB: Final = 1.0
"""Recorded actions must be at least so much better than any others in what moves."""
CLEAR_SHARE: Final = 0.5
"""Predicted clips must show at least this share of what real clips show of their actions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Means over windows of nine clips and the next one, predicted with one kind of actions; PSNR in dB."""

    psnr: float
    psnr_moving: float
    """Of the pixels that move in the recording; over the windows in which at least one in a hundred does."""
    psnr_still: float
    """Of the others."""
    token_accuracy: float
    """Share of the recorded clip's tokens that were predicted to the digit."""


def certify(
    simulator: WorldSimulator,
    held_out: HeldOut,
    *,
    closed_loop_steps: int,
    inverse_dynamics: InverseDynamicsConfig | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures how a world answers to its actions.

    Args:
        simulator: with the decoding that shall be judged.
        held_out: episodes of at least nine clips and the closed loop's, which no training saw.
        closed_loop_steps: env steps of the closed loop.
        inverse_dynamics: how the network is trained that recognises actions.
        seed: of the worlds and the shuffles.

    Returns:
        Ready for JSON: `windows`; `actions`, Scores by kind (see `variations`) and of `repeat_last_frame` and
        `tokenizer_ceiling`; `gaps`, dB by which recorded actions are better than others in what moves, with intervals;
        `inverse_dynamics`, R^2 of `real` clips and of clips `predicted` with the recorded actions, and how much of the
        `difference` between those and redirected actions after the same past is shown, which is 0 for a world that does
        not listen, whatever the past may tell; `closed_loop`; and the `verdict`.

    Raises:
        InvalidInputError: the episodes are too few or too short.
    """
    if held_out.num_clips < HISTORY_CLIPS + closed_loop_steps or len(held_out) < 4:
        raise InvalidInputError(
            f"expected at least 4 episodes of {HISTORY_CLIPS + closed_loop_steps} clips (history and closed loop), got "
            f"{len(held_out)} of {held_out.num_clips}"
        )
    learning = round(LEARNING_SHARE * len(held_out))
    windows = [(e, c) for e in range(learning, len(held_out)) for c in range(HISTORY_CLIPS, held_out.num_clips)]
    actions = torch.stack([held_out.actions[e, c - HISTORY_CLIPS : c + 1] for e, c in windows])
    kinds = variations(actions, simulator.checkpoint.statistics, seed)
    scores, predicted = _predict(simulator, held_out, windows, kinds, seed)
    moving = scores["true"][:, 1].isfinite()
    gaps = {
        name: asdict(mean_estimate((scores["true"] - values)[moving, 1].double().numpy(), seed))
        for name, values in scores.items()
        if name not in ("true", "tokenizer_ceiling") and moving.any()
    }
    report: dict[str, Any] = {
        "windows": len(windows),
        "actions": {name: asdict(_means(values)) for name, values in scores.items()},
        "gaps": gaps,
        "inverse_dynamics": _inverse_dynamics(
            held_out,
            windows,
            kinds,
            predicted,
            learning,
            simulator.tokenizer.fsq_levels,
            inverse_dynamics or InverseDynamicsConfig(seed=seed),
        ),
        "closed_loop": asdict(
            compare_loops(simulator, held_out, run_closed_loops(simulator, held_out, closed_loop_steps, seed).tokens)
        ),
    }
    return report | {"verdict": verdict(report)}


def verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader should take from a report: `answers`, true or false, and `reasons`, a sentence each."""
    gaps = {name: gap for name, gap in report["gaps"].items() if name != "repeat_last_frame"}
    reasons = []
    weakest = min(gaps, key=lambda name: gaps[name]["value"], default=None)
    beats_others = weakest is not None and gaps[weakest]["low"] > 0 and gaps[weakest]["value"] >= CLEAR_GAP_DB
    if weakest is None:
        reasons.append("Nothing moves in these recordings, so nothing can be said.")
    else:
        gap = gaps[weakest]
        reasons.append(
            f"In what moves, the recorded actions predict the recorded clip {gap['value']:.1f} dB better "
            f"({gap['low']:.1f} to {gap['high']:.1f}) than {weakest} ones, the hardest to tell apart; "
            f"{CLEAR_GAP_DB:g} dB are asked."
        )
    recognised = report["inverse_dynamics"]
    judged = [group for group, share in recognised["real"].items() if share >= CLEAR_SHARE]
    shares = {group: recognised["difference"][group] / recognised["real"][group] for group in judged}
    missing = [group for group, share in shares.items() if share < CLEAR_SHARE]
    for group, share in shares.items():
        reasons.append(
            f"Clips that were predicted with other actions differ as they should in {group}: they show "
            f"{max(share, 0.0):.0%} of what real clips show; {CLEAR_SHARE:.0%} are asked."
        )
    loop = report["closed_loop"]
    ahead = [ours > theirs for ours, theirs in zip(loop["psnr"], loop["psnr_repeat_last_frame"], strict=True)]
    stays = next((step for step, is_ahead in enumerate(ahead) if not is_ahead), len(ahead))
    reasons.append(f"In a closed loop it stays above repeating the last frame for {stays} of {len(ahead)} steps.")
    return {"answers": beats_others and bool(judged) and not missing, "reasons": reasons}


def _predict(
    simulator: WorldSimulator,
    held_out: HeldOut,
    windows: list[tuple[int, int]],
    kinds: Mapping[str, Tensor],
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores [N, 4] of every kind of actions and of the baselines, and the tokens that were predicted, [N, 3, H, W]."""
    scores: dict[str, list[Tensor]] = {name: [] for name in (*kinds, "repeat_last_frame", "tokenizer_ceiling")}
    predicted: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for part in batches(len(windows), "certify"):
        chosen = [windows[i] for i in part]
        tokens = torch.stack([held_out.tokens[e, c - HISTORY_CLIPS : c + 1] for e, c in chosen])
        frames = [held_out.frames(e)[c - 1 : c + 1] for e, c in chosen]
        truth, last = torch.stack([pair[1] for pair in frames]), torch.stack([pair[0, -1:] for pair in frames])
        moves = (truth.int() - last.int()).abs().amax(-1) > MOVES_ABOVE
        past = torch.stack([held_out.actions[e, c - HISTORY_CLIPS : c] for e, c in chosen])
        state = simulator.begin(tokens[:, :-1], past, [seed + i for i in part])
        for name, chunks in kinds.items():
            clip = simulator.step(state, chunks[part])[1]
            predicted[name].append(clip.tokens.cpu())
            scores[name].append(_scored(clip.frames.cpu(), clip.tokens.cpu(), truth, tokens[:, -1], moves))
        copies = tokens[:, -2], tokens[:, -1]
        scores["repeat_last_frame"].append(_scored(last.expand_as(truth), copies[0], truth, copies[1], moves))
        decoded = simulator.tokenizer.decode(copies[1].to(simulator.device)).cpu()
        scores["tokenizer_ceiling"].append(_scored(decoded, copies[1], truth, copies[1], moves))
    return {name: torch.cat(parts) for name, parts in scores.items()}, {
        name: torch.cat(parts) for name, parts in predicted.items()
    }


def _scored(frames: Tensor, tokens: Tensor, truth: Tensor, true_tokens: Tensor, moves: Tensor) -> Tensor:
    """PSNR of all, moving and still pixels (NaN where less than a hundredth is of a kind), token accuracy: [B, 4]."""
    squared = (frames.float() - truth.float()).square().mean(-1)
    columns = [psnr_db(frames, truth)]
    for of_kind in (moves, ~moves):
        count = of_kind.flatten(1).sum(1)
        error = (squared * of_kind).flatten(1).sum(1) / count.clamp(min=1)
        psnr = (10 * torch.log10(PEAK**2 / error.clamp(min=1e-12))).clamp(max=MAX_PSNR_DB)
        columns.append(psnr.where(count >= 0.01 * of_kind[0].numel(), torch.nan))
    columns.append((tokens == true_tokens).flatten(1).float().mean(1))
    return torch.stack(columns, dim=1)


def _means(scores: Tensor) -> Scores:
    psnr, moving, still, accuracy = scores.nanmean(0).tolist()
    return Scores(psnr=psnr, psnr_moving=moving, psnr_still=still, token_accuracy=accuracy)


def _inverse_dynamics(
    held_out: HeldOut,
    windows: list[tuple[int, int]],
    kinds: Mapping[str, Tensor],
    predicted: Mapping[str, Tensor],
    learning: int,
    fsq_levels: tuple[int, ...],
    config: InverseDynamicsConfig,
) -> dict[str, dict[str, float]]:
    tokens, actions = held_out.tokens, held_out.actions
    learned = learn_to_recognise(
        tokens[:learning, :-1].flatten(0, 1),
        tokens[:learning, 1:].flatten(0, 1),
        actions[:learning, 1:].flatten(0, 1),
        fsq_levels,
        config,
    )
    before = torch.stack([tokens[e, c - 1] for e, c in windows])
    real = torch.stack([tokens[e, c] for e, c in windows])
    said = {name: learned.of(before, predicted[name]) for name in ("true", "redirected")}
    sent = {name: shown_actions(kinds[name]) for name in said}
    return {
        "real": explained(learned.of(before, real), sent["true"]),
        "predicted": explained(said["true"], sent["true"]),
        "difference": differences_shown(said["redirected"] - said["true"], sent["redirected"] - sent["true"]),
    }
