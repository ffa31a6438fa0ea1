"""Decoding of clips: MaskGIT and the sampling of tokens."""
