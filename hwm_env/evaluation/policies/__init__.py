"""Evaluates policies in learned worlds, and how well the results agree with the reference world."""
