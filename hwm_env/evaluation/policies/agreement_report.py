"""Reports how well the results of policies in the two worlds agree."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from hwm_env.evaluation.intervals import fisher_interval
from hwm_env.evaluation.policies.agreement import agreement, leave_one_out
from hwm_env.evaluation.policies.measures import AGREEMENT
from hwm_env.evaluation.policies.pairs import clear_winners, compare_pairs
from hwm_env.evaluation.policies.permutation import permutation_test
from hwm_env.evaluation.policies.prediction_powered import TRUE_TRIALS, judge_correction
from hwm_env.policy import SCRIPTED
from hwm_env.types import Float64Array

BINS: Final = 5
"""Bins of learned success rates, equally wide."""


def report_families(families: Mapping[str, str]) -> dict[str, int]:
    """Counts families of policies: `families`, and `k`, the independent training runs, which are all but SCRIPTED."""
    names = set(families.values())
    return {"families": len(names), "k": len(names - {SCRIPTED})}


def report_agreement(true: Float64Array, learned: Float64Array, families: Mapping[str, str]) -> dict[str, Any]:
    """Reports on the agreement of results of any kind.

    Args:
        true: result of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        families: the family of each policy by its name, in the order of P.

    Returns:
        By the name of each of MEASURES: `value`, `over_starts`, `over_families` and `over_both` (see `Agreement`). For
        `pearson`, `spearman` and `mmrv` also `permutation_p` and `leave_one_out`, each for policies and for families;
        for the correlations also `fisher_z`, whose sample size is `k`. And `permutation`: how p was computed. NaN if
        something is undefined, `None` if there are too few families.
    """
    k = report_families(families)["k"]
    labels = list(families.values())
    means = true.mean(axis=1), learned.mean(axis=1)
    report: dict[str, Any] = {name: asdict(found) for name, found in agreement(true, learned, labels).items()}
    by_policy = permutation_test(*means)
    alone = len(set(labels)) == len(labels)
    by_family = by_policy if alone else permutation_test(_by_family(means[0], labels), _by_family(means[1], labels))
    tests = {"policies": by_policy, "families": by_family}
    for name, measure in AGREEMENT.items():
        if name != "mmrv":
            report[name]["fisher_z"] = asdict(fisher_interval(report[name]["value"], k, ranks=name == "spearman"))
        report[name]["permutation_p"] = {kind: test.p[name] for kind, test in tests.items()}
        dropped = {
            "policy": leave_one_out(measure, *means, list(families)),
            "family": leave_one_out(measure, *means, labels),
        }
        report[name]["leave_one_out"] = {kind: each and asdict(each) for kind, each in dropped.items()}
    report["permutation"] = {
        kind: {"method": test.method, "permutations": test.permutations} for kind, test in tests.items()
    }
    return report


def report_success(
    true: Float64Array, learned: Float64Array, names: Sequence[str], more: Float64Array
) -> dict[str, Any]:
    """Reports on what only success (0 or 1) has.

    Args:
        true: success of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        names: of the policies, [P].
        more: success of each policy in further learned trials, [P, M].

    Returns:
        `calibration_bins`: by bin of learned success rates, the number of policies and their mean learned and true
        rate; `clear_winners`: see `clear_winners`; `prediction_powered`: by number of known true trials, how good
        corrected estimates are for each policy and `pooled`, see `Correction`.
    """
    return {
        "calibration_bins": _bins(true.mean(axis=1), learned.mean(axis=1)),
        "clear_winners": clear_winners(compare_pairs(true, learned, names)),
        "prediction_powered": [
            _corrections(true, learned, names, more, known) for known in TRUE_TRIALS if known < true.shape[1]
        ],
    }


def _bins(true: Float64Array, learned: Float64Array) -> list[dict[str, float | int]]:
    numbers = np.minimum((learned * BINS).astype(int), BINS - 1)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "policies": int((numbers == number).sum()),
            "learned": float(learned[numbers == number].mean()),
            "true": float(true[numbers == number].mean()),
        }
        for number in np.unique(numbers)
    ]


def _corrections(
    true: Float64Array, learned: Float64Array, names: Sequence[str], more: Float64Array, known: int
) -> dict[str, Any]:
    corrections, pooled = judge_correction(true, learned, more, known)
    return {
        "true_trials": known,
        "learned_trials": learned.shape[1] + more.shape[1],
        "pooled": asdict(pooled),
        "policies": [{"name": name, **asdict(each)} for name, each in zip(names, corrections, strict=True)],
    }


def _by_family(results: Float64Array, labels: Sequence[str]) -> Float64Array:
    """Returns the mean result of each family."""
    names = np.array(labels)
    return np.array([results[names == family].mean() for family in dict.fromkeys(labels)])
