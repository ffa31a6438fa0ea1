"""Writes the report of an evaluation of policies as one self-contained HTML page."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.errors import require_extra
from hwm_env.evaluation.policies.player import WORLDS, Player, Unit, WorldName
from hwm_env.evaluation.policies.summary import Finished, Pair, extremes, pair_up
from hwm_env.evaluation.policies.trials import make_engine, play_steps
from hwm_env.evaluation.reports.pages import write_html
from hwm_env.evaluation.reports.plots import curves, drift, scatter
from hwm_env.types import UInt8Array

MOST_COLUMNS: Final = 16
"""Largest number of pictures in a film strip; longer episodes show evenly spread ones."""


def write_page(report: Mapping[str, Any], finished: Finished, player: Player, *, file: Path) -> None:
    """Writes the page of an evaluation.

    Args:
        report: what `evaluate` returns.
        finished: the trials that the report summarises.
        player: plays the episodes of the film strips again.
        file: HTML to write, atomically.

    Raises:
        MissingExtraError: matplotlib, Jinja2 or Pillow is not installed.
    """
    tasks, max_steps = report["tasks"].items(), report["stamp"]["max_steps"]
    write_html(
        "policies",
        file,
        report=report,
        plots={task: _plots(content) for task, content in tasks},
        drift=drift(report["replay"]) if "replay" in report else "",
        strips={task: _strips(task, content, finished, player, max_steps) for task, content in tasks},
    )


def _plots(content: Mapping[str, Any]) -> list[dict[str, str]]:
    if "horizon" not in content:
        return []
    points = {
        policy["name"]: (policy["true"]["success"], policy["learned"]["success"]) for policy in content["policies"]
    }
    plots = [{"svg": scatter(points), "caption": "Each dot is a policy; lines are 95 % intervals."}]
    for quantity, label, caption in (
        ("distance_m", "distance (m)", "Distance between the robots of the two worlds; median of the running pairs."),
        ("heading_deg", "heading (deg)", "Difference of their headings; median of the running pairs."),
    ):
        lines = {
            f"true {kind}": values[quantity] for kind, values in content["horizon"].items() if len(values[quantity])
        }
        if lines:
            plots.append({"svg": curves(lines, label), "caption": caption})
    return plots


def _strips(
    task: str, content: Mapping[str, Any], finished: Finished, player: Player, max_steps: int
) -> list[dict[str, str]]:
    """Plays the most and the least faithful pair of episodes again, and draws them."""
    if "horizon" not in content:
        return []
    names = [policy["name"] for policy in content["policies"]]
    trials = {(name, world): finished[Unit(task, name, world)] for name in names for world in WORLDS}
    found = extremes(pair_up(names, trials))
    titles = ("Most faithful moving episode", "Least faithful moving episode")
    return [
        {"title": f"{title}: {pair.policy}, start {pair.true.case.start}", "png": _strip(task, pair, player, max_steps)}
        for title, pair in zip(titles, found or (), strict=False)
    ]


def _strip(task: str, pair: Pair, player: Player, max_steps: int) -> str:
    """Draws both episodes of a pair, one above the other; returns a PNG in Base64."""
    image = require_extra("PIL.Image", "evaluation")
    films = [_film(task, pair, world, player, max_steps) for world in WORLDS]
    columns = max(len(film) for film in films)
    strips = [np.concatenate([*film, *[np.full_like(film[0], 255)] * (columns - len(film))], axis=1) for film in films]
    file = io.BytesIO()
    image.fromarray(np.concatenate(strips)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _film(task: str, pair: Pair, world: WorldName, player: Player, max_steps: int) -> Sequence[UInt8Array]:
    """Returns the last frame before an episode and that of each env step, at most MOST_COLUMNS of them."""
    opened, policy = player.pictured(world), player.policy(Unit(task, pair.policy, world))
    (first,) = opened.begin([opened.start(pair.true.case.start)], [0])
    frames = [first.last_frame]
    for _, step in play_steps(make_engine(opened, policy, task, max_steps), policy, [pair.true.case]):
        frames.append(step.episode.moment.last_frame)
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_COLUMNS).round().astype(int))
    return [frames[index] for index in chosen]
