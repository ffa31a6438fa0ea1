"""Plots learning curves in the learned and in the reference world, and the returns after training."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from hwm_env.data.files import write_bytes

COLOURS: Final = {"learned": "#d9781e", "true": "#1f6fb4"}
LABELS: Final = {"learned": "trained in the learned world", "true": "trained in the reference world"}


def plot(tasks: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plots a row for each task: returns during training, and returns in the reference world afterwards.

    Args:
        tasks: what `rl.run` returns.
        path: PNG file.

    Raises:
        SavingError: the file cannot be written.
    """
    figure = Figure(figsize=(9, 3 * len(tasks)), layout="constrained", dpi=110)
    axes = figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(2, 1))
    for (curves, results), (task, result) in zip(axes, tasks.items(), strict=True):
        for policy in result["policies"]:
            curve = policy["curve"]
            curves.plot(curve["steps"], curve["returns"], color=COLOURS[policy["trained_in"]], linewidth=1.5)
        curves.set(title=f"{task}: return in training", xlabel="env steps", ylabel="return")
        for place, world in enumerate(COLOURS):
            own = [policy["return"] for policy in result["policies"] if policy["trained_in"] == world]
            spots = place + 0.15 * (np.arange(len(own)) - (len(own) - 1) / 2)
            values = np.array([each["value"] for each in own])
            reach = np.array([[each["value"] - each["low"], each["high"] - each["value"]] for each in own]).T
            results.errorbar(spots, values, reach, fmt="o", color=COLOURS[world], label=LABELS[world], capsize=3)
        results.set(title="afterwards, in the reference world", xticks=[], xlim=(-0.6, 1.6), ylabel="return")
        results.set_ylim(bottom=0)
        results.legend(frameon=False, loc="lower center")
        for each in (curves, results):
            each.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())
