"""Compares kinds of training by the results of their policies in the reference world."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from hwm_env.evaluation.bootstrap import Estimate, percentile_interval, resample
from hwm_env.types import Float64Array, Int64Array

KINDS: Final = ("learned", "true", "tuned")
"""Trained in the learned world; in the reference world; in the reference world from the last policies of `learned`."""
REACHED: Final = 0.95
"""Share of the return of training in the reference world up to which env steps are counted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curves:
    """How P seeds of one kind of training learned: K policies of each, all judged on the same S cases."""

    steps: Int64Array
    """Env steps that each policy was trained for, [K]."""
    wall_seconds: Float64Array
    """Wall time that its training took, [P, K]."""
    cpu_seconds: Float64Array
    """CPU time of the same: the wall time of one free core, [P, K]."""
    returns: Float64Array
    """Its returns in the reference world, [P, K, S]."""
    successes: Float64Array
    """Whether it succeeded there, 0 or 1, [P, K, S]."""


class _Policies(NamedTuple):
    """A policy of each seed."""

    returns: Float64Array
    """[P, S]."""
    successes: Float64Array
    """[P, S]."""
    steps: float
    """Mean env steps."""
    wall_seconds: float
    """Mean wall time."""
    cpu_seconds: float
    """Mean CPU time."""


class _Draws:
    """Bootstrap samples of seeds, drawn for each kind of training by itself, and of cases, drawn once for all kinds."""

    def __init__(self, num_seeds: int, num_cases: int) -> None:
        self._seeds = {kind: resample(num_seeds, 1 + number) for number, kind in enumerate(KINDS)}
        self._cases = resample(num_cases, 0)

    def means(self, results: Float64Array, kind: str) -> Float64Array:
        """Returns the mean of the results of one kind of training, [P, S], in each sample, [B]."""
        means: Float64Array = results[self._seeds[kind][:, :, None], self._cases[:, None]].mean((1, 2))
        return means


def compare(curves: Mapping[str, Curves]) -> dict[str, Any]:
    """Compares the kinds of training.

    All intervals are 95 % percentile-bootstrap intervals over seeds, drawn for each kind by itself (two-sample), and
    cases, drawn once for all kinds (paired).

    Args:
        curves: by kind.

    Returns:
        Ready for JSON. `curves`, by kind of training: the curves, with means over the cases. `results`, by kind of
        policies: means of their `steps`, `wall_seconds` and `cpu_seconds` of training (of `tuned`, without those of
        `learned`), of return and of success in the reference world, and `share`, the return divided by that of `true`.
        `true, same seconds` are the first policies of `true` whose training took at least as much CPU time, which does
        not depend on what else the machine does, as that of `learned` with the same seed. `reached`: see `_reached`.
    """
    learned, true, tuned = (curves[kind] for kind in KINDS)
    draws = _Draws(*true.returns[:, -1].shape)
    policies = {
        "learned": _last(learned),
        "true": _last(true),
        "true, same seconds": _first_after(true, learned.cpu_seconds[:, -1]),
        "tuned": _last(tuned),
    }
    all_of_true = policies["true"].returns
    drawn_of_true = draws.means(all_of_true, "true")
    results = {}
    for name, chosen in policies.items():
        kind = name.partition(",")[0]
        drawn = draws.means(chosen.returns, kind)
        results[name] = {
            "steps": chosen.steps,
            "wall_seconds": chosen.wall_seconds,
            "cpu_seconds": chosen.cpu_seconds,
            "return": _estimate(chosen.returns.mean(), drawn),
            "success": _estimate(chosen.successes.mean(), draws.means(chosen.successes, kind)),
            "share": _estimate(chosen.returns.mean() / all_of_true.mean(), drawn / drawn_of_true),
        }
    return {
        "curves": {kind: _means(curves[kind]) for kind in KINDS},
        "results": results,
        "reached": _reached(learned, true, tuned, draws),
    }


def _reached(learned: Curves, true: Curves, tuned: Curves, draws: _Draws) -> dict[str, Any]:
    """Counts true env steps until the mean over seeds reaches REACHED of the last return of `true`.

    They are 0 for `tuned` if the policies of `learned` reach it. If `tuned` does not, they are those of the whole
    training of `true`.

    Returns:
        `return`, that return; env steps of `true` and `tuned` until then; `saved`, the difference.
    """
    wanted = REACHED * true.returns[:, -1].mean()
    wanted_B = REACHED * draws.means(true.returns[:, -1], "true")
    continued = np.concatenate([learned.returns[:, -1:], tuned.returns], 1)
    count, drawn = {}, {}
    for kind, steps, returns in (
        ("true", true.steps, true.returns),
        ("tuned", np.append(0, tuned.steps), continued),
    ):
        means_KB = np.stack([draws.means(of_step, kind) for of_step in returns.swapaxes(0, 1)])
        drawn[kind] = _first_reaching(steps, means_KB, wanted_B, true.steps[-1])
        count[kind] = _first_reaching(steps, returns.mean((0, 2))[:, None], wanted, true.steps[-1])[0]
    return {
        "return": float(wanted),
        **{kind: _estimate(count[kind], drawn[kind]) for kind in count},
        "saved": _estimate(count["true"] - count["tuned"], drawn["true"] - drawn["tuned"]),
    }


def _first_reaching(steps: Int64Array, means_KB: Float64Array, wanted: Any, otherwise: Int64Array) -> Int64Array:
    """Returns the env steps of the first of K means that is at least `wanted`, [B], and `otherwise` without one."""
    enough = means_KB >= wanted
    return np.where(enough.any(0), steps[enough.argmax(0)], otherwise)


def _chosen(curves: Curves, numbers: Int64Array) -> _Policies:
    """Returns a policy of each seed by its number, [P]."""
    seeds = np.arange(len(numbers))
    return _Policies(
        curves.returns[seeds, numbers],
        curves.successes[seeds, numbers],
        float(curves.steps[numbers].mean()),
        float(curves.wall_seconds[seeds, numbers].mean()),
        float(curves.cpu_seconds[seeds, numbers].mean()),
    )


def _last(curves: Curves) -> _Policies:
    return _chosen(curves, np.full(len(curves.returns), -1))


def _first_after(curves: Curves, seconds: Float64Array) -> _Policies:
    """Returns each seed's first policy whose training took at least this CPU time, [P], or its last one."""
    enough = curves.cpu_seconds >= seconds[:, None]
    enough[:, -1] = True
    return _chosen(curves, enough.argmax(1))


def _estimate(value: Any, drawn: Float64Array | Int64Array) -> dict[str, float]:
    interval = percentile_interval(drawn.astype(np.float64))
    return asdict(Estimate(float(value), interval.low, interval.high))


def _means(curves: Curves) -> dict[str, Any]:
    return {
        "steps": curves.steps.tolist(),
        "wall_seconds": curves.wall_seconds.tolist(),
        "cpu_seconds": curves.cpu_seconds.tolist(),
        "returns": curves.returns.mean(2).round(4).tolist(),
        "successes": curves.successes.mean(2).round(4).tolist(),
    }
