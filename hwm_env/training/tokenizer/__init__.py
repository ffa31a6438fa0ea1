"""Trains the built-in tokenizer."""
