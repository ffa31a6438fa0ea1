"""Says which checkpoint a study's results belong to."""

from hwm_env.checkpoint import Checkpoint


def stamp_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Returns the identities of the weights and of the tokenizer."""
    return {"weights": checkpoint.identity, "tokenizer": checkpoint.tokenizer.identity}
