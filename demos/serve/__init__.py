"""Drives the robot in a browser, for machines without a screen: `python -m demos.serve`."""
