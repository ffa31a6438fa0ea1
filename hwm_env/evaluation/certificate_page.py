"""A certificate as one page, for a reader who was not there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwm_env.evaluation.pages import write_html
from hwm_env.evaluation.plots import curves


def write_certificate(report: Mapping[str, Any], file: Path) -> None:
    """Writes the page.

    Args:
        report: what `certify` measured, with its `stamp`.
        file: HTML to write, atomically.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    loop = report["closed_loop"]
    lines = {
        "this world": loop["psnr"],
        "repeat the last frame": loop["psnr_repeat_last_frame"],
        "tokenizer alone": loop["psnr_tokenizer_ceiling"],
    }
    write_html("certificate", file, report=report, drift=curves(lines, "PSNR, dB"))
