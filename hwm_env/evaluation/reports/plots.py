"""Plots for reports, as SVG text or PNG files (matplotlib, the extra "evaluation")."""

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
    """Learned against true results, with intervals and the line on which they would agree.

    Args:
        points: by policy, the true and the learned estimate (value, low, high), shares in 0..1.

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
    """One line for each name over the env steps, from 1.

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
    """How true a closed loop stays, beside its baselines.

    Args:
        closed_loop: the fields of ClosedLoop.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = {"this world": "psnr", "repeat the last frame": "psnr_repeat_last_frame"}
    names["tokenizer alone"] = "psnr_tokenizer_ceiling"
    return curves({name: closed_loop[key] for name, key in names.items()}, "PSNR, dB")


def write_loops(closed_loop: Mapping[str, Any], long_loop: Mapping[str, Any] | None, file: Path) -> None:
    """Draws how true closed loops stay beside their baselines, and long ones, if there are any, as a PNG file.

    Args:
        closed_loop: the fields of ClosedLoop.
        long_loop: the fields of LongLoop.
        file: written atomically.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = {"psnr": "this world", "psnr_worst": "its worst loop", "psnr_repeat_last_frame": "repeat the last frame"}
    names["psnr_tokenizer_ceiling"] = "tokenizer alone"
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
            panel.set_ylabel("PSNR, dB")
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
    """The figure without what would change from run to run, to stand inside a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"(?s)^.*?(<svg )", r"\1", file.getvalue())
