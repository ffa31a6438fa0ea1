"""Scripts that made what is committed: the shipped checkpoint, docs/results and docs/images."""
