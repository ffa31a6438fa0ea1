"""Chooses settings of the dial from what was measured: the Pareto front, and a setting for each use."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from hwm_env.evaluation.bootstrap import Estimate, mean_estimate
from hwm_env.types import Float64Array


class Use(NamedTuple):
    """What somebody needs of a learned world."""

    time: str
    """The time that counts, of those that `time_settings` returns."""
    tolerance_db: float
    """How much PSNR it may lose against the best setting, beyond noise."""


USES: Final = {
    "RL": Use("pixels", 0.3),
    "planning": Use("tokens", 0.3),
    "evaluation": Use("pixels", 0.0),
    "looking": Use("frames", 0.1),
}
"""For policies and planners that use pictures; those that use poses alone predict none, and have no dial."""


def pareto_front(times_ms: Mapping[str, float], fidelity_db: Mapping[str, float]) -> list[str]:
    """Returns the settings that no other one beats in time without being less true, from the fastest on.

    Args:
        times_ms: time by setting.
        fidelity_db: PSNR by setting.
    """
    front: list[str] = []
    for name in sorted(times_ms, key=lambda name: (times_ms[name], -fidelity_db[name])):
        if not front or fidelity_db[name] > fidelity_db[front[-1]]:
            front.append(name)
    return front


def losses_db(scores: Mapping[str, Float64Array]) -> dict[str, Estimate]:
    """Returns the PSNR that each setting loses against the best one, in dB, with an interval over paired episodes.

    Args:
        scores: by setting, PSNR of each episode's loop after K env steps, [E, K].
    """
    by_episode = {name: of_setting.mean(axis=1) for name, of_setting in scores.items()}
    best = max(by_episode.values(), key=lambda values: values.mean())
    return {name: mean_estimate(best - values) for name, values in by_episode.items()}


def recommend(
    times_ms: Mapping[str, Mapping[str, float]], losses: Mapping[str, Estimate], default: str
) -> dict[str, dict[str, Any]]:
    """Chooses the fastest setting for each use among those that lose little.

    These are the settings that cannot be told from the best one, whose intervals begin at 0 or below, since the best
    one may be so by chance; and those that lose at most `tolerance_db`, even at the upper end of their intervals.

    Args:
        times_ms: by setting, what `time_settings` returns.
        losses: by setting, what `losses_db` returns.
        default: name of the default setting.

    Returns:
        By use: `setting`; `time`, which time counts; `tolerance_db`; `ms`, that time, and `times_as_fast` as the
        default; `loss_db`.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for use, (kind, tolerance_db) in USES.items():
        # The best setting loses nothing, so there is always one.
        allowed = [name for name, loss in losses.items() if loss.low <= 0 or loss.high <= tolerance_db]
        setting = min(allowed, key=lambda name: times_ms[name][kind])
        chosen[use] = {
            "setting": setting,
            "time": kind,
            "tolerance_db": tolerance_db,
            "ms": times_ms[setting][kind],
            "times_as_fast": times_ms[default][kind] / times_ms[setting][kind],
            "loss_db": asdict(losses[setting]),
        }
    return chosen
