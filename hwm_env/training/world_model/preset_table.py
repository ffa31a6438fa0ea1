"""`hwm-env presets`: the models that have a name, as a table."""

from dataclasses import dataclass

from hwm_env.fields import CheckedFields
from hwm_env.model.cost import table
from hwm_env.model.presets import MODEL_PRESETS
from hwm_env.reporting import PYTHON, Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetTableConfig(CheckedFields):
    """There is nothing to choose."""


def tabulate_presets(config: PresetTableConfig, caller: Caller = PYTHON) -> str:
    """Lists the models that have a name: parameters, operations and memory, as a Markdown table (takes a minute)."""
    shown = table(MODEL_PRESETS)
    caller.show(shown)
    return shown
