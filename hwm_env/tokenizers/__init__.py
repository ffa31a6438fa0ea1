"""Video tokenizers, which convert clips of 17 frames to tokens and back, and the tokenising of recordings."""
