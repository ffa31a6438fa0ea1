"""From trained parts to a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import CheckpointError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.readout import PoseReadout
from hwm_env.starts import Starts
from hwm_env.tokenizers.tiny import TinyTokenizer

NUM_STARTS = 64


def check_tokenizer(tokenizer: TinyTokenizer, *datasets: Dataset) -> None:
    """Raises CheckpointError where a data set was tokenised by another tokenizer than this one."""
    for dataset in datasets:
        if dataset.metadata.tokenizer != tokenizer.identity:
            raise CheckpointError(
                f"{dataset.directory} was tokenised by {dataset.metadata.tokenizer}, not by this tokenizer "
                f"({tokenizer.identity}); tokenise it again or give the tokenizer that made it"
            )


def assemble(
    model: MaskedHWM, tokenizer: TinyTokenizer, data: Dataset, validation: Dataset, provenance: Mapping[str, object]
) -> Checkpoint:
    """Makes a checkpoint of a trained model.

    Args:
        model: the trained model.
        tokenizer: the one that tokenised the data.
        data: the training split: gives the action statistics.
        validation: the split that starts are taken from, so that no start was trained on.
        provenance: how the model was made.

    Raises:
        CheckpointError: the parts do not fit each other.
    """
    check_tokenizer(tokenizer, data, validation)
    starts = Starts.from_dataset(validation, model.config.num_past_clips, NUM_STARTS, seed=0)
    return Checkpoint(model, tokenizer, ActionStatistics.from_dataset(data), starts, provenance=provenance)


def with_readout(checkpoint: Checkpoint, readout: PoseReadout, provenance: Mapping[str, object]) -> Checkpoint:
    """The checkpoint with this read-out, and what there is to say about it under `provenance["readout"]`."""
    return replace(checkpoint, readout=readout, provenance={**checkpoint.provenance, "readout": provenance})
