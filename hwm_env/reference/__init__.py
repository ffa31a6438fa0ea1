"""The MuJoCo reference world: the ground truth that provides training data and judges learned worlds."""
