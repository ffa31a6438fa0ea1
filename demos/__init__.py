"""Demonstrations of `hwm_env`: a quickstart, a comparison of worlds, and driving in a window or a browser."""
