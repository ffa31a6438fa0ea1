"""The report of an evaluation of policies as one page that needs nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.errors import require_extra
from hwm_env.evaluation.policies.player import WORLDS, Player, Unit, WorldName
from hwm_env.evaluation.policies.summary import Finished, Pair, extremes, pair_up
from hwm_env.evaluation.policies.trials import live, make_engine
from hwm_env.evaluation.reports.pages import write_html
from hwm_env.evaluation.reports.plots import curves, drift, scatter
from hwm_env.types import UInt8Array

MOST_COLUMNS: Final = 16
"""Pictures in a row of a film strip; of longer episodes, evenly spread ones."""


def write_page(report: Mapping[str, Any], finished: Finished, player: Player, max_steps: int, file: Path) -> None:
    """Writes the page.

    Args:
        report: as `evaluate` returns it, with its `command`.
        finished: the trials that it sums up.
        player: plays the episodes of the film strips again.
        max_steps: of the evaluation.
        file: HTML to write, atomically.

    Raises:
        MissingExtraError: matplotlib, Jinja2 or Pillow is not installed.
    """
    tasks = report["tasks"].items()
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
    plots = [{"svg": scatter(points), "caption": "Each dot is a policy."}]
    for quantity, label, caption in (
        ("distance_m", "metres", "How far the two worlds' robots are apart, median, until an episode's end in either."),
        ("heading_deg", "degrees", "The same for their headings."),
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
    """The most and the least faithful pair of episodes, played again."""
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
    """Both episodes, one above the other, as Base64 of a PNG."""
    image = require_extra("PIL.Image", "evaluation")
    films = [_film(task, pair, world, player, max_steps) for world in WORLDS]
    columns = max(len(film) for film in films)
    rows = [np.concatenate([*film, *[np.full_like(film[0], 255)] * (columns - len(film))], axis=1) for film in films]
    file = io.BytesIO()
    image.fromarray(np.concatenate(rows)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _film(task: str, pair: Pair, world: WorldName, player: Player, max_steps: int) -> Sequence[UInt8Array]:
    """The last frame before an episode and that of each env step, at most MOST_COLUMNS of them."""
    opened, policy = player.world(world), player.policy(Unit(task, pair.policy, world))
    frames = [opened.begin(opened.start(pair.true.case.start), 0).last_frame]
    for _, step in live(make_engine(opened, policy, task, max_steps), policy, [pair.true.case]):
        frames.append(step.episode.moment.last_frame)
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_COLUMNS).round().astype(int))
    return [frames[index] for index in chosen]
