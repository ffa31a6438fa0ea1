"""Planners over chunks of actions, for any world of an environment."""
