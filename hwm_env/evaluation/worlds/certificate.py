"""Certifies that a world responds to its actions, with evidence from held-out recordings.

A model can predict plausible videos and ignore its actions: two public implementations of Masked-HWM mask attention so
that the predicted video cannot see them. The evidence is that the recorded actions predict the recorded clip better
than any others do, above all its moving pixels, and that predicted clips show the actions that were sent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.evaluation.image_metrics import error_to_psnr_db, psnr_db
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
"""A pixel moves if it differs from the frame before the clip by more than this, of 255."""
LEARNING_SHARE: Final = 0.6
"""Share of the episodes that train inverse dynamics; the others are predicted."""
CLEAR_GAP_DB: Final = 1.0
"""Smallest gain (dB) of the recorded actions over any others, in the moving pixels."""
CLEAR_SHARE: Final = 0.5
"""Smallest share of the actions' effect on real clips that predicted clips must show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores of clips predicted with one kind of actions after nine recorded clips: means over windows, PSNR in dB."""

    psnr: float
    """PSNR of all pixels."""
    psnr_moving: float
    """PSNR of the pixels that move in the recording, over windows in which at least 1 % do."""
    psnr_still: float
    """PSNR of the other pixels, over windows in which they are at least 1 %."""
    token_accuracy: float
    """Share of the recorded clip's tokens that are predicted exactly, 0..1."""


def certify(
    simulator: WorldSimulator,
    held_out: HeldOut,
    *,
    closed_loop_steps: int,
    inverse_dynamics: InverseDynamicsConfig | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures how a world responds to its actions.

    Args:
        simulator: predicts the clips, with its decoding.
        held_out: at least four episodes of at least 9 + `closed_loop_steps` clips, not used in training.
        closed_loop_steps: env steps of the closed loops.
        inverse_dynamics: training of the network that estimates actions; `None`: default settings.
        seed: seed of the worlds and the shuffles.

    Returns:
        Ready for JSON.

        - `windows`: number of predicted clips.
        - `actions`: Scores by kind of actions (see `variations`), and of `repeat_last_frame` and `tokenizer_ceiling`.
        - `gaps`: gain (dB) of the recorded actions over others in the moving pixels, with intervals.
        - `inverse_dynamics`: R^2 of `real` clips and of clips `predicted` with the recorded actions, and the shown
            share of the `difference` between recorded and redirected actions after the same history, which is 0 for a
            world that ignores its actions.
        - `closed_loop`: see `compare_loops`.
        - `verdict`: see `verdict`.

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
    """Returns the conclusion of a report: `answers`, whether the world responds, and `reasons`, one sentence each."""
    gaps = {name: gap for name, gap in report["gaps"].items() if name != "repeat_last_frame"}
    reasons = []
    weakest = min(gaps, key=lambda name: gaps[name]["value"], default=None)
    beats_others = weakest is not None and gaps[weakest]["low"] > 0 and gaps[weakest]["value"] >= CLEAR_GAP_DB
    if weakest is None:
        reasons.append("Nothing moves in these recordings, so there is no evidence.")
    else:
        gap = gaps[weakest]
        reasons.append(
            f"In the moving pixels, the recorded actions predict the recorded clip {gap['value']:.1f} dB better "
            f"({gap['low']:.1f} to {gap['high']:.1f}) than {weakest} actions, the closest competitor; "
            f"target: {CLEAR_GAP_DB:g} dB."
        )
    recognised = report["inverse_dynamics"]
    judged = [group for group, share in recognised["real"].items() if share >= CLEAR_SHARE]
    shares = {group: recognised["difference"][group] / recognised["real"][group] for group in judged}
    missing = [group for group, share in shares.items() if share < CLEAR_SHARE]
    for group, share in shares.items():
        reasons.append(
            f"Clips that are predicted with other actions show {max(share, 0.0):.0%} of the difference that real clips "
            f"show in {group}; target: {CLEAR_SHARE:.0%}."
        )
    loop = report["closed_loop"]
    ahead = [ours > theirs for ours, theirs in zip(loop["psnr"], loop["psnr_repeat_last_frame"], strict=True)]
    stays = next((step for step, is_ahead in enumerate(ahead) if not is_ahead), len(ahead))
    reasons.append(
        f"A closed loop has a higher PSNR than the last frame repeated for {stays} of {len(ahead)} env steps."
    )
    return {"answers": beats_others and bool(judged) and not missing, "reasons": reasons}


def _predict(
    simulator: WorldSimulator,
    held_out: HeldOut,
    windows: list[tuple[int, int]],
    kinds: Mapping[str, Tensor],
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns scores [N, 4] of every kind of actions and of the baselines, and the predicted tokens, [N, 3, H, W]."""
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
    """Returns PSNR of all, moving and still pixels (NaN if a kind is below 1 %) and token accuracy, [B, 4]."""
    squared = (frames.float() - truth.float()).square().mean(-1)
    columns = [psnr_db(frames, truth)]
    for mask in (moves, ~moves):
        count = mask.flatten(1).sum(1)
        psnr = error_to_psnr_db((squared * mask).flatten(1).sum(1) / count.clamp(min=1))
        columns.append(psnr.where(count >= 0.01 * mask[0].numel(), torch.nan))
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
    """Trains inverse dynamics on the first `learning` episodes, and applies them to clips of the others."""
    tokens, actions = held_out.tokens, held_out.actions
    recognition = learn_to_recognise(
        tokens[:learning, :-1].flatten(0, 1),
        tokens[:learning, 1:].flatten(0, 1),
        actions[:learning, 1:].flatten(0, 1),
        fsq_levels,
        config,
    )
    before = torch.stack([tokens[e, c - 1] for e, c in windows])
    real = torch.stack([tokens[e, c] for e, c in windows])
    shown = {name: recognition.estimate(before, predicted[name]) for name in ("true", "redirected")}
    sent = {name: shown_actions(kinds[name]) for name in shown}
    return {
        "real": explained(recognition.estimate(before, real), sent["true"]),
        "predicted": explained(shown["true"], sent["true"]),
        "difference": differences_shown(shown["redirected"] - shown["true"], sent["redirected"] - sent["true"]),
    }
