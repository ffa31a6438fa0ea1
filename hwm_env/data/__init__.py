"""Data sets on disk: the 1X v2.0 format, windows that never cross a segment, and action statistics."""
