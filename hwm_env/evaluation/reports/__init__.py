"""Plots, pictures and HTML pages of what was measured."""
