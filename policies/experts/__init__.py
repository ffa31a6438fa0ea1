"""Scripted experts for the tasks of the reference world, and impaired versions of them."""
