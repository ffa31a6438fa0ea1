"""Scripted experts for the tasks of the reference room, and worse versions of them."""
