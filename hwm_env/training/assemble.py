"""Adds trained parts to checkpoints."""

from collections.abc import Mapping
from dataclasses import replace

from hwm_env.checkpoint import Checkpoint
from hwm_env.model.readout import Readout

NUM_STARTS = 64
"""Number of starts in a checkpoint."""


def with_readout(checkpoint: Checkpoint, readout: Readout, provenance: Mapping[str, object]) -> Checkpoint:
    """Returns the checkpoint with this read-out, described by `provenance["readout"]`."""
    return replace(checkpoint, readout=readout, provenance={**checkpoint.provenance, "readout": provenance})
