"""Tasks: reward, success and termination, one definition for the learned and the reference world."""
