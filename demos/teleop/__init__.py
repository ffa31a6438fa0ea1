"""Drives the robot in a window: `python -m demos.teleop`."""
