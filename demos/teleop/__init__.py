"""A window in which a person drives the robot: `python -m demos.teleop`."""
