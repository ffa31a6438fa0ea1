"""Measures how true a world is: next clips, closed loops, poses, obstacles and responses to actions."""
