"""Adapts a training to its data: holds out a validation split, and fits the model's shape."""

import logging
from dataclasses import replace

import numpy as np

from hwm_env.data.reader import Dataset
from hwm_env.errors import DatasetError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.tokenizers.base import VideoTokenizer

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.05


def hold_out(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Divides a data set by recordings into training and validation; a twentieth, evenly spread, for validation.

    Shards that were cut from one recording at several frame offsets (`shard_sources` in the metadata) stay together.

    Raises:
        DatasetError: there is only one recording.
    """
    names = dataset.metadata.extra.get("shard_sources")
    sources = names if isinstance(names, list) and len(names) == len(dataset.shards) else range(len(dataset.shards))
    recordings = list(dict.fromkeys(sources))
    if len(recordings) < 2:
        raise DatasetError(
            f"{dataset.directory} contains {len(recordings)} recording, so that none can be held out; give another "
            "split for validation"
        )
    count = max(1, round(HELD_OUT_SHARE * len(recordings)))
    chosen = {recordings[i] for i in np.linspace(0, len(recordings) - 1, count + 2).round().astype(int)[1:-1]}
    held_out = [index for index, source in enumerate(sources) if source in chosen]
    rest = [index for index, source in enumerate(sources) if source not in chosen]
    logger.info("held out for validation: %d of %d recordings", len(chosen), len(recordings))
    return dataset.subset(rest), dataset.subset(held_out)


def fitted(model: MaskedHWMConfig, data: Dataset, tokenizer: VideoTokenizer) -> MaskedHWMConfig:
    """Returns the model with the data's token grid and, if it uses the digits of tokens, the tokenizer's FSQ levels."""
    uses_digits = model.token_embedding == "code" or model.codebook_head == "factored"
    levels = tokenizer.fsq_levels if uses_digits else model.fsq_levels
    shape = replace(model, grid_size=data.metadata.token_grid, fsq_levels=levels)
    if shape != model:
        logger.info("the model's grid is %s as in the data, its FSQ levels are %s", shape.grid_size, shape.fsq_levels)
    return shape
