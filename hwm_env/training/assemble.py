"""Parts of checkpoints that fit each other."""

from collections.abc import Mapping
from dataclasses import replace

from hwm_env.checkpoint import Checkpoint
from hwm_env.model.readout import Readout

NUM_STARTS = 64


def with_readout(checkpoint: Checkpoint, readout: Readout, provenance: Mapping[str, object]) -> Checkpoint:
    """The checkpoint with this read-out, and what there is to say about it under `provenance["readout"]`."""
    return replace(checkpoint, readout=readout, provenance={**checkpoint.provenance, "readout": provenance})
