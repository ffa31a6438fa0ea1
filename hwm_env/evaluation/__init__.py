"""Measures how true learned worlds are and how policies do in them, and reports it.

- `worlds/`: how true a world is.
- `policies/`: how policies do in it.
- `reports/`: pictures and pages about both.
"""
