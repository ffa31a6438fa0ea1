"""What computes an env step of the learned world: PyTorch, or exported functions of one row in OpenVINO."""
