"""Scripts that made the committed results: the checkpoint room-64, docs/results and docs/images."""
