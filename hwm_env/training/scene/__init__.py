"""Trains the scene: the map with the camera, and the odometry."""
