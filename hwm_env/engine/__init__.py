"""Runs a simulator's env step outside eager PyTorch: exported functions of one row, and the runtime OpenVINO."""
