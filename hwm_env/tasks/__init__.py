"""Tasks: one definition of reward, success and termination for the learned and the reference world."""
