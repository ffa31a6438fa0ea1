"""Draws the reliability of predicted error probabilities, with Pillow (the extra "evaluation")."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import write_bytes
from hwm_env.errors import require_extra

_SCALE: Final = 2
"""Factor by which the picture is drawn larger and then reduced, for smooth edges."""
_SIZE: Final = (1040, 500)
_PLOTS: Final = ((80, 70, 480, 400), (600, 70, 1000, 400))
"""Left, top, right and bottom of the two plots, in pixels."""
_INK, _GREY, _LIGHT, _BLUE, _ORANGE = "#222222", "#8a8a8a", "#e4e4e4", "#1f6fb4", "#d9781e"
_FONT_SIZE: Final = 14


def draw_reliability(report: Mapping[str, Any], file: Path) -> None:
    """Draws the share of wrong clips against the predicted probability, and both against the env steps.

    Args:
        report: the report that `calibrate` returns.
        file: PNG to write, atomically.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    canvas = _Canvas()
    _draw_curve(canvas, report)
    _draw_steps(canvas, report)
    canvas.text((80, 24), _headline(report), size=16, anchor="lm")
    write_bytes(file, canvas.png())


def _headline(report: Mapping[str, Any]) -> str:
    return (
        f"Probability that a predicted clip is below {report['calibration']['bound_psnr_db']:g} dB: "
        f"{report['clips']:,} clips of {report['episodes']} held-out episodes"
    )


def _draw_curve(canvas: "_Canvas", report: Mapping[str, Any]) -> None:
    """Draws the share of wrong clips against the predicted probability, above bars with the number of clips."""
    axes = _Axes(canvas, _PLOTS[0], (0.0, 1.0))
    most = max(part["count"] for part in report["reliability"])
    for part in report["reliability"]:
        # The tallest bar takes a quarter of the height, out of the way of the curve.
        axes.bar(part["low"], part["high"], 0.25 * part["count"] / most)
    axes.frame(
        "predicted error probability (bars: number of clips)", "share of wrong clips", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    axes.line([(0.0, 0.0), (1.0, 1.0)], _GREY, 1)
    known = [part for part in report["reliability"] if part["count"]]
    axes.line([(part["mean_probability"], part["share_wrong"]) for part in known], _BLUE, 2, dots=True)
    for part in known:
        axes.text(((part["low"] + part["high"]) / 2, 0.25 * part["count"] / most), str(part["count"]), (0, -9))
    auroc, error = report["auroc"]["value"], report["expected_calibration_error"]
    axes.text((0.03, 0.94), f"AUROC {auroc:.2f}, Brier {report['brier']['value']:.3f}", anchor="lm")
    axes.text((0.03, 0.87), f"calibration error {error:.3f}", anchor="lm")


def _draw_steps(canvas: "_Canvas", report: Mapping[str, Any]) -> None:
    """Draws the share of wrong clips and the mean probability against the env steps."""
    shares, probabilities = report["share_wrong_by_step"], report["mean_probability_by_step"]
    axes = _Axes(canvas, _PLOTS[1], (0.5, len(shares) + 0.5))
    last = len(shares)
    axes.frame("env steps since the last recorded clip", "", sorted({1, *range(5, last + 1, 5), last}))
    axes.line(list(enumerate(shares, start=1)), _ORANGE, 2, dots=True)
    axes.line(list(enumerate(probabilities, start=1)), _BLUE, 2)
    axes.key(0.94, _ORANGE, "share of wrong clips")
    axes.key(0.87, _BLUE, "mean predicted probability")


class _Axes:
    """A plot whose vertical axis is a share from 0 to 1."""

    def __init__(self, canvas: "_Canvas", box: tuple[int, int, int, int], limits: tuple[float, float]) -> None:
        self._canvas = canvas
        self._left, self._top, self._right, self._bottom = box
        self._low, self._high = limits

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """Returns the pixel of a point."""
        along = (point[0] - self._low) / (self._high - self._low)
        return (
            self._left + along * (self._right - self._left),
            self._bottom - point[1] * (self._bottom - self._top),
        )

    def frame(self, across: str, up: str, ticks: Sequence[float]) -> None:
        for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            y = self.at((self._low, share))[1]
            self._canvas.line([(self._left, y), (self._right, y)], _LIGHT, 1)
            self._canvas.text((self._left - 8, y), f"{share:.0%}", anchor="rm")
        for tick in ticks:
            x = self.at((tick, 0.0))[0]
            self._canvas.line([(x, self._bottom), (x, self._bottom + 5)], _INK, 1)
            self._canvas.text((x, self._bottom + 18), f"{tick:.0%}" if self._high == 1 else f"{tick:g}")
        self._canvas.line([(self._left, self._top), (self._left, self._bottom), (self._right, self._bottom)], _INK, 1)
        self._canvas.text(((self._left + self._right) / 2, self._bottom + 46), across)
        self._canvas.text((self._left, self._top - 16), up, anchor="lm")

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: int, *, dots: bool = False) -> None:
        pixels = [self.at(point) for point in points]
        self._canvas.line(pixels, colour, width)
        for pixel in pixels if dots else ():
            self._canvas.dot(pixel, colour)

    def bar(self, low: float, high: float, height: float) -> None:
        (left, top), (right, bottom) = self.at((low, height)), self.at((high, 0.0))
        self._canvas.box((left + 2, top, right - 2, bottom), "#d8e5f0")

    def text(
        self, point: tuple[float, float], text: str, offset: tuple[float, float] = (0.0, 0.0), anchor: str = "mm"
    ) -> None:
        x, y = self.at(point)
        self._canvas.text((x + offset[0], y + offset[1]), text, anchor=anchor)

    def key(self, share: float, colour: str, text: str) -> None:
        """Draws a line of the legend."""
        y = self.at((self._low, share))[1]
        self._canvas.line([(self._left + 12, y), (self._left + 36, y)], colour, 2)
        self._canvas.text((self._left + 44, y), text, anchor="lm")


class _Canvas:
    """A white picture; coordinates are pixels of the finished file."""

    def __init__(self) -> None:
        width, height = _SIZE
        self._image = require_extra("PIL.Image", "evaluation").new("RGB", (width * _SCALE, height * _SCALE), "white")
        self._drawing = require_extra("PIL.ImageDraw", "evaluation").Draw(self._image)
        self._fonts = require_extra("PIL.ImageFont", "evaluation")

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._drawing.line(scaled, fill=colour, width=width * _SCALE, joint="curve")

    def dot(self, point: tuple[float, float], colour: str) -> None:
        x, y, radius = point[0] * _SCALE, point[1] * _SCALE, 4 * _SCALE
        self._drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def box(self, corners: tuple[float, float, float, float], colour: str) -> None:
        self._drawing.rectangle([part * _SCALE for part in corners], fill=colour)

    def text(self, point: tuple[float, float], text: str, *, size: int = _FONT_SIZE, anchor: str = "mm") -> None:
        font = self._fonts.load_default(size=size * _SCALE)
        at = (point[0] * _SCALE, point[1] * _SCALE)
        # A white edge keeps numbers legible where a curve passes.
        self._drawing.text(at, text, font=font, fill=_INK, anchor=anchor, stroke_width=2 * _SCALE, stroke_fill="white")

    def png(self) -> memoryview:
        content = io.BytesIO()
        filters = require_extra("PIL.Image", "evaluation").Resampling
        self._image.resize(_SIZE, filters.LANCZOS).save(content, "PNG")
        return content.getbuffer()
