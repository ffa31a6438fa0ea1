"""Parts of checkpoints that fit each other."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.errors import CheckpointError
from hwm_env.model.readout import PoseReadout
from hwm_env.tokenizers.base import VideoTokenizer

logger = logging.getLogger(__name__)

NUM_STARTS = 64


def check_tokenizer(tokenizer: VideoTokenizer, *datasets: Dataset) -> None:
    """Raises CheckpointError where a data set was tokenised by another tokenizer than this one.

    Those that do not say (from 1X) need tokens within the codebook, judged by their first shard.
    """
    for dataset in datasets:
        made_by = dataset.metadata.tokenizer
        if made_by is not None and made_by != tokenizer.identity:
            raise CheckpointError(
                f"{dataset.directory} was tokenised by {made_by}, not by this tokenizer ({tokenizer.identity}); "
                "tokenise it again or give the tokenizer that made it"
            )
        tokens = dataset.shards[0].tokens
        if made_by is None and tokens is not None:
            logger.warning("%s does not say which tokenizer made it; the given one is believed", dataset.directory)
            if int(tokens.max()) >= tokenizer.codebook_size or int(tokens.min()) < 0:
                raise CheckpointError(
                    f"{dataset.directory}: expected tokens from 0 to {tokenizer.codebook_size - 1}, the codebook of "
                    f"{tokenizer.identity}, got {int(tokens.min())} to {int(tokens.max())}; give the one that made them"
                )


def with_readout(checkpoint: Checkpoint, readout: PoseReadout, provenance: Mapping[str, object]) -> Checkpoint:
    """The checkpoint with this read-out, and what there is to say about it under `provenance["readout"]`."""
    return replace(checkpoint, readout=readout, provenance={**checkpoint.provenance, "readout": provenance})
