"""Counts of what a service does, as Prometheus text."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

ROWS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Upper bounds of the histogram of rows a batch."""
SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of seconds a request."""


class Histogram:
    """Counts values below upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self.count = 0
        """Number of values."""
        self.total = 0.0
        """Their sum."""

    def add(self, value: float) -> None:
        """Counts a value."""
        self.count += 1
        self.total += value
        for index, bound in enumerate(self._bounds):
            self._counts[index] += value <= bound

    def lines(self, name: str) -> list[str]:
        """Returns the samples."""
        counts = [*zip(map(str, self._bounds), self._counts, strict=True), ("+Inf", self.count)]
        buckets = [f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in counts]
        return [*buckets, f"{name}_sum {self.total!r}", f"{name}_count {self.count}"]


class Metrics:
    """Counters and histograms of one service. Batches are counted by another thread than requests."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By method, path and status."""
        self.request_s = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.batch_s = Histogram(SECONDS)

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts a request; `path` is that of its route, so that there are few."""
        self.requests[method, path, status] += 1
        self.request_s.add(seconds)

    def count_batch(self, rows: int, seconds: float) -> None:
        """Counts a batch."""
        self.batch_rows.add(rows)
        self.batch_s.add(seconds)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Returns everything in Prometheus' text format.

        Args:
            gauges: present values by name, each after its help.
        """
        lines = _head("hwm_requests_total", "Requests by method, path and status.", "counter")
        for (method, path, status), count in sorted(self.requests.items()):
            lines.append(f'hwm_requests_total{{method="{method}",path="{path}",status="{status}"}} {count}')
        for name, meaning, histogram in (
            ("hwm_request_seconds", "Seconds from a request to its answer.", self.request_s),
            ("hwm_batch_rows", "Rows that were advanced together.", self.batch_rows),
            ("hwm_batch_seconds", "Seconds of a batch, without frames.", self.batch_s),
        ):
            lines += [*_head(name, meaning, "histogram"), *histogram.lines(name)]
        for name, (meaning, value) in gauges.items():
            lines += [*_head(name, meaning, "gauge"), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, meaning: str, kind: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
