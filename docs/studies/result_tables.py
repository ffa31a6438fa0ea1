"""Tables of results by name, and the JSON files in docs/results from which they are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from docs.studies import policy_tables, world_tables
from docs.studies.cells import Rows


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is made."""

    sources: Sequence[str]
    """Names of the JSON files in docs/results, without their ending."""
    rows: Callable[..., Rows]
    """Returns the table's rows, its head first, from the files' contents."""


TABLES: Final = {
    "next-clip": Table(["fidelity"], world_tables.next_clip),
    "closed-loop": Table(["fidelity"], world_tables.closed_loop),
    "long-loop": Table(["fidelity"], world_tables.long_loop),
    "pose": Table(["fidelity"], world_tables.pose),
    "knowledge": Table(["fidelity"], world_tables.knowledge),
    "commands": Table(["fidelity"], world_tables.commands),
    "sabotage": Table(["fidelity"], world_tables.sabotage),
    "readout": Table(["fidelity"], world_tables.readout),
    "actions": Table(["certificate"], world_tables.actions),
    "shown": Table(["certificate"], world_tables.shown),
    "trust": Table(["trust"], world_tables.trust),
    "trust-by-actions": Table(["trust"], world_tables.trust_by_actions),
    "swaps": Table(["parts"], world_tables.swaps),
    "costs": Table(["parts"], world_tables.costs),
    "agreement": Table(["agreement"], policy_tables.agreement),
    "sources": Table(["rewards"], policy_tables.sources),
    "savings": Table(["agreement"], policy_tables.savings),
    "mpc": Table(["mpc"], policy_tables.mpc),
    "rl": Table(["rl"], policy_tables.rl),
    "dial": Table(["dial"], policy_tables.dial),
    "dial-uses": Table(["dial"], policy_tables.dial_uses),
    "worth": Table(["agreement", "rl"], policy_tables.worth),
}
"""Tables by name."""
