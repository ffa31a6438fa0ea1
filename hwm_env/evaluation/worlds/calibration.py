"""Fits a checkpoint's calibration (features of a clip to its error probability), and measures it on held-out folds."""

import itertools
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.data.format import METADATA_FILE
from hwm_env.data.reader import Dataset
from hwm_env.evaluation.worlds.held_out import record_held_out
from hwm_env.evaluation.worlds.reliability import (
    auroc_within,
    brier_score,
    expected_calibration_error,
    reliability_bins,
    with_interval,
)
from hwm_env.evaluation.worlds.risk_loops import FOLDS, SOURCES, RiskLoops, next_of_fold
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.trust import Calibration
from hwm_env.trust.calibration import FEATURES
from hwm_env.types import BoolArray, Float64Array, Int64Array

REPORTED_STEPS: Final = (1, 5, 10, 20)
"""Env steps at which the AUROC among worlds is reported."""
STEP_RANGES: Final = ((1, 2), (3, 5), (6, 10), (11, 20))
"""First and last env step of the ranges in which probabilities are compared with shares."""
OOD_EDGES: Final = (0.0, 0.05, 0.3, 1.0)
"""Bins of `action_ood` in which they are compared: exactly 0, then above one edge and up to the next."""
SUMMARY: Final = ("auroc", "auroc_within_a_step", "brier", "expected_calibration_error", "share_wrong", "clips")
"""Entries of the report that are stored in the checkpoint."""
STATISTICS_EPISODES: Final = 60
STATISTICS_CLIPS: Final = 24
"""Clips per episode of the split that replaces the training data."""
STATISTICS_OFFSETS: Final = (0, 4, 8, 12)
"""First frames of the clips that each episode is cut into, once per offset."""


def statistics_split(directory: Path, tokenizer: VideoTokenizer, image_size: int) -> Dataset:
    """Records and tokenises a split of the reference world like the training data, unless it exists already.

    Args:
        directory: parent of recordings and data sets.
        tokenizer: makes the tokens.
        image_size: side of the images in pixels.
    """
    recording = record_held_out(directory, STATISTICS_EPISODES, STATISTICS_CLIPS, image_size, split="statistics")
    tokens = directory / f"{recording.name}-{tokenizer.token_identity}"
    if not (tokens / METADATA_FILE).exists():
        tokenize_recordings(recording, tokens, lambda: tokenizer, STATISTICS_OFFSETS)
    return Dataset(tokens)


def calibrate(loops: RiskLoops, *, bound_psnr_db: float, seed: int) -> tuple[Calibration, dict[str, Any]]:
    """Fits a calibration to all episodes, and measures it by cross-validation over folds of episodes.

    Args:
        loops: loops of at least eight episodes.
        bound_psnr_db: a clip is wrong if its PSNR is below this (dB).
        seed: seed of shuffles and intervals.

    Returns:
        The calibration, whose `quality` is a summary of the report, and the report, ready for JSON.

    Raises:
        InvalidInputError: the clips of a fit are all wrong or all right.
    """
    calibration = _fitted(loops, bound_psnr_db)
    report = {
        "calibration": {
            "bound_psnr_db": bound_psnr_db,
            "intercept": calibration.intercept,
            "weights": dict(calibration.weights),
        },
        **_CrossValidation(loops, bound_psnr_db, seed).to_dict(),
    }
    return replace(calibration, quality={name: report[name] for name in SUMMARY}), report


def out_of_fold_risk(loops: RiskLoops, bound_psnr_db: float, names: Collection[str] = FEATURES) -> Float64Array:
    """Predicts the error probability of each clip with a calibration that is fitted to the other folds.

    Episode e belongs to fold e % FOLDS.

    Args:
        loops: loops of at least two episodes per fold.
        bound_psnr_db: a clip is wrong if its PSNR is below this (dB).
        names: features to use.

    Returns:
        float64 [S, E, K].
    """
    episodes = np.arange(loops.psnr_db.shape[1])
    risk = np.empty(loops.psnr_db.shape)
    for fold in range(FOLDS):
        held_out = episodes % FOLDS == fold
        calibration = _fitted(loops.select(episodes[~held_out]), bound_psnr_db, names)
        risk[:, held_out] = calibration.error_probability(loops.select(episodes[held_out]).features)
    return risk


def _fitted(loops: RiskLoops, bound_psnr_db: float, names: Collection[str] = FEATURES) -> Calibration:
    """Fits a calibration to some features; the others are constant and so have no weight."""
    features = {
        name: values.ravel() if name in names else np.zeros(values.size) for name, values in loops.features.items()
    }
    return Calibration.fit(features, (loops.psnr_db < bound_psnr_db).ravel(), bound_psnr_db=bound_psnr_db)


