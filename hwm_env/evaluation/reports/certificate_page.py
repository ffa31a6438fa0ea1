"""Writes a certificate as one self-contained HTML page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwm_env.evaluation.reports.pages import write_html
from hwm_env.evaluation.reports.plots import drift


def write_certificate(report: Mapping[str, Any], file: Path) -> None:
    """Writes the page of a certificate.

    Args:
        report: what `certify` returned, with its `stamp`.
        file: HTML to write, atomically.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    write_html("certificate", file, report=report, drift=drift(report["closed_loop"]))
