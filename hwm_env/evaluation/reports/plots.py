"""Draws plots for reports, as SVG text or PNG files, with matplotlib (the extra "evaluation")."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import write_bytes
from hwm_env.errors import require_extra

_TRUE, _LEARNED, _INK = "#1f6fb4", "#d9781e", "#222222"
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hwm_env",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
}


def scatter(points: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]) -> str:
    """Plots success rates in the learned world against those in the true one, with intervals and the diagonal.

    Args:
        points: by policy, the true and the learned estimate (value, low, high) of the success rate, 0..1.

    Returns:
        SVG text.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _figure(4.2, 4.0) as (figure, axes):
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for true, learned in points.values():
            axes.plot([true["value"]] * 2, [learned["low"], learned["high"]], color=_LEARNED, alpha=0.35, linewidth=1)
            axes.plot([true["low"], true["high"]], [learned["value"]] * 2, color=_TRUE, alpha=0.35, linewidth=1)
            axes.plot(true["value"], learned["value"], "o", color=_INK, markersize=4)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xlabel("success rate in the true world")
        axes.set_ylabel("success rate in the learned world")
        return _svg(figure)


def curves(lines: Mapping[str, Sequence[float]], ylabel: str) -> str:
    """Plots one line for each name over the env steps, from step 1.

    Args:
        lines: by name, a value for each env step.
        ylabel: label of the vertical axis.

    Returns:
        SVG text.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _figure(4.2, 2.8) as (figure, axes):
        for (name, values), colour in zip(lines.items(), (_TRUE, _LEARNED, _INK, "#8a8a8a"), strict=False):
            axes.plot(range(1, len(values) + 1), values, color=colour, label=name, linewidth=2)
        axes.set_xlabel("env step")
        axes.set_ylabel(ylabel)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        return _svg(figure)


def drift(closed_loop: Mapping[str, Any]) -> str:
    """Plots the PSNR of a closed loop and its baselines over the env steps.

    Args:
        closed_loop: the fields of ClosedLoop.

    Returns:
        SVG text.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = {"this world": "psnr", "repeat the last frame": "psnr_repeat_last_frame"}
    names["tokenizer alone (ceiling)"] = "psnr_tokenizer_ceiling"
    return curves({name: closed_loop[key] for name, key in names.items()}, "PSNR (dB)")


def write_loops(closed_loop: Mapping[str, Any], long_loop: Mapping[str, Any] | None, file: Path) -> None:
    """Plots the PSNR of closed loops and their baselines over the env steps, with a second panel for long loops.

    Args:
        closed_loop: the fields of ClosedLoop.
        long_loop: the fields of LongLoop; `None`: no second panel.
        file: PNG to write, atomically.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = {"psnr": "this world", "psnr_worst": "its worst loop", "psnr_repeat_last_frame": "repeat the last frame"}
    names["psnr_tokenizer_ceiling"] = "tokenizer alone (ceiling)"
    colours = dict(zip(names, (_TRUE, "#8ab4d8", _LEARNED, "#8a8a8a"), strict=True))
    steps = list(range(1, len(closed_loop["psnr"]) + 1))
    panels = [{key: (steps, closed_loop[key]) for key in names if key in closed_loop}]
    if long_loop is not None:
        panels.append({key: ([int(step) for step in long_loop[key]], list(long_loop[key].values())) for key in names})
    with _figure(4.6 * len(panels), 3.2, len(panels)) as (figure, axes):
        for index, (panel, lines) in enumerate(zip(axes if len(panels) > 1 else [axes], panels, strict=True)):
            for key, (at, values) in lines.items():
                panel.plot(at, values, color=colours[key], label=names[key], linewidth=2, marker="o" if index else None)
            panel.set_xlabel("env step")
            panel.set_ylabel("PSNR (dB)")
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
    write_bytes(file, content.getbuffer())


@contextmanager
def _figure(width: float, height: float, panels: int = 1) -> Any:
    matplotlib = require_extra("matplotlib", "evaluation")
    figures = require_extra("matplotlib.figure", "evaluation")
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(1, panels, sharey=True)


def _svg(figure: Any) -> str:
    """Returns the figure as an SVG element without metadata that changes from run to run."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"(?s)^.*?(<svg )", r"\1", file.getvalue())
