"""Writes the results of an evaluation as CSV: a line for each policy, and a line for each two policies."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import write_bytes
from hwm_env.evaluation.policies.pairs import compare_pairs
from hwm_env.evaluation.policies.player import WORLDS, Player, Unit
from hwm_env.evaluation.policies.summary import Finished, table_of

PAIR_COLUMNS: Final = (
    "task",
    "first",
    "second",
    *(f"{world}_difference{end}" for world in WORLDS for end in ("", "_low", "_high")),
)


def write_policies(report: Mapping[str, Any], finished: Finished, player: Player, *, file: Path) -> None:
    """Writes a line for each policy of each task.

    The columns are task, policy, family, starts, and for success (0..1) and return in each world the value and the ends
    of its 95 % interval, as in `true_success`, `true_success_low`, `true_success_high`; they are empty for a world that
    was not played.

    Args:
        report: what `evaluate` returns.
        finished: not needed.
        player: not needed.
        file: CSV file to write, atomically.

    Raises:
        SavingError: it cannot be written.
    """
    lines = [line for task, content in report["tasks"].items() for line in _policies(task, content)]
    _write(file, list(lines[0]), lines)


def write_pairs(report: Mapping[str, Any], finished: Finished, player: Player, *, file: Path) -> None:
    """Writes a line for each two policies of each task; none unless both worlds were played.

    The columns are PAIR_COLUMNS: the difference of the two policies' success rates, first minus second, with the ends
    of its 95 % interval.

    Args:
        report: what `evaluate` returns.
        finished: the trials that the report summarises.
        player: not needed.
        file: CSV file to write, atomically.

    Raises:
        SavingError: it cannot be written.
    """
    lines = [line for task, content in report["tasks"].items() for line in _pairs(task, content, finished)]
    _write(file, PAIR_COLUMNS, lines)


def _policies(task: str, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for policy in content["policies"]:
        played = [policy[world] for world in WORLDS if world in policy]
        line = {"task": task, "policy": policy["name"], "family": policy["family"], "starts": played[0]["episodes"]}
        for world in WORLDS:
            for kind in ("success", "return"):
                line |= _columns(f"{world}_{kind}", policy.get(world, {}).get(kind, {}))
        yield line


def _pairs(task: str, content: Mapping[str, Any], finished: Finished) -> Iterator[dict[str, Any]]:
    names = [policy["name"] for policy in content["policies"]]
    units = [[Unit(task, name, world) for name in names] for world in WORLDS]
    if not all(unit in finished for of_world in units for unit in of_world):
        return
    tables = [table_of([finished[unit] for unit in of_world], "success") for of_world in units]
    for pair in compare_pairs(tables[0], tables[1], names):
        line = {"task": task, "first": pair.first, "second": pair.second}
        for world in WORLDS:
            line |= _columns(f"{world}_difference", asdict(getattr(pair, world)))
        yield line


def _columns(name: str, estimate: Mapping[str, float]) -> dict[str, Any]:
    return {
        name: estimate.get("value", ""),
        f"{name}_low": estimate.get("low", ""),
        f"{name}_high": estimate.get("high", ""),
    }


def _write(file: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_bytes(file, text.getvalue().encode())
