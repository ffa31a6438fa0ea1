"""Planners over action chunks, in any world that an environment runs on."""
