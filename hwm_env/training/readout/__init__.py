"""Trains the read-out."""
