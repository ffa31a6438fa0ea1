"""Plots the time of an env step against the truth of its pictures."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from hwm_env.data.files import write_bytes

COLOURS: Final = {
    "torch, float32": "#1f6fb4",
    "torch, bfloat16": "#d9781e",
    "torch, int8": "#009e73",
    "openvino, float32": "#8c4fa8",
    "openvino, bfloat16": "#b03a48",
}
SMALLEST_RANGE_DB: Final = 0.5
"""Range of the vertical axis, so that noise does not look like differences."""
MARKS: Final = "osD^vPX*"
"""A mark for each number of decoding steps, in rising order."""


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draws a mark for each setting with the interval of its loss against the best one, and the Pareto front.

    Args:
        report: what `dial.run` returns.
        path: PNG file.

    Raises:
        SavingError: the file cannot be written.
    """
    figure = Figure(figsize=(9, 5), layout="constrained", dpi=110)
    axes = figure.subplots()
    settings = {each["name"]: each for each in report["settings"]}
    points = {
        name: (each["ms"]["frames"] / 1e3, np.mean([*each["psnr_db"].values()])) for name, each in settings.items()
    }
    front = np.array([points[name] for name in report["pareto"]["frames"]])
    axes.step(*front.T, where="post", color="grey", linewidth=1, linestyle="--", label="Pareto front", zorder=1)
    marks = dict(zip(sorted({each["steps"] for each in settings.values()}), MARKS * len(settings), strict=False))
    default = settings[report["default"]]
    for name, each in settings.items():
        colour = COLOURS[f"{each['backend']}, {each['precision']}"]
        face = colour if each["history"] == default["history"] else "none"
        axes.plot(*points[name], marks[each["steps"]], color=colour, markerfacecolor=face, markersize=7)
        place_s, value_db = points[name]
        loss = each["loss_db"]
        ends_db = [value_db + loss["value"] - loss[end] for end in ("high", "low")]
        axes.plot([place_s, place_s], ends_db, color=colour, linewidth=0.8, alpha=0.6, zorder=0)
    axes.plot(*points[report["default"]], "o", color="black", markerfacecolor="none", markersize=15, label="default")
    # Entries of the legend, without data.
    for label, colour in COLOURS.items():
        if any(label == f"{each['backend']}, {each['precision']}" for each in settings.values()):
            axes.plot([], [], "s", color=colour, label=label)
    for steps, mark in marks.items():
        axes.plot([], [], mark, color="grey", label=f"{steps} decoding step{'s' if steps > 1 else ''}")
    others = {each["history"] for each in settings.values()} - {default["history"]}
    for history in others:
        axes.plot([], [], "o", color="grey", markerfacecolor="none", label=f"history: {history} (hollow)")
    ceiling = np.mean([*report["ceiling_db"].values()])
    axes.set(
        title=f"Closed loops against the truth (the tokenizer alone: {ceiling:.1f} dB)",
        xlabel="seconds for an env step of one world with all frames, one thread",
        ylabel=f"PSNR, mean of env steps {', '.join(report['ceiling_db'])} (dB)",
    )
    low, high = axes.get_ylim()
    missing = max(0.0, SMALLEST_RANGE_DB - (high - low)) / 2
    axes.set(xlim=(0, None), ylim=(low - missing, high + missing))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())
