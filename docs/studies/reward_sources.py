"""Compares sources of rewards: success of the same policies from the same starts, judged by each source."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import write_bytes
from hwm_env.evaluation.intervals import success_estimate
from hwm_env.evaluation.policies.agreement import agreement
from hwm_env.evaluation.policies.player import Unit, WorldName
from hwm_env.evaluation.policies.summary import Finished, table_of, without_nan
from hwm_env.evaluation.policies.trials import Trial

MEASURES: Final = ("pearson", "mmrv", "bias")


def side_by_side(task: str, families: Mapping[str, str], finished: Mapping[str, Finished]) -> dict[str, Any]:
    """Compares the sources of one task's rewards.

    Args:
        task: name of the task.
        families: the family of each policy by its name.
        finished: by source, the trials in both worlds, each from the first of the same starts.

    Returns:
        Ready for JSON. `starts`: number of starts that all sources share, which alone are counted here. `policies`: for
        each its `name` and, by source and for `true` (the reference world), the success rate with Wilson's interval.
        `measures`: by source, agreement of the success rates with the true ones, as `agreement` computes it.
    """

    def of_policies(of_source: Finished, world: WorldName) -> list[Sequence[Trial]]:
        return [of_source[Unit(task, name, world)] for name in families]

    by_source = {source: of_policies(of_source, "learned") for source, of_source in finished.items()}
    starts = min(len(trials) for of_source in by_source.values() for trials in of_source)
    by_source = {"true": of_policies(next(iter(finished.values())), "true"), **by_source}
    success = {source: table_of([trials[:starts] for trials in each], "success") for source, each in by_source.items()}
    true = success["true"]
    measures = {}
    for source, learned in success.items():
        if source != "true" and len(families) > 1:
            found = agreement(true, learned, list(families.values()))
            measures[source] = {name: asdict(found[name]) for name in MEASURES}
    return {
        "starts": starts,
        "policies": [
            {"name": name}
            | {source: asdict(success_estimate(int(table[row].sum()), starts)) for source, table in success.items()}
            for row, name in enumerate(families)
        ],
        "measures": without_nan(measures),
    }


def write_side_by_side(compared: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Writes a line for each policy of each task: task, policy, starts, and its success rate by source.

    Args:
        compared: by task, what `side_by_side` returns.
        file: CSV file to write, atomically; cells of sources that a task does not have are empty.

    Raises:
        SavingError: it cannot be written.
    """
    lines = [
        {"task": task, "policy": policy["name"], "starts": of_task["starts"]}
        | {source: estimate["value"] for source, estimate in policy.items() if source != "name"}
        for task, of_task in compared.items()
        for policy in of_task["policies"]
    ]
    text = io.StringIO()
    columns = list(dict.fromkeys(column for line in lines for column in line))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_bytes(file, text.getvalue().encode())