class _CrossValidation:
    """Out-of-fold error probabilities with their outcomes; arrays are [S, E, K]."""

    def __init__(self, loops: RiskLoops, bound_psnr_db: float, seed: int) -> None:
        self._bound = bound_psnr_db
        self._loops = loops
        self._seed = seed
        self._wrong: BoolArray = loops.psnr_db < bound_psnr_db
        self._steps: Int64Array = loops.features["steps"].astype(np.int64)
        self._risk = out_of_fold_risk(loops, bound_psnr_db)
        # Clips are compared within a fold: the calibration of a fold with many wrong clips was fitted to few of them.
        self._folds = np.broadcast_to((np.arange(loops.psnr_db.shape[1]) % FOLDS)[:, None], loops.psnr_db.shape)
        self._folds_and_steps = self._folds + FOLDS * self._steps

    def to_dict(self) -> dict[str, Any]:
        risk, wrong, steps = self._risk, self._wrong, self._steps
        rng = np.random.default_rng(self._seed)
        # The risk of another episode of the fold, at the same step and with the same source of actions.
        exchanged = risk[:, [next_of_fold(episode, risk.shape[1]) for episode in range(risk.shape[1])]]
        return {
            "episodes": wrong.shape[1],
            "folds": FOLDS,
            "clips": wrong.size,
            "share_wrong": float(wrong.mean()),
            "share_wrong_by_step": wrong.mean(axis=(0, 1)).tolist(),
            "mean_probability_by_step": risk.mean(axis=(0, 1)).tolist(),
            "psnr_db_by_source_and_step": {
                name: psnr.tolist() for name, psnr in zip(SOURCES, self._loops.psnr_db.mean(axis=1), strict=True)
            },
            "auroc": self._with_interval(auroc_within, self._folds),
            "auroc_within_a_step": self._with_interval(auroc_within, self._folds_and_steps),
            "auroc_at_step": {
                str(step): {
                    "wrong": int(wrong[..., step - 1].sum()),
                    **self._with_interval(auroc_within, self._folds, at=slice(step - 1, step)),
                }
                for step in REPORTED_STEPS
                if step <= wrong.shape[2]
            },
            "auroc_of_one_feature": {name: self._aurocs(self._risk_from([name])) for name in FEATURES},
            "auroc_without_a_feature": {
                name: self._aurocs(self._risk_from(set(FEATURES) - {name})) for name in FEATURES
            },
            "auroc_of_another_worlds_risk": self._aurocs(exchanged),
            "auroc_of_shuffled_labels": auroc_within(risk.ravel(), rng.permutation(wrong.ravel()), self._folds.ravel()),
            "brier": self._with_interval(_brier, self._folds),
            "brier_of_steps_alone": brier_score(self._risk_from(["steps"]).ravel(), wrong.ravel()),
            "brier_of_share_wrong": float(wrong.mean() * (1 - wrong.mean())),
            "expected_calibration_error": expected_calibration_error(risk.ravel(), wrong.ravel()),
            "reliability": [asdict(part) for part in reliability_bins(risk.ravel(), wrong.ravel())],
            "by_steps": {
                f"{first}-{last}": self._compared((steps >= first) & (steps <= last))
                for first, last in STEP_RANGES
                if last <= wrong.shape[2]
            },
            "by_source": {
                name: self._compared(np.broadcast_to((np.arange(len(SOURCES)) == source)[:, None, None], wrong.shape))
                for source, name in enumerate(SOURCES)
            },
            "by_action_ood": self._by_action_ood(),
        }

    def _risk_from(self, names: Collection[str]) -> Float64Array:
        return out_of_fold_risk(self._loops, self._bound, names)

    def _with_interval(
        self, measure: "_Measure", groups: Int64Array, at: slice = slice(None)
    ) -> dict[str, float | None]:
        """Returns a measure of the clips at some steps, with an interval over the episodes."""
        risk, wrong, groups = self._risk[..., at], self._wrong[..., at], groups[..., at]

        def of(episodes: Int64Array) -> float | None:
            return measure(risk[:, episodes].ravel(), wrong[:, episodes].ravel(), groups[:, episodes].ravel())

        return with_interval(of, wrong.shape[1], self._seed)

    def _aurocs(self, risk: Float64Array) -> dict[str, float | None]:
        risks, wrong = risk.ravel(), self._wrong.ravel()
        return {
            "all": auroc_within(risks, wrong, self._folds.ravel()),
            "within_a_step": auroc_within(risks, wrong, self._folds_and_steps.ravel()),
        }

    def _compared(self, chosen: BoolArray) -> dict[str, float | None]:
        """Compares probabilities with shares for the chosen clips."""
        risk, wrong = self._risk[chosen], self._wrong[chosen]
        if not len(risk):
            return {"clips": 0}
        return {
            "clips": len(risk),
            "mean_probability": float(risk.mean()),
            "share_wrong": float(wrong.mean()),
            "expected_calibration_error": expected_calibration_error(risk, wrong),
            "auroc_within_a_step": auroc_within(risk, wrong, self._folds_and_steps[chosen]),
        }

    def _by_action_ood(self) -> dict[str, dict[str, float | None]]:
        ood = self._loops.features["action_ood"]
        compared = {"0": self._compared(ood == 0)}
        for low, high in itertools.pairwise(OOD_EDGES):
            compared[f"up to {high:g}"] = self._compared((ood > low) & (ood <= high))
        return compared


_Measure = Callable[[Float64Array, BoolArray, Int64Array], float | None]
"""Measures probabilities by outcomes and groups, [N] each."""


def _brier(risk: Float64Array, wrong: BoolArray, groups: Int64Array) -> float:
    return brier_score(risk, wrong)
