"""Plots learning curves in the learned and in the reference world, and the returns after training."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwm_env.data.files import write_bytes

LABELS: Final = {
    "learned": "learned world",
    "true": "reference world",
    "true, same seconds": "reference world,\nsame CPU time",
    "tuned": "learned,\nthen reference world",
}
COLOURS: Final = {"learned": "#d9781e", "true": "#1f6fb4", "true, same seconds": "#7fb2dc", "tuned": "#3a8f4d"}


def plot(tasks: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plots a row for each task; all returns are those in the reference world.

    The columns: returns after env steps in either world; returns after env steps in the reference world, with and
    without training in the learned world before; returns after training.

    Args:
        tasks: what `rl.run` returns.
        path: PNG file.

    Raises:
        SavingError: the file cannot be written.
    """
    figure = Figure(figsize=(11, 3 * len(tasks)), layout="constrained", dpi=110)
    axes = figure.subplots(len(tasks), 3, squeeze=False, sharey="row", width_ratios=(3, 3, 2))
    for (one_world, both_worlds, results), (task, result) in zip(axes, tasks.items(), strict=True):
        curves = result["curves"]
        for kind in ("learned", "true"):
            _draw(one_world, kind, curves[kind])
        one_world.set(title=f"{task}: trained in one world", xlabel="env steps in that world")
        one_world.set(ylabel="return in the reference world")
        _draw(both_worlds, "true", curves["true"])
        _draw(both_worlds, "tuned", _continued(curves["learned"], curves["tuned"]))
        both_worlds.axhline(result["reached"]["return"], color="grey", linestyle=":", label="95 % of its last return")
        both_worlds.set(title="after training in the learned world", xlabel="env steps in the reference world")
        _draw_results(results, result["results"])
        results.set_ylim(bottom=0)
        for each in (one_world, both_worlds, results):
            each.spines[["top", "right"]].set_visible(False)
    for each in axes[0][:2]:
        each.legend(frameon=False, loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


def _draw(axes: Axes, kind: str, curves: Mapping[str, Any]) -> None:
    """Draws a thin line for each seed and a thick one for their mean."""
    for returns in curves["returns"]:
        axes.plot(curves["steps"], returns, color=COLOURS[kind], linewidth=0.6, alpha=0.6)
    # Dashed, because curves of both worlds may coincide.
    style = "--" if kind == "true" else "-"
    label = LABELS[kind].replace("\n", " ")
    axes.plot(curves["steps"], np.mean(curves["returns"], 0), style, color=COLOURS[kind], label=label)


def _continued(learned: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the curves of fine-tuning, from the policies at which it began."""
    returns = [[before[-1], *after] for before, after in zip(learned["returns"], tuned["returns"], strict=True)]
    return {"steps": [0, *tuned["steps"]], "returns": returns}


def _draw_results(axes: Axes, results: Mapping[str, Any]) -> None:
    for place, (kind, result) in enumerate(results.items()):
        value, low, high = (result["return"][name] for name in ("value", "low", "high"))
        axes.errorbar(place, value, [[value - low], [high - value]], fmt="o", color=COLOURS[kind], capsize=3)
    axes.set(title="afterwards", xlim=(-0.5, len(results) - 0.5))
    axes.set_xticks(range(len(results)), [LABELS[kind] for kind in results], fontsize=7, rotation=30, ha="right")
