"""The MuJoCo reference world: the ground truth that makes the data and judges the learned world."""
