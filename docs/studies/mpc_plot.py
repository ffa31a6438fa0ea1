"""Plots success against the planner's budget, and how far imagined poses are from true ones."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from hwm_env.data.files import write_bytes

STYLES: Final = {
    "oracle": ("#1f6fb4", "in the reference world (oracle)"),
    "poses": ("#d9781e", "by its carried pose"),
    "pictures": ("#009e73", "by what its pictures show"),
}


def plot(tasks: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Plots a row for each task.

    Args:
        tasks: what `mpc.run` returns.
        path: PNG file.

    Raises:
        SavingError: the file cannot be written.
    """
    figure = Figure(figsize=(9, 2.6 * len(tasks)), layout="constrained", dpi=110)
    axes = figure.subplots(len(tasks), 2, squeeze=False)
    for (budgets, gaps), (task, rows) in zip(axes, tasks.items(), strict=True):
        for place, (planner, (colour, label)) in enumerate(STYLES.items()):
            # Side by side, as equal results would hide each other.
            own = [{**row, "clips": row["clips"] * 1.06**place} for row in rows if row["planner"] == planner]
            if not own:
                continue
            clips, success = [row["clips"] for row in own], [row["success"] for row in own]
            values = [each["value"] for each in success]
            reach = [
                [each["value"] - each["low"] for each in success],
                [each["high"] - each["value"] for each in success],
            ]
            budgets.errorbar(clips, values, reach, fmt="o-", color=colour, label=label, capsize=3)
            for outcome, marker in (("succeeded", "o"), ("failed", "x")):
                known = [(row["clips"], row["gaps"][outcome]["gap_m"][1]) for row in own if row["gaps"][outcome]]
                if known:
                    gaps.plot(*zip(*known, strict=True), marker, color=colour, label=f"{planner}, {outcome}")
        budgets.set(title=f"{task}: success", xlabel="clips a plan", xscale="log", ylim=(-0.03, 1.03))
        gaps.set(title="imagined from true place, 90th percentile (m)", xlabel="clips a plan", xscale="log")
        gaps.set_ylim(bottom=-0.05 * gaps.get_ylim()[1])
        for each in (budgets, gaps):
            each.spines[["top", "right"]].set_visible(False)
            each.legend(frameon=False, fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())
