"""`hwm-env inspect`: what a data set contains, in numbers and pictures."""

from dataclasses import dataclass
from pathlib import Path

from hwm_env.arguments import DataArgument
from hwm_env.checkpoint import load_tokenizer
from hwm_env.data.files import write_json
from hwm_env.data.inspection import Inspection, describe, inspect
from hwm_env.data.reader import Dataset
from hwm_env.evaluation.reports.contact_sheet import draw_contact_sheet
from hwm_env.fields import CheckedFields
from hwm_env.reporting import PYTHON, Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectionConfig(CheckedFields):
    """What is inspected, and which files are written."""

    data: DataArgument
    """Data set, of any split and size."""
    tokenizer: str | None = None
    """Tokenizer that made its tokens, to decode them for the contact sheet; as for `hwm-env tokenize`."""
    contact_sheet: Path | None = None
    """PNG file for frames of evenly spread clips: raw, decoded, or both side by side (needs the evaluation extra)."""
    json: Path | None = None
    """JSON file for the same numbers."""


def inspect_dataset(config: InspectionConfig, caller: Caller = PYTHON) -> Inspection:
    """Shows what a data set contains: segments, clips that can be used, tokens, action ranges, pictures.

    Raises:
        DatasetError: the data set cannot be read.
        CheckpointError: there is no such tokenizer.
        SavingError: a file cannot be written.
    """
    dataset = Dataset(config.data)
    inspection = inspect(dataset)
    caller.show(describe(inspection))
    if config.json is not None:
        write_json(config.json, inspection.to_dict())
    if config.contact_sheet is not None:
        tokenizer = None if config.tokenizer is None else load_tokenizer(config.tokenizer)
        draw_contact_sheet(dataset, config.contact_sheet, tokenizer)
    return inspection
